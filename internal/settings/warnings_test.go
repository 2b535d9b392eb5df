package settings_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/affinity"
	"github.com/caddy-tigergraph/caddy-tigergraph/internal/service"
	"github.com/caddy-tigergraph/caddy-tigergraph/internal/settings"
)

// checked is how the services are checked by default.
func checked() (plans [service.Count]*settings.Plan) {
	for s := range plans {
		plans[s] = &settings.Plan{Interval: 2 * time.Second, Timeout: 2 * time.Second}
	}
	return plans
}

func TestWhatCanHardlyBeMeantIsWarnedOf(t *testing.T) {
	two := []string{"m1:14240", "m2:14240"}
	slow := checked()
	slow[service.GUI] = &settings.Plan{Interval: time.Second, Timeout: 5 * time.Second}
	for _, test := range []struct {
		name   string
		policy settings.Policy
		proxy  *settings.Proxy
		keys   [][]byte
		want   string // the options that are warned of
	}{
		{name: "the least", proxy: &settings.Proxy{Upstreams: two, HasChecker: true, Plans: checked()}},
		{name: "no proxy"},
		{name: "all drain", policy: settings.Policy{Drain: two[:1], Weights: map[string]int{"m2:14240": 0}}, proxy: &settings.Proxy{Upstreams: two, HasChecker: true, Plans: checked()}, want: "drain"},
		{name: "all of the cluster drain", policy: settings.Policy{Drain: two[:1], Standby: []settings.Standby{{"dr", two[1:]}}}, proxy: &settings.Proxy{Upstreams: two, HasChecker: true, Plans: checked()}, want: "drain"},
		{name: "all are backups", policy: settings.Policy{Backup: two}, proxy: &settings.Proxy{Upstreams: two, HasChecker: true, Plans: checked()}, want: "backup"},
		{name: "all drain, but others may come", policy: settings.Policy{Drain: two}, proxy: &settings.Proxy{Upstreams: two, Dynamic: true, HasChecker: true, Plans: checked()}},
		{name: "one is left", policy: settings.Policy{Drain: two[:1]}, proxy: &settings.Proxy{Upstreams: two, HasChecker: true, Plans: checked()}},
		{name: "no checks", policy: settings.Policy{SlowStart: 1, FailClosed: true}, proxy: &settings.Proxy{Upstreams: two}, want: "health_check slow_start fail_closed"},
		{name: "all checks off", proxy: &settings.Proxy{Upstreams: two, HasChecker: true}, want: "health_check"},
		{name: "Caddy's checks", proxy: &settings.Proxy{Upstreams: two, HasChecker: true, Plans: checked(), Active: &settings.ActiveChecks{URI: "/", Port: 1}}, want: "health_uri"},
		{name: "at a path", proxy: &settings.Proxy{Upstreams: two, HasChecker: true, Plans: checked(), Active: &settings.ActiveChecks{Path: "/"}}, want: "health_path"},
		{name: "at a port", proxy: &settings.Proxy{Upstreams: two, HasChecker: true, Plans: checked(), Active: &settings.ActiveChecks{Port: 1}}, want: "health_port"},
		{name: "nowhere", proxy: &settings.Proxy{Upstreams: two, HasChecker: true, Plans: checked(), Active: &settings.ActiveChecks{}}, want: "health_*"},
		{name: "a long timeout", proxy: &settings.Proxy{Upstreams: two, HasChecker: true, Plans: slow, IsTimeoutGiven: true}, want: "health_check timeout"},
		{name: "that nobody gave", proxy: &settings.Proxy{Upstreams: two, HasChecker: true, Plans: slow}},
		{name: "every GET again", proxy: &settings.Proxy{Upstreams: two, HasChecker: true, Plans: checked(), Repeats: true}, want: "lb_retry_match"},
		{name: "whatever again", proxy: &settings.Proxy{Upstreams: two, HasChecker: true, Plans: checked(), Repeats: true, Matched: []bool{true, false}}, want: "lb_retry_match"},
		{name: "what does no harm again", proxy: &settings.Proxy{Upstreams: two, HasChecker: true, Plans: checked(), Repeats: true, Matched: []bool{true}}},
		{name: "never again", proxy: &settings.Proxy{Upstreams: two, HasChecker: true, Plans: checked(), Matched: []bool{false}}},
		{name: "no affinity", policy: settings.Policy{Affinity: "none", IPv4Prefix: 1, IPv6Prefix: 1, Failback: new(time.Duration(1)), Spread: []string{}}, want: "ipv4_prefix ipv6_prefix failback spread"},
		{name: "one node", policy: settings.Policy{Weights: map[string]int{"m1:14240": 2}}, proxy: &settings.Proxy{Upstreams: two[:1], HasFallback: true, HasChecker: true, Plans: checked()}, want: "weight fallback"},
		{name: "one node that retires", policy: settings.Policy{Weights: map[string]int{"m1:14240": 0}}, proxy: &settings.Proxy{Upstreams: two[:1], HasChecker: true, Plans: checked()}, want: "drain"},
		{name: "one of several", policy: settings.Policy{Weights: map[string]int{"m1:14240": 2}}, proxy: &settings.Proxy{Upstreams: two[:1], Dynamic: true, HasChecker: true, Plans: checked()}},
		{name: "a short secret", policy: settings.Policy{HasCookie: true}, keys: [][]byte{[]byte("0123456789abcdef"), []byte("secret")}, want: "cookie secret"},
		{name: "the key from storage", keys: [][]byte{[]byte("short")}},
	} {
		var options []string
		for _, warning := range test.policy.Warnings(test.proxy, test.keys) {
			options = append(options, warning.Option)
			if warning.Message == "" || strings.Contains(warning.Message, "= secret") {
				t.Errorf("%s: %q", test.name, warning.Message)
			}
		}
		if got := strings.Join(options, " "); got != test.want {
			t.Errorf("%s: warned of %q, want %q", test.name, got, test.want)
		}
	}
}

func TestCookiesOfOneNameThatCostEachOthersUsersTheirSessions(t *testing.T) {
	shown := func(name, host, path, pool, key string, lifetime time.Duration) *settings.Shown {
		return &settings.Shown{
			Form: &affinity.Form{Name: name, Lifetime: lifetime, Plain: http.Cookie{Path: path}}, Scope: affinity.Scope{Hosts: []string{host}, Path: path},
			Keys: [][]byte{[]byte(key)}, Pool: pool,
		}
	}
	one := shown("n", "a.test", "/", "m1 m2", "key", time.Hour)
	for _, test := range []struct {
		name  string
		other *settings.Shown
		want  string
	}{
		{"the same", shown("n", "a.test", "/", "m1 m2", "key", time.Hour), ""},
		{"another name", shown("o", "a.test", "/", "m3", "key", time.Hour), ""},
		{"another host", shown("n", "b.test", "/", "m3", "key", time.Hour), ""},
		{"other nodes", shown("n", "a.test", "/", "m3", "key", time.Hour), "cookie name"},
		{"another key", shown("n", "a.test", "/", "m1 m2", "other", time.Hour), "cookie secret"},
		{"another lifetime", shown("n", "a.test", "/", "m1 m2", "key", time.Minute), "cookie secret"},
	} {
		if warning, clash := one.Clash(test.other); warning.Option != test.want || clash != (test.want != "") {
			t.Errorf("%s: %+v", test.name, warning)
		}
	}
}
