package service

import (
	"net/http"
	"strings"
)

// IsIndependent reports whether a request belongs to no node: any of them answers
// it alike. That is so of RESTPP's requests, but for those that speak of the node
// that gets them: submissions of asynchronous queries, what asks for these, and the
// lists of what a node is doing.
func IsIndependent(r *http.Request) bool {
	rest, found := strings.CutPrefix(Clean(r.URL.Path), "/restpp")
	if !found || rest != "" && rest[0] != '/' || IsAsync(r.Header) {
		return false
	}
	rest, _ = strings.CutPrefix(rest, "/")
	name, _, _ := strings.Cut(rest, "/")
	switch name {
	case "query_status", "query_result", "abortquery", "showdelayedlistall":
		return false
	}
	return !strings.HasPrefix(name, "showprocesslist")
}

// IsAsync reports whether a header asks for an asynchronous query. Generated
// clients send the field with the value false, too.
func IsAsync(header http.Header) bool {
	values := header["Gsql-Async"]
	return len(values) > 0 && strings.EqualFold(strings.TrimSpace(values[0]), "true")
}
