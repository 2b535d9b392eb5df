package service_test

import (
	"crypto/tls"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/service"
)

func TestEarlyDataAreToldByTheHandshakeOrTheProxyInFront(t *testing.T) {
	for _, test := range []struct {
		tls    *tls.ConnectionState
		header http.Header
		want   bool
	}{
		{nil, http.Header{}, false},
		{&tls.ConnectionState{HandshakeComplete: true}, http.Header{}, false},
		{&tls.ConnectionState{}, http.Header{}, true},
		{nil, http.Header{"Early-Data": {"1"}}, true},
		{&tls.ConnectionState{HandshakeComplete: true}, http.Header{"Early-Data": {"whatever"}}, true},
	} {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.TLS, r.Header = test.tls, test.header
		if got := service.IsEarly(r); got != test.want {
			t.Errorf("%+v, %v: %t", test.tls, test.header, got)
		}
	}
}
