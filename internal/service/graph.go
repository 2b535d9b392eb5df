package service

import (
	"net/http"
	"net/url"
	"strings"
)

// ofGraph are RESTPP's endpoints whose path names a graph after them.
var ofGraph = map[string]bool{
	"abortquery":      true,
	"allpaths":        true,
	"builtins":        true,
	"ddl":             true,
	"endpoints":       true,
	"graph":           true,
	"query":           true,
	"rebuildnow":      true,
	"shortestpath":    true,
	"showprocesslist": true,
	"statistics":      true,
}

// GraphAndQuery returns the graph and the installed query that a RESTPP request names
// by its decoded path, or the graph by the parameter graph_name of its query string.
// What it does not name is empty, as both are for other services.
func GraphAndQuery(decoded, rawQuery string) (graph, query string) {
	if Of(decoded) != RESTPP {
		return "", ""
	}
	rest, _ := strings.CutPrefix(Clean(decoded), "/restpp/")
	endpoint, rest, _ := strings.Cut(rest, "/")
	if ofGraph[endpoint] {
		graph, rest, _ = strings.Cut(rest, "/")
	}
	if endpoint == "query" {
		query, _, _ = strings.Cut(rest, "/")
	}
	if graph == "" {
		graph = parameter(rawQuery, "graph_name")
	}
	return graph, query
}

// GraphOf is a request as a value whose text is the graph that it names.
type GraphOf http.Request

// QueryOf is a request as a value whose text is the installed query that it names.
type QueryOf http.Request

// String returns the graph.
func (r *GraphOf) String() string {
	graph, _ := GraphAndQuery(r.URL.Path, r.URL.RawQuery)
	return graph
}

// String returns the query.
func (r *QueryOf) String() string {
	_, query := GraphAndQuery(r.URL.Path, r.URL.RawQuery)
	return query
}

// parameter returns the first value of a parameter in a query string, "" if it has none
// that can be decoded.
func parameter(rawQuery, name string) string {
	for pair := range strings.SplitSeq(rawQuery, "&") {
		key, value, _ := strings.Cut(pair, "=")
		if strings.Contains(key, "%") {
			key, _ = url.QueryUnescape(key)
		}
		if key == name {
			decoded, _ := url.QueryUnescape(value)
			return decoded
		}
	}
	return ""
}
