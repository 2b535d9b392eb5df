package affinity

import (
	"slices"
	"strings"
)

// CutCookie removes every cookie of this name from the values of a request's
// Cookie header and returns what is left, nil if that is nothing. What stays
// does so byte for byte: a GSQL client sends raw JSON in this header, which a
// parser of cookies would lose. Each value of a removed cookie is handed to
// found. The slice may be edited in place.
func CutCookie(values []string, name string, found func(value string)) []string {
	kept := values[:0]
	for _, line := range values {
		if rest := cutFromLine(line, name, found); rest != "" || line == "" {
			kept = append(kept, rest)
		}
	}
	if len(kept) == 0 {
		return nil
	}
	return kept
}

// cutFromLine removes every cookie of this name from one line of a Cookie header, and
// returns what is left. Where one
// piece is left, the usual case, it is a part of the line and costs no copy.
func cutFromLine(line, name string, found func(value string)) string {
	start := 0
	if !strings.HasPrefix(line, name) {
		before, _, found := strings.Cut(line, name)
		if !found {
			return line
		}
		start = strings.LastIndexByte(before, ';') + 1
	}
	var pieces strings.Builder     // what is left, but for the last piece
	from, to := 0, max(0, start-1) // the last piece: all since the last cookie removed
	for start <= len(line) {
		end := len(line)
		if i := strings.IndexByte(line[start:], ';'); i >= 0 {
			end = start + i
		}
		if value, ours := cookieValue(line[start:end], name); ours {
			found(value)
			appendPiece(&pieces, line[from:to])
			from = min(end+1, len(line))
			to = from
		} else {
			to = end
		}
		start = end + 1
	}
	if pieces.Len() > 0 {
		appendPiece(&pieces, line[from:to])
		return pieces.String()
	}
	if from > 0 {
		return trimLeft(line[from:to])
	}
	return line[from:to]
}

func appendPiece(pieces *strings.Builder, piece string) {
	switch {
	case piece == "":
		return
	case pieces.Len() > 0:
		pieces.WriteByte(';')
	default:
		piece = trimLeft(piece)
	}
	pieces.WriteString(piece)
}

// cookieValue returns the value of a name=value pair if it has this name.
func cookieValue(pair, name string) (value string, ours bool) {
	pair = trimLeft(pair)
	if len(pair) <= len(name) || pair[len(name)] != '=' || pair[:len(name)] != name {
		return "", false
	}
	return bareValue(pair[len(name)+1:]), true
}

// bareValue returns a cookie's value without the spaces behind and the quotes
// around it.
func bareValue(value string) string {
	value = trimRight(value)
	if len(value) >= 2 && value[0] == '"' && value[len(value)-1] == '"' {
		value = value[1 : len(value)-1]
	}
	return value
}

func trimLeft(s string) string {
	for s != "" && isSpace(s[0]) {
		s = s[1:]
	}
	return s
}

func trimRight(s string) string {
	for s != "" && isSpace(s[len(s)-1]) {
		s = s[:len(s)-1]
	}
	return s
}

func isSpace(c byte) bool { return c == ' ' || c == '\t' }

// ReplaceCookie returns the values of a response's Set-Cookie header with this
// line, if any, in place of all earlier ones of that name. An http.Header adds,
// and a client would get one cookie for each node that was tried.
func ReplaceCookie(values []string, name, line string) []string {
	values = slices.DeleteFunc(values, func(value string) bool {
		_, ours := SetCookieValue(value, name)
		return ours
	})
	if line != "" {
		values = append(values, line)
	}
	return values
}

// SetCookieValue returns what a browser that was sent this line of Set-Cookie sends
// back under a name, as CutCookie finds it. Browsers take no notice of spaces
// around the name, and of a cookie without a name they send the value alone, which
// may look like one with a name (RFC 6265bis, section 5).
func SetCookieValue(line, name string) (value string, ours bool) {
	pair, _, _ := strings.Cut(line, ";")
	before, value, found := strings.Cut(pair, "=")
	switch before = trimLeft(trimRight(before)); {
	case !found:
		return "", false
	case before == "":
		return cookieValue(value, name)
	case before != name:
		return "", false
	}
	return bareValue(trimLeft(value)), true
}
