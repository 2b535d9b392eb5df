package tigergraph

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/attempt"
	"github.com/caddy-tigergraph/caddy-tigergraph/internal/health"
	"github.com/caddy-tigergraph/caddy-tigergraph/internal/service"
	"github.com/caddy-tigergraph/caddy-tigergraph/internal/tgnode"
)

// What the proxy's transport says when something fails is understood.
func TestAttemptsThroughTheProxysTransportAreBooked(t *testing.T) {
	ctx, cancel := caddy.NewContext(caddy.Context{Context: context.Background()})
	defer cancel()
	transport := &reverseproxy.HTTPTransport{DialTimeout: caddy.Duration(200 * time.Millisecond)}
	if err := transport.Provision(ctx); err != nil {
		t.Fatal(err)
	}
	left, leave := context.WithCancel(t.Context())
	leave()
	for _, test := range []struct {
		name    string
		prepare func(*tgnode.Node) error
		path    string
		ctx     context.Context
		excused bool
		want    [service.Count]health.Outcome
	}{
		{name: "well", path: "/restpp/echo"},
		{
			name: "refused", path: "/restpp/echo", prepare: func(n *tgnode.Node) error { n.Stop(); return nil },
			want: [...]health.Outcome{health.Refused, health.Refused, health.Refused},
		},
		{
			name: "packets dropped", path: "/", prepare: (*tgnode.Node).Blackhole,
			want: [...]health.Outcome{health.TimedOut, health.TimedOut, health.TimedOut},
		},
		{
			name: "closed", path: "/restpp/echo", prepare: fail(tgnode.RESTPP, tgnode.Close),
			want: [...]health.Outcome{service.RESTPP: health.Broken},
		},
		{
			name: "reset", path: "/gsqlserver/x", prepare: fail(tgnode.GSQL, tgnode.Reset),
			want: [...]health.Outcome{service.GSQL: health.Broken, service.RESTPP: 0},
		},
		{
			name: "dead", path: "/api/x", prepare: fail(tgnode.GUI, tgnode.Dead),
			want: [...]health.Outcome{service.GUI: health.BadGateway, service.RESTPP: 0},
		},
		{name: "dead Informant", path: "/informant/metrics", prepare: fail(tgnode.Informant, tgnode.Dead)},
		{name: "client left", path: "/restpp/echo", ctx: left, prepare: func(n *tgnode.Node) error { n.Stop(); return nil }},
		{name: "client's fault", path: "/restpp/echo", excused: true, prepare: fail(tgnode.RESTPP, tgnode.Close)},
	} {
		t.Run(test.name, func(t *testing.T) {
			node := startNodes(t, 1)[0]
			p, _ := loadPolicy(t, plainPolicy, node.Addr())
			prober := p.memberAt(node.Addr()).prober
			until(t, "it is up", func() bool { return prober.Verdict(service.RESTPP) == health.Up })
			if test.prepare != nil {
				if err := test.prepare(node); err != nil {
					t.Skip("this needs a packet filter or a port of its own, which CI has: ", err)
				}
			}
			if test.ctx == nil {
				test.ctx = t.Context()
			}
			info, err := dialInfo(node.Addr())
			if err != nil {
				t.Fatal(err)
			}
			r := httptest.NewRequest(http.MethodPost, "http://"+node.Addr()+test.path, nil)
			r = r.WithContext(context.WithValue(context.WithValue(test.ctx, caddy.ReplacerCtxKey, caddy.NewReplacer()), dialInfoKey, info))
			r.RequestURI = ""
			began := time.Now()
			res, err := transport.RoundTrip(r)
			came := attempt.Attempt{Started: began, Err: err}
			if err == nil {
				_ = res.Body.Close()
				came.Status, came.Header = res.StatusCode, res.Header
			}
			if test.excused {
				came.Outcome = attempt.ClientFault
			}
			book(prober, service.Of(test.path), r, came)
			for s := range service.Count {
				if got := prober.Report(s).Evidence.Last; got != test.want[s] {
					t.Errorf("%s: %s (error %v), want %s", s, got, err, test.want[s])
				}
			}
		})
	}
}

func TestAClientsFaultIsNoErrorOfTheNode(t *testing.T) {
	node := startNodes(t, 1)[0]
	p, _ := loadPolicy(t, plainPolicy, node.Addr())
	m := p.memberAt(node.Addr())
	r := httptest.NewRequest(http.MethodPost, "http://edge/restpp/ddl/g", nil)
	r = r.WithContext(context.WithValue(t.Context(), caddyhttp.VarsCtxKey, map[string]any{memoryKey: &choice{policy: p, member: m}}))
	for outcome, want := range map[attempt.Outcome]string{attempt.ClientFault: "canceled", attempt.ClientGone: "canceled", 0: "error"} {
		m.requests.services[service.RESTPP].codes.Store(nil)
		p.observe(r, attempt.Attempt{Started: time.Now(), Err: io.ErrUnexpectedEOF, Outcome: outcome})
		codes := m.requests.services[service.RESTPP].codes.Load()
		if codes == nil || len(*codes) != 1 || (*codes)[0].code.String() != want {
			t.Errorf("an attempt that came to %v is counted as %v, want %s", outcome, codes, want)
		}
	}
}

func TestWhatRequestsMetIsPartOfTheStatus(t *testing.T) {
	node := startNodes(t, 1)[0]
	p, _ := loadPolicy(t, plainPolicy, node.Addr())
	prober := p.memberAt(node.Addr()).prober
	until(t, "it is up", func() bool { return prober.Verdict(service.GUI) == health.Up })
	r := httptest.NewRequest(http.MethodGet, "http://edge/api/x", nil)
	for range 3 {
		book(prober, service.GUI, r, attempt.Attempt{Started: time.Now(), Status: http.StatusBadGateway})
	}
	services := p.app.statuses()[0].Services
	if met := services["gui"].Evidence; met == nil || met.Count != 3 || met.Last != health.BadGateway.String() || time.Since(met.At) > time.Minute {
		t.Errorf("of the GUI: %+v", met)
	}
	if met := services["gsql"].Evidence; met != nil {
		t.Errorf("of GSQL: %+v", met)
	}
}

func fail(s tgnode.Service, mode tgnode.Mode) func(*tgnode.Node) error {
	return func(n *tgnode.Node) error {
		n.SetFault(s, tgnode.Fault{Mode: mode})
		return nil
	}
}
