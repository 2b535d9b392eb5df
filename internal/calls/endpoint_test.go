package calls_test

import (
	"testing"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/calls"
)

func TestTheEndpointIsFoundBySeveralSpellings(t *testing.T) {
	for given, want := range map[string]string{
		"": "", "localhost:2019": "localhost:2019", "10.0.0.1:3000": "10.0.0.1:3000", "[::1]:2019": "[::1]:2019",
		"http://localhost:2019": "localhost:2019", "http://localhost:2019/": "localhost:2019", "http://edge": "edge:2019",
		":2020": "localhost:2020", "edge": "edge:2019", "10.0.0.1": "10.0.0.1:2019", "::1": "[::1]:2019", "[::1]": "[::1]:2019",
		"unix//run/caddy/admin.sock": "unix//run/caddy/admin.sock", "tcp/localhost:2019": "tcp/localhost:2019", "a:b:c": "a:b:c",
	} {
		if got, err := calls.Endpoint(given); got != want || err != nil {
			t.Errorf("%q is %q, %v; want %q", given, got, err, want)
		}
	}
	if _, err := calls.Endpoint("https://localhost:2019"); err == nil {
		t.Error("TLS is accepted")
	}
}
