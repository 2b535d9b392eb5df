package tigergraph_test

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// BenchmarkVerdict measures what health checks cost a choice.
func BenchmarkVerdict(b *testing.B) {
	for _, bench := range []struct{ name, policy string }{
		{"cookie/checked", oursByCookie},
		{"cookie/unchecked", strings.Replace(oursByCookie, "{", `{"health_check_off":true,`, 1)},
		{"client_ip/checked", oursByClientIP},
		{"client_ip/unchecked", strings.Replace(oursByClientIP, "{", `{"health_check_off":true,`, 1)},
	} {
		b.Run(bench.name, func(b *testing.B) {
			handler := provisionHandler(b, bench.policy, 3)
			policy := handler.LoadBalancing.SelectionPolicy
			writer := nothing{make(http.Header)}
			request := prepare(httptest.NewRequest(http.MethodGet, "http://example.com/api/ping", nil), writer)
			policy.Select(handler.Upstreams, request, writer)
			cookie, _, _ := strings.Cut(writer.header.Get("Set-Cookie"), ";")
			line := []string{cookie}
			request = prepare(request, writer)
			vars := request.Context().Value(caddyhttp.VarsCtxKey).(map[string]any)
			replacer := request.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
			pristine := *replacer
			b.ReportAllocs()
			for b.Loop() {
				line[0] = cookie
				request.Header["Cookie"] = line
				delete(vars, "tigergraph.visit")
				*replacer = pristine
				if policy.Select(handler.Upstreams, request, writer) == nil {
					b.Fatal("no node")
				}
			}
		})
	}
}
