package tigergraph

import (
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"syscall"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/fleet"
	"github.com/caddy-tigergraph/caddy-tigergraph/internal/health"
	"github.com/caddy-tigergraph/caddy-tigergraph/internal/service"
	"github.com/caddy-tigergraph/caddy-tigergraph/internal/tgnode"
)

// checkerOfAnother kind, with the same settings.
type otherChecker struct{ Services }

func TestWhatIdentifiesAProber(t *testing.T) {
	known := fleet.New(fleetSeries{})
	key := func(address string, transport http.RoundTripper, checker HealthChecker, check string) string {
		t.Helper()
		settings, err := newProberSettings(known, transport, checker, json.RawMessage(check))
		if err != nil {
			t.Fatal(err)
		}
		key, _ := settings.keys(address)
		return key
	}
	transport := func(timeout caddy.Duration) *reverseproxy.HTTPTransport {
		return &reverseproxy.HTTPTransport{DialTimeout: timeout}
	}
	same := key("a:1", transport(1), new(Services), "{}")
	if key("a:1", transport(1), new(Services), "{}") != same {
		t.Error("equal settings have different keys")
	}
	for name, other := range map[string]string{
		"address":         key("b:1", transport(1), new(Services), "{}"),
		"transport":       key("a:1", transport(2), new(Services), "{}"),
		"no transport":    key("a:1", nil, new(Services), "{}"),
		"check":           key("a:1", transport(1), new(Services), `{"fails":1}`),
		"kind of checker": key("a:1", transport(1), new(otherChecker), "{}"),
	} {
		if other == same {
			t.Errorf("another %s has the same key", name)
		}
	}
}

func TestWhatAVerdictOfOneProberIsTrueForAnother(t *testing.T) {
	known := fleet.New(fleetSeries{})
	type settings struct {
		address   string
		transport http.RoundTripper
		checker   HealthChecker
		check     string
	}
	kin := func(s settings) [service.Count]string {
		t.Helper()
		settings, err := newProberSettings(known, s.transport, s.checker, json.RawMessage(s.check))
		if err != nil {
			t.Fatal(err)
		}
		_, kin := settings.keys(s.address)
		return kin
	}
	transport := func(t reverseproxy.HTTPTransport) http.RoundTripper { return &t }
	base := settings{"a:1", transport(reverseproxy.HTTPTransport{}), new(Services), `{"gui":"/ping"}`}
	for _, test := range []struct {
		name   string
		change func(*settings)
		same   string // the services of which it stays true
	}{
		{"nothing", func(*settings) {}, "gui gsql restpp"},
		{"rhythm", func(s *settings) { s.check = `{"gui":"/ping","interval":"1s","timeout":"1s","jitter":0}` }, "gui gsql restpp"},
		{"thresholds", func(s *settings) { s.check = `{"gui":"/ping","passes":5,"fails":1,"start":"checking"}` }, "gui gsql restpp"},
		{"dial time-out", func(s *settings) { s.transport = transport(reverseproxy.HTTPTransport{DialTimeout: 1}) }, "gui gsql restpp"},
		{"the path of the GUI", func(s *settings) { s.check = `{}` }, "gsql restpp"},
		{"the path of RESTPP", func(s *settings) { s.check = `{"gui":"/ping","restpp":"/restpp/version"}` }, "gui gsql"},
		{"header", func(s *settings) { s.check = `{"gui":"/ping","headers":{"A":["b"]}}` }, ""},
		{"address", func(s *settings) { s.address = "b:1" }, ""},
		{"transport", func(s *settings) { s.transport = transport(reverseproxy.HTTPTransport{LocalAddress: "127.0.0.1"}) }, ""},
		{"TLS", func(s *settings) {
			s.transport = transport(reverseproxy.HTTPTransport{TLS: &reverseproxy.TLSConfig{ServerName: "m1"}})
		}, ""},
		{"kind of checker", func(s *settings) { s.checker = new(otherChecker) }, ""},
	} {
		changed := base
		test.change(&changed)
		before, after := kin(base), kin(changed)
		for s := range service.Count {
			if want := strings.Contains(test.same, s.String()); (before[s] == after[s]) != want {
				t.Errorf("after a change of %s the verdict of %s is true still: %t, want %t", test.name, s, before[s] == after[s], want)
			}
		}
	}
}

func TestEqualFailuresReadAlike(t *testing.T) {
	node := startNodes(t, 1)[0]
	node.SetFault(tgnode.All, tgnode.Fault{Mode: tgnode.Reset})
	patient := strings.Replace(plainPolicy, `"50ms"`, `"50ms","timeout":"30s"`, 1) // a busy machine's probes fail alike
	p, _ := loadPolicy(t, patient, node.Addr())
	prober := p.memberAt(node.Addr()).prober
	until(t, "all are down", func() bool {
		return prober.Verdict(service.GUI) == health.Down && prober.Verdict(service.GSQL) == health.Down && prober.Verdict(service.RESTPP) == health.Down
	})
	for s := range service.Count {
		report, first := prober.Report(s), prober.Report(service.GUI)
		if report.LastError() != first.LastError() || strings.Contains(report.LastError(), "->") {
			t.Errorf("%s: %s; gui: %s", s, report.LastError(), first.LastError())
		}
		if !errors.Is(report.Failure, syscall.ECONNRESET) {
			t.Errorf("the cause of %v is lost", report.Failure)
		}
	}
}
