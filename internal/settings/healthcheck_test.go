package settings_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/service"
	"github.com/caddy-tigergraph/caddy-tigergraph/internal/settings"
)

func TestAHealthCheckThatCannotBeMeantIsRefused(t *testing.T) {
	percent := func(n int) *int { return &n }
	for _, test := range []struct {
		check settings.HealthCheck
		want  string
	}{
		{settings.HealthCheck{}, ""},
		{settings.HealthCheck{Interval: time.Millisecond}, "interval must be at least 10ms, not 1ms"},
		{settings.HealthCheck{Interval: -time.Second}, "interval must be at least 10ms, not -1s"},
		{settings.HealthCheck{Interval: 25 * time.Hour}, "interval must be at most 24h0m0s, not 25h0m0s"},
		{settings.HealthCheck{Timeout: -time.Second}, "timeout must be positive, not -1s"},
		{settings.HealthCheck{Jitter: percent(101)}, "jitter must be a percentage from 0 to 100, not 101"},
		{settings.HealthCheck{Jitter: percent(0)}, ""},
		{settings.HealthCheck{Passes: -1}, "passes must be at least 1, not -1"},
		{settings.HealthCheck{Fails: -1}, "fails must be at least 1, not -1"},
		{settings.HealthCheck{GUI: "api/ping"}, "gui must be a path that begins with a slash or 'off', not 'api/ping'"},
		{settings.HealthCheck{RESTPP: "/%zz"}, "restpp must be a path that begins with a slash or 'off', not '/%zz'"},
		{settings.HealthCheck{GSQL: "http://elsewhere/"}, "gsql must be a path that begins with a slash or 'off', not 'http://elsewhere/'"},
		{settings.HealthCheck{GSQL: "off"}, ""},
		{settings.HealthCheck{Headers: http.Header{"a b": {"c"}}}, "'a b' is not the name of a header field"},
		{settings.HealthCheck{Headers: http.Header{"A": {"b\r\nc"}}}, "the value of the header field 'A' has a character that is not allowed there"},
		{settings.HealthCheck{Start: "up"}, "start must be 'healthy' or 'checking', not 'up'"},
	} {
		if got := said(test.check.Refuse()); got != test.want {
			t.Errorf("%+v: %q, want %q", test.check, got, test.want)
		}
	}
}

func TestTheDefaultsOfAHealthCheck(t *testing.T) {
	full := settings.HealthCheck{}.WithDefaults()
	if full.Interval != 2*time.Second || full.Timeout != 2*time.Second || *full.Jitter != 10 || full.Passes != 2 || full.Fails != 3 {
		t.Errorf("%+v", full)
	}
	none := 0
	if set := (settings.HealthCheck{Interval: time.Second, Jitter: &none, Fails: 1}).WithDefaults(); set.Interval != time.Second || *set.Jitter != 0 || set.Fails != 1 {
		t.Errorf("%+v", set)
	}
	for _, test := range []struct {
		check settings.HealthCheck
		want  [service.Count]string
	}{
		{settings.HealthCheck{}, [service.Count]string{service.GUI: "/api/ping", service.RESTPP: "/restpp/echo", service.GSQL: "/gsqlserver/gsql/version /gsql/v1/version"}},
		{settings.HealthCheck{GUI: "off", GSQL: "/gsql/v1/ping"}, [service.Count]string{service.RESTPP: "/restpp/echo", service.GSQL: "/gsql/v1/ping"}},
	} {
		targets, err := test.check.Targets()
		if err != nil {
			t.Fatal(err)
		}
		for s := range service.Count {
			var paths []string
			for _, target := range targets[s] {
				paths = append(paths, target.String())
			}
			if got := strings.Join(paths, " "); got != test.want[s] {
				t.Errorf("%+v: %s is asked at %q, want %q", test.check, s, got, test.want[s])
			}
		}
	}
	check := settings.HealthCheck{Headers: http.Header{"Host": {"{host}"}, "X": {"a", "b"}}}
	header, host, err := check.Header(func(value string) string { return strings.Trim(value, "{}") })
	if err != nil {
		t.Fatal(err)
	}
	if host != "host" || header.Get("Host") != "" || len(header["X"]) != 2 || header.Get("Accept-Encoding") != "identity" {
		t.Errorf("%q, %v", host, header)
	}
}
