package tigergraph

import (
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

// eachOption hands the options of a block to a function, each at most once but those
// of which there may be several.
func eachOption(d *caddyfile.Dispenser, seen given, several []string, read func(option string) error) error {
	for nesting := d.Nesting(); d.NextBlock(nesting); {
		option := d.Val()
		if !slices.Contains(several, option) {
			if err := seen.check(option); err != nil {
				return err
			}
		}
		if err := read(option); err != nil {
			return err
		}
	}
	return nil
}

// locatedError is an error that names its line already, as those of other
// modules' parsers do.
type locatedError struct{ error }

// unknownOptionError names what is no option of the policy. By it the directive
// tells the policy's options from the proxy's subdirectives.
type unknownOptionError string

func (e unknownOptionError) Error() string { return fmt.Sprintf("unrecognized option '%s'", string(e)) }

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

// argument reads the one value of an option. An empty one is refused: it would
// mean the default, which nobody writes as "".
func argument(d *caddyfile.Dispenser, option string) (string, error) {
	if !d.NextArg() || d.Val() == "" {
		return "", fmt.Errorf("%s needs a value", option)
	}
	value := d.Val()
	return value, noArgument(d, option+" "+value)
}

// noArgument refuses a surplus argument.
func noArgument(d *caddyfile.Dispenser, option string) error {
	if d.NextArg() {
		return fmt.Errorf("unexpected argument '%s' after '%s'", d.Val(), option)
	}
	return nil
}

func durationArgument(d *caddyfile.Dispenser, option string) (caddy.Duration, error) {
	text, err := argument(d, option)
	if err != nil {
		return 0, err
	}
	duration, err := caddy.ParseDuration(text)
	if err != nil {
		return 0, fmt.Errorf("%s must be a duration such as 90s or 24h, not '%s'", option, text)
	}
	return caddy.Duration(duration), nil
}

// positiveDurationArgument refuses an explicit zero, which JSON takes for the
// default.
func positiveDurationArgument(d *caddyfile.Dispenser, option string) (caddy.Duration, error) {
	duration, err := durationArgument(d, option)
	if err == nil && duration <= 0 {
		err = fmt.Errorf("%s must be more than 0, not %s", option, time.Duration(duration))
	}
	return duration, err
}

// countArgument reads a number that must be at least one.
func countArgument(d *caddyfile.Dispenser, option string) (int, error) {
	text, err := argument(d, option)
	if err != nil {
		return 0, err
	}
	count, err := strconv.Atoi(text)
	if err != nil || count < 1 {
		return 0, fmt.Errorf("%s must be a number from 1 on, not '%s'", option, text)
	}
	return count, nil
}

// given refuses options that are given a second time.
type given map[string]bool

func (o given) check(option string) error {
	if o[option] {
		return fmt.Errorf("%s is already specified", option)
	}
	o[option] = true
	return nil
}

func orDefault[T comparable](value, standard T) T {
	var unset T
	if value == unset {
		return standard
	}
	return value
}
