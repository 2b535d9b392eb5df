package affinity

import (
	"net/http"
	"slices"
)

// TakeBack removes the cookie of this name from the header of an answer.
func TakeBack(header http.Header, name string) {
	if values := ReplaceCookie(header["Set-Cookie"], name, ""); len(values) > 0 {
		header["Set-Cookie"] = values
	} else {
		delete(header, "Set-Cookie")
	}
}

// KeepOne leaves at most one cookie of this name in the header of an answer: the first
// whose value leads to where the request went. Lines that end a cookie which other
// settings have made stay as well.
func KeepOne(header http.Header, name string, isStale, leads func(string) bool) {
	found := false
	kept := slices.DeleteFunc(header["Set-Cookie"], func(line string) bool {
		value, ours := SetCookieValue(line, name)
		switch {
		case !ours, value == "" && isStale(line):
			return false
		case found: // one is enough
			return true
		}
		found = leads(value)
		return !found
	})
	if len(kept) > 0 {
		header["Set-Cookie"] = kept
	} else {
		delete(header, "Set-Cookie")
	}
}
