package tigergraph

import (
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/affinity"
	"github.com/caddy-tigergraph/caddy-tigergraph/internal/health"
	"github.com/caddy-tigergraph/caddy-tigergraph/internal/statuspage"
)

func TestOnlyMovedClientsAreRememberedAndNotTooMany(t *testing.T) {
	ctx, err := caddy.ProvisionContext(&caddy.Config{Admin: &caddy.AdminConfig{Disabled: true}})
	if err != nil {
		t.Fatal(err)
	}
	provision := func(options string) (*Policy, *reverseproxy.Handler) {
		config := `{"upstreams":[{"dial":"m1:14240"},{"dial":"m2:14240"}],
			"load_balancing":{"selection_policy":{"policy":"tigergraph","affinity":"client_ip","health_check_off":true` + options + `}}}`
		module, err := ctx.LoadModuleByID("http.handlers.reverse_proxy", []byte(config))
		if err != nil {
			t.Fatal(err)
		}
		handler := module.(*reverseproxy.Handler)
		return handler.LoadBalancing.SelectionPolicy.(*Policy), handler
	}
	request := caddyhttp.PrepareRequest(httptest.NewRequest(http.MethodGet, "/restpp/echo", nil), caddy.NewReplacer(), nil, &caddyhttp.Server{})
	vars := request.Context().Value(caddyhttp.VarsCtxKey).(map[string]any)
	send := func(policy *Policy, pool reverseproxy.UpstreamPool, client int) {
		delete(vars, memoryKey)
		vars[caddyhttp.ClientIPVarKey] = fmt.Sprintf("10.%d.%d.%d", client>>16, client>>8&255, client&255)
		if policy.Select(pool, request, nil) == nil {
			t.Fatal("no node")
		}
	}
	const clients = 3 * mostMoved

	policy, healthy := provision("")
	for client := range clients {
		send(policy, healthy.Upstreams, client)
	}
	if count := policy.moved.Len(); count != 0 || !policy.moved.Empty() {
		t.Errorf("with all nodes well %d clients are remembered", count)
	}

	policy, draining := provision(`,"drain":["m1:14240"]`)
	for client := range clients {
		send(policy, draining.Upstreams, client)
	}
	if count := policy.moved.Len(); count != 65536 {
		t.Errorf("of %d clients, half of them moved, %d are remembered, want 65536", clients, count)
	}

	policy, _ = provision(`,"failback":"0s"`)
	if policy.moved != nil {
		t.Error("with failback 0 there is a memory of moved clients")
	}
}

func TestEqualWeightsNeedNoLogarithm(t *testing.T) {
	of := func(weight float64) *member { return &member{weight: weight, seed: affinity.Seed(fmt.Sprint(weight))} }
	for _, test := range []struct {
		members []*member
		weighed bool
	}{
		{[]*member{of(1), of(1), of(1)}, false},
		{[]*member{of(7), of(7)}, false},
		{[]*member{of(7), of(0), of(7)}, false},
		{[]*member{of(0), of(0)}, false},
		{[]*member{of(1), of(2)}, true},
	} {
		homes := newHomes(test.members, 0)
		if weighed := homes.weights != nil; weighed != test.weighed {
			t.Errorf("%d nodes from weight %g on: weighed is %t", len(test.members), test.members[0].weight, weighed)
		}
	}
}

// aCluster is what the admin endpoint may say of one.
func aCluster() []nodeStatus {
	now := time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)
	since, until := now.Add(-90*time.Second), now.Add(time.Hour)
	up := serviceStatus{Verdict: "up", Since: &since, Streak: 45, LastProbe: &since, LatencyMS: 1.25}
	down := serviceStatus{
		Verdict: "down", Since: &since, Streak: 45, LastProbe: &since, LatencyMS: 2000,
		LastError: "Get \"http://graph-1.prod.example.com:14240/gsqlserver/gsql/version\": dial tcp 192.0.2.123:14240: connect: connection \x1b[31mrefused",
	}
	return []nodeStatus{
		{
			Address: "graph-1.prod.example.com:14240", Role: "primary", Weight: 1, Requests: 1234,
			Services: map[string]serviceStatus{"gui": up, "gsql": down, "restpp": up},
		},
		{
			Address: "m2:14240", Role: "primary", Weight: 65535, Draining: true, DrainUntil: &until,
			Services: map[string]serviceStatus{"gui": up, "gsql": up, "restpp": {Verdict: "unknown"}},
		},
		{
			Address: "m3:14240", Role: "backup", Weight: 1,
			Services: map[string]serviceStatus{"gui": {Verdict: "off"}, "gsql": up, "restpp": up},
		},
	}
}

func TestWhatIsWrongWithAServiceIsPrinted(t *testing.T) {
	now := time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)
	since := now.Add(-90 * time.Second)
	node := nodeStatus{Address: "m1:14240", Role: "primary", Weight: 1, Services: map[string]serviceStatus{
		"gui": {
			Verdict: "up", Since: &since, LastError: "status 502",
			Evidence: &statuspage.Evidence{Last: health.BadGateway.String(), At: now.Add(-7 * time.Second), Count: 12},
		},
		"gsql": {Verdict: "unknown", LastError: health.ErrNoRoute.Error(), Advice: health.Advice("gsql", health.ErrNoRoute)},
		"restpp": {
			Verdict: "down", Since: &since, LastError: health.EvidenceError{Outcome: health.Refused}.Error(),
			Advice:   health.Advice("restpp", health.EvidenceError{Outcome: health.Refused}),
			Evidence: &statuspage.Evidence{Last: health.Refused.String(), At: now.Add(-time.Hour)},
		},
	}}
	var out bytes.Buffer
	(&printer{out: &out}).nodes([]nodeStatus{node}, now)
	for _, want := range []string{
		"m1:14240 gui failed 12 requests in the last five minutes, the last one 7s ago:\n  status 502: the node's nginx does not reach the service\n",
		"m1:14240 gsql is unknown:\n  the node's nginx does not know the path of the probe\n  nobody knows whether it lives",
		"m1:14240 restpp is down for 1m30s:\n  a request met this: dialling: connection refused\n  nothing listens there",
	} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("printed\n%swant\n%s", out.String(), want)
		}
	}
	if strings.Contains(out.String(), "restpp failed") {
		t.Errorf("what was an hour ago is printed:\n%s", out.String())
	}
}

// Tables read well on a terminal of 80 columns, and colours do not move them.
func TestTables(t *testing.T) {
	now := time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)
	findings := []finding{
		{Node: "graph-1.prod.example.com:14240", Service: "gui", Passed: true, LatencyMS: 1.234},
		{
			Node: "graph-1.prod.example.com:14240", Service: "gsql", LatencyMS: 2000.1,
			Error: strings.Repeat("dial tcp 192.0.2.123:14240: ", 5) + "connect: connection refused", Advice: strings.Repeat("check this and that, ", 12),
		},
		{
			Node: "graph-1.prod.example.com:14240", Service: "restpp", LatencyMS: 2000.1,
			Error: strings.Repeat("dial tcp 192.0.2.123:14240: ", 5) + "connect: connection refused", Advice: strings.Repeat("check this and that, ", 12),
		},
	}
	for name, show := range map[string]func(p *printer){
		"status": func(p *printer) { p.nodes(aCluster(), now) },
		"check":  func(p *printer) { p.findings(findings) },
	} {
		var plain, coloured bytes.Buffer
		show(&printer{out: &plain})
		show(&printer{out: &coloured, colour: true})
		for line := range strings.Lines(plain.String()) {
			if columns := utf8.RuneCountInString(strings.TrimRight(line, "\n")); columns > 80 {
				t.Errorf("%s: a line has %d columns: %s", name, columns, line)
			}
		}
		if strings.ContainsRune(plain.String(), '\x1b') {
			t.Errorf("%s: an escape sequence without a terminal: %q", name, plain.String())
		}
		if !strings.Contains(coloured.String(), "\x1b[31m") {
			t.Errorf("%s: no red in %q", name, coloured.String())
		}
		if bare := stripColours(coloured.String()); bare != plain.String() {
			t.Errorf("%s: with colours the columns are\n%s\nwithout\n%s", name, bare, plain.String())
		}
	}

	var status bytes.Buffer
	(&printer{out: &status}).nodes(aCluster(), now)
	for _, want := range []string{
		"m2:14240                        draining  up   up    unknown  0         65535",
		"m2:14240 is draining for another 1h0m0s",
		"graph-1.prod.example.com:14240 gsql is down for 1m30s",
		"backup    off  up    up       0         1",
	} {
		if !strings.Contains(status.String(), want) {
			t.Errorf("no %q in\n%s", want, status.String())
		}
	}
	var check bytes.Buffer
	(&printer{out: &check}).findings(findings)
	if count := strings.Count(check.String(), "graph-1.prod.example.com:14240 gsql, restpp:\n  dial"); count != 1 {
		t.Errorf("a failure of two services is explained %d times:\n%s", count, check.String())
	}
	var none bytes.Buffer
	(&printer{out: &none}).nodes(nil, now)
	if !strings.Contains(none.String(), "no TigerGraph nodes") {
		t.Errorf("%q", none.String())
	}
}

func stripColours(text string) string {
	for _, colour := range []string{"31", "32", "33", "39"} {
		text = strings.ReplaceAll(text, "\x1b["+colour+"m", "")
	}
	return text
}
