package response

import "strings"

// Deletes reports whether a field that is to be deleted, which may have an asterisk
// at either end, is this one.
func Deletes(pattern, field string) bool {
	pattern, field = strings.ToLower(pattern), strings.ToLower(field)
	end, atStart := strings.CutPrefix(pattern, "*")
	start, atEnd := strings.CutSuffix(pattern, "*")
	switch {
	case atStart && atEnd:
		return strings.Contains(field, strings.Trim(pattern, "*"))
	case atStart:
		return strings.HasSuffix(field, end)
	case atEnd:
		return strings.HasPrefix(field, start)
	}
	return pattern == field
}
