package tigergraph_test

import (
	"cmp"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	tigergraph "github.com/caddy-tigergraph/caddy-tigergraph"
)

// BenchmarkSelect measures the choice of a node beside Caddy's own policies. The
// policy leaves traces in a request; removing them is measured along,
// and alone first.
func BenchmarkSelect(b *testing.B) {
	for _, bench := range []struct {
		name, policy, cookie string
		path                 string // /api/ping if empty
	}{
		{"removing_traces", `{"policy":"first"}`, "valid", ""}, // and nothing else
		{"ours/cookie=valid", oursByCookie, "valid", ""},
		{"ours/cookie=valid_of_two", oursByCookie, "valid of two", ""},
		{"ours/cookie=bogus", oursByCookie, "bogus", ""},
		{"ours/cookie=none", oursByCookie, "", ""},
		{"ours/client_ip", oursByClientIP, "", ""},
		{"ours/header", oursByHeader, "", ""},
		{"ours/none", oursByNothing, "", ""},
		{"ours/spread", oursByCookie, "", "/restpp/query/social/friends"}, // behind the middleware, as the directive has it
		{"ours/spread_without_middleware", oursByCookie, "", "/restpp/query/social/friends"},
		{"caddy/cookie=valid", `{"policy":"cookie","secret":"benchmark"}`, "valid", ""},
		{"caddy/cookie=bogus", `{"policy":"cookie","secret":"benchmark"}`, "bogus", ""},
		{"caddy/cookie=none", `{"policy":"cookie","secret":"benchmark"}`, "", ""},
		{"caddy/client_ip_hash", `{"policy":"client_ip_hash"}`, "", ""},
		{"caddy/ip_hash", `{"policy":"ip_hash"}`, "", ""},
		{"caddy/uri_hash", `{"policy":"uri_hash"}`, "", ""},
		{"caddy/header", `{"policy":"header","field":"X-User"}`, "", ""},
		{"caddy/query", `{"policy":"query","key":"user"}`, "", ""},
		{"caddy/least_conn", `{"policy":"least_conn"}`, "", ""},
		{"caddy/random", `{"policy":"random"}`, "", ""},
		{"caddy/random_choose", `{"policy":"random_choose","choose":2}`, "", ""},
		{"caddy/round_robin", `{"policy":"round_robin"}`, "", ""},
		{"caddy/first", `{"policy":"first"}`, "", ""},
	} {
		for _, nodes := range []int{3, 10, 100} {
			b.Run(fmt.Sprintf("%s/nodes=%d", bench.name, nodes), func(b *testing.B) {
				handler := provisionHandler(b, bench.policy, nodes)
				policy := handler.LoadBalancing.SelectionPolicy
				writer := nothing{make(http.Header)}
				plain := httptest.NewRequest(http.MethodGet, "http://example.com"+cmp.Or(bench.path, "/api/ping")+"?user=somebody", nil)
				plain.RemoteAddr = "203.0.113.77:50000"
				plain.Header.Set("X-User", "somebody@example.com")
				request := prepare(plain, writer)
				vars := request.Context().Value(caddyhttp.VarsCtxKey).(map[string]any)
				replacer := request.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer)

				// The last node's cookie: Caddy's own policy tries them in turn.
				var cookie string
				for client := 0; ; client++ {
					first := prepare(httptest.NewRequest(http.MethodGet, "http://example.com/", nil), writer)
					first.Header.Set("X-Forwarded-For", fmt.Sprint(client))
					caddyhttp.SetVar(first.Context(), caddyhttp.ClientIPVarKey, fmt.Sprintf("198.51.%d.%d", client/250%250, client%250))
					clear(writer.header)
					chosen := policy.Select(handler.Upstreams, first, writer)
					if bench.cookie == "" || bench.name == "removing_traces" || chosen == handler.Upstreams[nodes-1] {
						cookie, _, _ = strings.Cut(writer.header.Get("Set-Cookie"), ";")
						break
					}
				}
				switch bench.cookie {
				case "valid of two":
					cookie += "; TigerGraphApp=5eaf48c3-cb0b-4c78-9f27-7251c53dc0bc"
				case "bogus":
					cookie = cookie[:len(cookie)-1] + "!"
				}
				line := []string{cookie}

				choose := caddyhttp.HandlerFunc(func(w http.ResponseWriter, request *http.Request) error {
					pristine := *replacer
					b.ReportAllocs()
					for b.Loop() {
						if bench.cookie != "" {
							line[0] = cookie
							request.Header["Cookie"] = line
						}
						delete(vars, "tigergraph.visit")
						*replacer = pristine
						delete(writer.header, "Set-Cookie")
						if policy.Select(handler.Upstreams, request, w) == nil {
							b.Fatal("no node")
						}
					}
					return nil
				})
				if bench.name == "ours/spread" {
					_ = new(tigergraph.Handler).ServeHTTP(writer, request, choose)
				} else {
					_ = choose(writer, request)
				}
			})
		}
	}
}

// BenchmarkWeights shows that equal weights cost what no weights do, and unequal
// ones a logarithm for each node.
func BenchmarkWeights(b *testing.B) {
	for _, bench := range []struct{ name, weights string }{
		{"none", `{}`},
		{"equal", fmt.Sprintf(`{%q:7,%q:7,%q:7}`, node1, node2, node3)},
		{"unequal", fmt.Sprintf(`{%q:1,%q:2,%q:3}`, node1, node2, node3)},
	} {
		b.Run("weights="+bench.name, func(b *testing.B) {
			handler := provisionHandler(b, `{"policy":"tigergraph","affinity":"client_ip","weights":`+bench.weights+`}`, 3)
			s := newTurnstile("/restpp/echo")
			b.ReportAllocs()
			for b.Loop() {
				s.reset()
				if s.ask(handler) == "" {
					b.Fatal("no node")
				}
			}
		})
	}
}

var _ reverseproxy.Selector = (*tigergraph.Policy)(nil)
