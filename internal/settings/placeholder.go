package settings

import (
	"regexp"
	"slices"
	"strings"
)

// beginnings are those of Caddy's placeholders by which secrets are read, and of a
// shell's: files of variables, as systemd and Docker read them, are no scripts.
var beginnings = []string{"{env.", "{file.", "{$", "${", "$("}

// nameOfVariable is a word that a shell takes for a variable.
var nameOfVariable = regexp.MustCompile(`(^|\s)\$[A-Za-z_]\w*(\s|$)`)

// HoldsPlaceholder reports whether a text that is expanded still has a placeholder by
// which secrets are read: what a variable holds is not expanded again.
func HoldsPlaceholder(text string) bool {
	return nameOfVariable.MatchString(text) ||
		slices.ContainsFunc(beginnings, func(beginning string) bool { return strings.Contains(text, beginning) })
}

// LooksUnexpanded reports whether a secret that is expanded is, or holds, what somebody
// has meant to be expanded.
func LooksUnexpanded(secret string) bool {
	secret = strings.TrimSpace(secret)
	return isBetween(secret, "{", "}") || isBetween(secret, "`", "`") || HoldsPlaceholder(secret)
}

func isBetween(text, first, last string) bool {
	return strings.HasPrefix(text, first) && strings.HasSuffix(text, last)
}
