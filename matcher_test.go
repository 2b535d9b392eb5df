package tigergraph_test

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// loadMatcher provisions a matcher from JSON.
func loadMatcher(t *testing.T, name, config string) (caddyhttp.RequestMatcherWithError, error) {
	t.Helper()
	ctx, err := caddy.ProvisionContext(&caddy.Config{Admin: &caddy.AdminConfig{Disabled: true}})
	if err != nil {
		t.Fatal(err)
	}
	module, err := ctx.LoadModuleByID("http.matchers."+name, []byte(config))
	if err != nil {
		return nil, err
	}
	return module.(caddyhttp.RequestMatcherWithError), nil
}

func TestMatchersMatchWhatTheyAreNamedAfter(t *testing.T) {
	for _, test := range []struct {
		name, config, method, target string
		want                         bool
	}{
		{"tigergraph_repeatable", `{}`, http.MethodGet, "/restpp/echo", true},
		{"tigergraph_repeatable", `{}`, http.MethodGet, "/gsql/v1/drop-all", false},
		{"tigergraph_repeatable", `{}`, http.MethodPost, "/restpp/echo", false},
		{"tigergraph_service", `["gsql","restpp"]`, http.MethodGet, "/gsql/v1/drop-all", true},
		{"tigergraph_service", `["gsql","restpp"]`, http.MethodGet, "/api/../%72estpp//echo", true},
		{"tigergraph_service", `["gsql","restpp"]`, http.MethodGet, "/api/ping", false},
		{"tigergraph_service", `["gui"]`, http.MethodGet, "/gsql/", true},
	} {
		matcher, err := loadMatcher(t, test.name, test.config)
		if err != nil {
			t.Fatal(err)
		}
		got, err := matcher.MatchWithError(httptest.NewRequest(test.method, test.target, nil))
		if err != nil || got != test.want {
			t.Errorf("%s %s: %s %s = %v, %v, want %v", test.name, test.config, test.method, test.target, got, err, test.want)
		}
	}
}

func TestMatcherOfServicesRefusesImpossibleJSON(t *testing.T) {
	for _, config := range []string{`[]`, `["graphstudio"]`, `["gui","gui"]`, `[""]`} {
		if _, err := loadMatcher(t, "tigergraph_service", config); err == nil {
			t.Errorf("%s is accepted", config)
		}
	}
}
