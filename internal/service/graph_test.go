package service

import (
	"net/url"
	"strings"
	"testing"
)

func TestTheGraphAndTheQueryOfARequest(t *testing.T) {
	for target, want := range map[string][2]string{
		"/restpp/query/social/friends":                           {"social", "friends"},
		"/restpp/query/social/friends?person=42&graph_name=x":    {"social", "friends"},
		"/restpp/query/social/friends/":                          {"social", "friends"},
		"/restpp/query/social/friends/more":                      {"social", "friends"},
		"/restpp/query/social":                                   {"social", ""},
		"/restpp/query/social/":                                  {"social", ""},
		"/restpp/query":                                          {"", ""},
		"/restpp/query/":                                         {"", ""},
		"/restpp/graph/social/vertices/person/Tom":               {"social", ""},
		"/restpp/graph/social":                                   {"social", ""},
		"/restpp/graph/query/edges/a/b":                          {"query", ""},
		"/restpp/ddl/social?tag=load":                            {"social", ""},
		"/restpp/ddl?tag=load":                                   {"", ""},
		"/restpp/statistics/social":                              {"social", ""},
		"/restpp/endpoints/social":                               {"social", ""},
		"/restpp/builtins/social":                                {"social", ""},
		"/restpp/shortestpath/social":                            {"social", ""},
		"/restpp/allpaths/social":                                {"social", ""},
		"/restpp/rebuildnow/social":                              {"social", ""},
		"/restpp/showprocesslist/social":                         {"social", ""},
		"/restpp/abortquery/social?requestid=a":                  {"social", ""},
		"/restpp/abortquery?graph_name=social":                   {"social", ""},
		"/restpp/query_status?graph_name=social&requestid=a":     {"social", ""},
		"/restpp/query_result?requestid=a&graph%5Fname=soc%69al": {"social", ""},
		"/restpp/query_status?graph_name=%zz&graph_name=social":  {"", ""},
		"/restpp/query_status?xgraph_name=social":                {"", ""},
		"/restpp/echo":                                           {"", ""},
		"/restpp/echo/social":                                    {"", ""},
		"/restpp":                                                {"", ""},
		"/restpp/":                                               {"", ""},
		// Odd and escaped paths are what the node's nginx takes them for.
		"/restpp/query/soc%69al/friend%73":     {"social", "friends"},
		"/restpp/query/soc%2Fial/friends":      {"soc", "ial"},
		"/restpp/query/s%20l/fr%C3%A9":         {"s l", "fré"},
		"//restpp//query//social//friends":     {"social", "friends"},
		"/restpp/./query/social/friends":       {"social", "friends"},
		"/restpp/query/social/../other/q":      {"other", "q"},
		"/api/../restpp/query/social/friends":  {"social", "friends"},
		"/restpp/query/social/friends/../../x": {"x", ""},
		"/restpp/../query/social/friends":      {"", ""},
		"/RESTPP/query/social/friends":         {"", ""},
		// Only RESTPP's.
		"/query/social/friends":                               {"", ""},
		"/api/restpp/query/social/friends":                    {"", ""},
		"/gsql/v1/queries/friends?graph=social":               {"", ""},
		"/gsql/v1/schema?graph_name=social":                   {"", ""},
		"/gsqlserver/interpreted_query?graph_name=social":     {"", ""},
		"/gsqlserver/gsql/queryinfo?graph=social&query=q":     {"", ""},
		"/gsqlserver/restpp/query/social/friends":             {"", ""},
		"/studio/?graph_name=social":                          {"", ""},
		"/restppx/query/social/friends":                       {"", ""},
		"/restpp/queryx/social/friends":                       {"", ""},
		"/restpp/query_status/social/friends?graph_name=g%00": {"g\x00", ""},
	} {
		u, err := url.ParseRequestURI(target)
		if err != nil {
			t.Fatalf("%s: %v", target, err)
		}
		if graph, query := GraphAndQuery(u.Path, u.RawQuery); graph != want[0] || query != want[1] {
			t.Errorf("%s: graph %q, query %q, want %q and %q", target, graph, query, want[0], want[1])
		}
	}
}

// Whatever a client sends, what is said of it is a part of that.
func FuzzGraphAndQuery(f *testing.F) {
	f.Add("/restpp/query/social/friends", "graph_name=x")
	f.Add("/restpp/..//query/%2e%2e/", "graph%5fname=%zz&&=")
	f.Add("restpp", "=")
	f.Fuzz(func(t *testing.T, path, rawQuery string) {
		graph, query := GraphAndQuery(path, rawQuery)
		if (graph != "" || query != "") && Of(path) != RESTPP {
			t.Errorf("%q names %q and %q", path, graph, query)
		}
		if strings.Contains(query, "/") || !strings.Contains(path, query) {
			t.Errorf("%q names the query %q", path, query)
		}
	})
}
