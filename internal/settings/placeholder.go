package settings

import "strings"

// HoldsPlaceholder reports whether a text that is expanded still has the beginning of a
// placeholder by which secrets are read: what a variable holds is not expanded again.
func HoldsPlaceholder(text string) bool {
	return strings.Contains(text, "{env.") || strings.Contains(text, "{file.") || strings.Contains(text, "{$")
}

// LooksUnexpanded reports whether a secret that is expanded is, or holds, what somebody
// has meant to be expanded.
func LooksUnexpanded(secret string) bool {
	secret = strings.TrimSpace(secret)
	return strings.HasPrefix(secret, "{") && strings.HasSuffix(secret, "}") || HoldsPlaceholder(secret)
}
