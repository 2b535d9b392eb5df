// Package asyncquery follows RESTPP's asynchronous queries: which node a query was
// submitted to is in no later request but by the query's id, and no other node
// knows that.
package asyncquery

import (
	"iter"
	"net/http"
	"net/url"
	"strings"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/service"
)

// IsSubmit reports whether a request runs a query asynchronously. Who sends the field
// for that with every request sends it with follow-ups, which run nothing.
func IsSubmit(r *http.Request) bool {
	return service.IsAsync(r.Header) && service.Of(r.URL.Path) == service.RESTPP && !IsFollowUp(r.URL.Path)
}

// IsFollowUp reports whether a request asks RESTPP for asynchronous queries, or
// aborts them. Its decoded path is cleaned first, as in service.Of.
func IsFollowUp(path string) bool {
	rest, found := strings.CutPrefix(service.Clean(path), "/restpp/")
	if !found {
		return false
	}
	switch name, _, _ := strings.Cut(rest, "/"); name {
	case "query_status", "query_result", "abortquery":
		return true
	}
	return false
}

// ids returns the ids that a query string names, in order: of one query, several
// or none. "all" is one that no query has.
func ids(query string) iter.Seq[string] {
	return func(yield func(string) bool) {
		for parameter := range strings.SplitSeq(query, "&") {
			name, value, _ := strings.Cut(parameter, "=")
			if strings.Contains(name, "%") {
				name, _ = url.QueryUnescape(name)
			}
			if name != "requestid" && name != "request_id" {
				continue
			}
			if id, err := url.QueryUnescape(value); err == nil && !yield(id) {
				return
			}
		}
	}
}
