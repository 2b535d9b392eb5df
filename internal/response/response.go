// Package response changes header fields of responses so that they arrive as what
// a node meant them to be.
package response

import (
	"net/http"
	"slices"
	"strings"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/affinity"
)

// Secure adds the attribute Secure to cookies that lack it. What is no cookie, as
// the raw JSON that GSQL up to 3.6.1 sends in Set-Cookie, stays as it is. The
// slice is edited in place.
func Secure(cookies []string) {
	for i, cookie := range cookies {
		if isCookie(cookie) && !isSecure(cookie) {
			cookies[i] = strings.TrimRight(cookie, "; \t") + "; Secure"
		}
	}
}

// isCookie reports whether a value of Set-Cookie begins with a name and "=".
func isCookie(value string) bool {
	name, _, found := strings.Cut(value, "=")
	name = strings.TrimSpace(name)
	return found && name != "" && !strings.ContainsAny(name, "\"(),/:;<=>?@[\\]{} \t")
}

func isSecure(cookie string) bool {
	for attribute := range strings.SplitSeq(cookie, ";") {
		if strings.EqualFold(strings.TrimSpace(attribute), "Secure") {
			return true
		}
	}
	return false
}

// Has reports whether a cookie of this name is set.
func Has(cookies []string, name string) bool {
	return slices.ContainsFunc(cookies, func(cookie string) bool {
		_, ours := affinity.SetCookieValue(cookie, name)
		return ours
	})
}

// Private keeps caches that several clients share from storing a response: one
// that may be stored, for it says so, or is the answer to a GET or HEAD and says
// nothing.
func Private(header http.Header, method string) {
	lines := header["Cache-Control"]
	said, isPublic := false, false
	for _, line := range lines {
		for directive := range strings.SplitSeq(line, ",") {
			switch directive = strings.TrimSpace(directive); {
			case strings.EqualFold(directive, "no-store"), strings.EqualFold(directive, "private"):
				return
			case strings.EqualFold(directive, "public"):
				isPublic = true
			}
			said = said || directive != ""
		}
	}
	if !said && header["Expires"] == nil && method != http.MethodGet && method != http.MethodHead {
		return
	}
	kept := make([]string, 0, len(lines)+1)
	for _, line := range lines {
		if isPublic {
			line = without(line, "public")
		}
		if line != "" {
			kept = append(kept, line)
		}
	}
	if len(kept) == 0 {
		kept = append(kept, "private")
	} else {
		kept[0] = "private, " + kept[0]
	}
	header["Cache-Control"] = kept
}

// without removes a directive from a line of Cache-Control.
func without(line, directive string) string {
	var kept []string
	for other := range strings.SplitSeq(line, ",") {
		if other = strings.TrimSpace(other); other != "" && !strings.EqualFold(other, directive) {
			kept = append(kept, other)
		}
	}
	return strings.Join(kept, ", ")
}

// Rename gives a field a name in another case than Go writes it. It works on
// HTTP/1.1, right before the header goes out: whatever reads or copies a header
// afterwards would undo it.
func Rename(header http.Header, canonical, name string) {
	if values, given := header[canonical]; given {
		delete(header, canonical)
		header[name] = values
	}
}

// Forget removes from a header what says something of a body, where another one comes in
// its place. There may be nobody who writes.
func Forget(w http.ResponseWriter) {
	if w == nil {
		return
	}
	header := w.Header()
	for _, field := range []string{"Content-Length", "Content-Encoding", "Content-Range", "Content-Type", "Etag", "Last-Modified", "Trailer"} {
		delete(header, field)
	}
}

// TakeBackFrom does as TakeBack with the header of an answer. There may be nobody who writes.
func TakeBackFrom(w http.ResponseWriter, field, value string) {
	if w != nil {
		TakeBack(w.Header(), field, value)
	}
}

// TakeBack removes a field if it has this value and no other.
func TakeBack(header http.Header, field, value string) {
	if values := header[field]; len(values) == 1 && values[0] == value {
		delete(header, field)
	}
}
