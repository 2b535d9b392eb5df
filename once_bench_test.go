package tigergraph_test

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// BenchmarkRoundTrip measures what it costs to keep Go's transport from repeating
// a request, from the choice of the node to the end of the answer, over a
// loopback connection.
func BenchmarkRoundTrip(b *testing.B) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, `{"error":false}`)
	}))
	b.Cleanup(server.Close)
	transport := &http.Transport{DisableCompression: true}
	b.Cleanup(transport.CloseIdleConnections)
	for _, bench := range []struct{ name, policy, path string }{
		{"plain", `{"policy":"first"}`, "/restpp/query/g/q"},
		{"ours/repeatable", oursByClientIP, "/restpp/echo"},
		{"ours/once", oursByClientIP, "/restpp/query/g/q"},
	} {
		b.Run(bench.name, func(b *testing.B) {
			handler := provisionHandler(b, bench.policy, 3)
			policy := handler.LoadBalancing.SelectionPolicy
			writer := nothing{make(http.Header)}
			incoming := httptest.NewRequest(http.MethodGet, server.URL+bench.path, nil)
			incoming.RequestURI = ""
			prepared := prepare(incoming, writer)
			vars := prepared.Context().Value(caddyhttp.VarsCtxKey).(map[string]any)
			b.ReportAllocs()
			for b.Loop() {
				delete(vars, "tigergraph.visit")
				request := prepared.WithContext(prepared.Context())
				request.Body = nil
				if policy.Select(handler.Upstreams, request, writer) == nil {
					b.Fatal("no node")
				}
				response, err := transport.RoundTrip(request.WithContext(context.Background()))
				if err != nil {
					b.Fatal(err)
				}
				_, _ = io.Copy(io.Discard, response.Body)
				_ = response.Body.Close()
			}
		})
	}
}
