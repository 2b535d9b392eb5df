package once_test

import (
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"testing"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/once"
)

func TestWhatAnotherProxyHasSentWouldBeDoneAgain(t *testing.T) {
	left := httptest.NewRequest(http.MethodPost, "/restpp/ddl/social", nil)
	for _, test := range []struct {
		name   string
		r      *http.Request
		failed bool
		want   bool
	}{
		{"a retry of the proxy's own", left.WithContext(t.Context()), true, false},
		{"the same", httptest.NewRequest(http.MethodPost, "/restpp/ddl/social?tag=x", nil), false, true},
		{"the same after a failure", httptest.NewRequest(http.MethodPost, "/restpp/ddl/social", nil), true, true},
		{"in another form after a failure", httptest.NewRequest(http.MethodPost, "/ddl/social", nil), true, true},
		{"another path", httptest.NewRequest(http.MethodPost, "/gsql/v1/statements", nil), false, false},
		{"another method", httptest.NewRequest(http.MethodGet, "/restpp/ddl/social", nil), false, false},
	} {
		if got := once.IsAgain(test.r, left, test.failed); got != test.want {
			t.Errorf("%s: %t", test.name, got)
		}
	}
}

func TestWhatLeavesIsKept(t *testing.T) {
	server := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(server.Close)
	var kept any
	r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, server.URL+"/ddl", nil)
	r.RequestURI = ""
	attempt := func() {
		once.Watch(r, func(sent *http.Request, left any) {
			if kept = left; left != nil && left != sent {
				t.Errorf("%v was sent, %v is kept", sent, left)
			}
		})
		if res, err := http.DefaultTransport.RoundTrip(r); err == nil {
			_ = res.Body.Close()
		}
	}
	if attempt(); kept == nil {
		t.Error("what was answered is not kept")
	}
	server.Close()
	if attempt(); kept == nil {
		t.Error("the attempt that left is forgotten for one that did not")
	}
	kept, r = nil, httptest.NewRequestWithContext(t.Context(), http.MethodPost, server.URL, nil)
	r.RequestURI = ""
	if attempt(); kept != nil {
		t.Errorf("%v is kept, which never left", kept)
	}
	// A connection that took nothing, and another one instead.
	for range 2 {
		trace := httptrace.ContextClientTrace(r.Context())
		trace.GetConn("")
		if kept != nil {
			t.Error("what a connection did not take is kept")
		}
		trace.WroteHeaders()
	}
}
