package tigergraph_test

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// The transport dials in a goroutine of its own, which goes on reading the
// request's variables when the request was sent over another connection, failed,
// and is tried again.
func TestRetriesLeaveTheVariablesAlone(t *testing.T) {
	for name, settings := range map[string]string{"cookie": oursByCookie, "header": oursByHeader, "none": oursByNothing} {
		t.Run(name, func(t *testing.T) {
			handler := provisionHandler(t, settings, 3)
			policy := handler.LoadBalancing.SelectionPolicy
			writer := nothing{make(http.Header)}
			request := prepare(httptest.NewRequest(http.MethodGet, "http://example.com/api/ping", nil), writer)
			chosen := policy.Select(handler.Upstreams, request, writer)
			seen := map[string]bool{chosen.Dial: true}

			stop, stopped := make(chan struct{}), make(chan struct{})
			go func() {
				defer close(stopped)
				for {
					select {
					case <-stop:
						return
					default:
						caddyhttp.GetVar(request.Context(), "reverse_proxy.tls_h1_only")
					}
				}
			}()
			for range 2 {
				chosen = policy.Select(handler.Upstreams, request, writer)
				if chosen == nil || seen[chosen.Dial] {
					t.Fatalf("a retry was given %v after %v", chosen, seen)
				}
				seen[chosen.Dial] = true
			}
			close(stop)
			<-stopped
		})
	}
}
