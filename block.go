package tigergraph

import (
	"slices"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

// openingBrace returns the brace that begins a block, at whose first word d stands.
func openingBrace(d *caddyfile.Dispenser) caddyfile.Token {
	d.Prev()
	defer d.Next()
	return d.Token()
}

// withBlock puts a block, if there is any, behind the words of a line. Its opening
// brace is one that stood behind such a line: one from another file or snippet
// would be on a line of its own. No other word becomes a brace, for that may be
// quoted, and a quoted brace begins and ends nothing.
func withBlock(line []caddyfile.Token, opening caddyfile.Token, block []caddyfile.Token) []caddyfile.Token {
	if len(block) == 0 {
		return line
	}
	before, last := line[len(line)-1], block[len(block)-1]
	opening.Line = before.Line + before.NumLineBreaks()
	closing := caddyfile.Token{File: last.File, Line: last.Line + last.NumLineBreaks() + 1, Text: "}"}
	return slices.Concat(line, []caddyfile.Token{opening}, block, []caddyfile.Token{closing})
}
