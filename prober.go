package tigergraph

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"time"
	"weak"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
	"go.uber.org/zap"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/health"
	"github.com/caddy-tigergraph/caddy-tigergraph/internal/history"
	"github.com/caddy-tigergraph/caddy-tigergraph/internal/service"
	"github.com/caddy-tigergraph/caddy-tigergraph/internal/statuspage"
)

// probers are shared by all sites, and by the configurations before and after a
// reload, that check the same node in the same way. So verdicts survive.
var probers = caddy.NewUsagePool()

// prober finds out which services of one node live.
type prober struct {
	*health.Prober
	address string
	node    reverseproxy.DialInfo
	kin     [service.Count]string
	begin   sync.Once
}

// probeOwner is a policy that has started. It lends the probers what belongs to its
// configuration: a survivor must not use what an old one has cleaned up.
type probeOwner struct {
	app       *App
	checker   HealthChecker
	transport http.RoundTripper
}

// lease is what an owner lends the prober of one node. It makes known what the prober
// finds: in the log, the metrics, the history and by events.
type lease struct {
	*probeOwner
	address string
	node    reverseproxy.DialInfo
}

// proberKeys returns what identifies a prober: what is checked and how, which is the
// address, the transport's settings and the check's. Kin is, for each service, what
// decides whether a verdict of one prober is true for another: all of that but when
// it is probed and what the results are worth.
func proberKeys(address string, transport http.RoundTripper, checker HealthChecker, check json.RawMessage) (key string, kin [service.Count]string, err error) {
	settings := []byte("default")
	if transport != nil {
		if settings, err = json.Marshal(transport); err != nil {
			return "", kin, fmt.Errorf("encoding the transport's settings: %w", err)
		}
	}
	number := trusted.number(authorities(transport))
	digest := func(transportSettings, checkSettings []byte) string {
		sum := sha256.New()
		_, _ = fmt.Fprintf(sum, "%q\n%T\n%s\n%T\n%s\n%d\n", // never fails
			address, transport, transportSettings, checker, checkSettings, number)
		return hex.EncodeToString(sum.Sum(nil))
	}
	for s := range service.Count {
		way, what := settings, []byte(check)
		if httpTransport(transport) != nil {
			way = without(settings, "dial_timeout")
		}
		if _, ours := checker.(*Services); ours {
			what = without(check, rhythmSettings(s)...)
		}
		kin[s] = s.String() + digest(way, what)
	}
	return digest(settings, check), kin, nil
}

// rhythmSettings are those of the health check `services` that say nothing of how a
// service is.
func rhythmSettings(s service.Service) []string {
	settings := []string{"checker", "interval", "timeout", "jitter", "passes", "fails", "start"}
	for other := range service.Count {
		if other != s {
			settings = append(settings, other.String())
		}
	}
	return settings
}

// without returns an object of JSON without these keys.
func without(object []byte, keys ...string) []byte {
	var values map[string]json.RawMessage
	if json.Unmarshal(object, &values) != nil {
		return object
	}
	for _, key := range keys {
		delete(values, key)
	}
	left, err := json.Marshal(values)
	if err != nil {
		return object
	}
	return left
}

// authorities returns the authorities that a transport trusts, nil if they are
// the system's. Its settings lack them, for they are a module of their own.
func authorities(transport http.RoundTripper) *x509.CertPool {
	if t := httpTransport(transport); t != nil && t.Transport != nil && t.Transport.TLSClientConfig != nil {
		return t.Transport.TLSClientConfig.RootCAs
	}
	return nil
}

// trusted numbers the authorities that transports trust. There is no other way to
// tell two pools apart than to compare them.
var trusted trustedPools

// trustedPools knows the pools for as long as somebody uses them. Numbers are never
// given twice.
type trustedPools struct {
	mu    sync.Mutex
	last  int
	known []numberedPool
}

type numberedPool struct {
	pool   weak.Pointer[x509.CertPool]
	number int
}

// number returns the number of a pool, 0 for the system's.
func (t *trustedPools) number(pool *x509.CertPool) int {
	if pool == nil {
		return 0
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	number := 0
	kept := t.known[:0]
	for _, known := range t.known {
		alive := known.pool.Value()
		if alive == nil {
			continue
		}
		kept = append(kept, known)
		if alive == pool {
			number = known.number
		} else if number == 0 && pool.Equal(alive) {
			number = -known.number // to be noted
		}
	}
	clear(t.known[len(kept):])
	t.known = kept
	if number > 0 {
		return number
	}
	if number = -number; number == 0 {
		t.last++
		number = t.last
	}
	t.known = append(t.known, numberedPool{weak.Make(pool), number})
	return number
}

// relatives are all probers there are, by each of their kin.
var relatives = kinship{byKin: make(map[string][]*prober)}

type kinship struct {
	mu    sync.Mutex
	byKin map[string][]*prober
}

func (k *kinship) add(p *prober) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, kin := range p.kin {
		k.byKin[kin] = append(k.byKin[kin], p)
	}
}

func (k *kinship) remove(p *prober) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, kin := range p.kin {
		left := slices.DeleteFunc(k.byKin[kin], func(other *prober) bool { return other == p })
		if k.byKin[kin] = left; len(left) == 0 {
			delete(k.byKin, kin)
		}
	}
}

// ancestor returns the prober that knows most lately how a service is, nil if no
// relative of this prober does.
func (k *kinship) ancestor(p *prober, s service.Service) *prober {
	k.mu.Lock()
	defer k.mu.Unlock()
	var newest *prober
	var probed time.Time
	for _, other := range k.byKin[p.kin[s]] {
		if last := other.Report(s).LastProbe; other != p && last.After(probed) {
			newest, probed = other, last
		}
	}
	return newest
}

// newProber makes a prober that does not run yet.
func newProber(address string, node reverseproxy.DialInfo, checker HealthChecker, kin [service.Count]string) *prober {
	p := &prober{address: address, node: node, kin: kin}
	p.Prober = health.NewProber(address, func(s service.Service) bool {
		_, checked := checker.Plan(s.String())
		return checked
	})
	relatives.add(p)
	labelled.add(address)
	for s := range service.Count {
		if p.Checks(s) { // increase() sees nothing of a series that begins with what it counts
			transitionsTotal.WithLabelValues(address, s.String(), health.Up.String())
			transitionsTotal.WithLabelValues(address, s.String(), health.Down.String())
		}
	}
	return p
}

// Destruct ends the prober when the last policy gives it up.
func (p *prober) Destruct() error {
	p.End()
	relatives.remove(p)
	labelled.remove(p.address)
	return nil
}

// start lets an owner's probes begin, or go on with what it lends. A new prober begins
// with what is known already: a reload may have changed no more than the rhythm.
func (p *prober) start(owner *probeOwner) {
	p.begin.Do(func() {
		for s := range service.Count {
			if ancestor := relatives.ancestor(p, s); ancestor != nil {
				p.Inherit(ancestor.Prober, s)
			}
		}
	})
	p.Start(lease{owner, p.address, p.node})
}

// release takes back what an owner lent, and ends the probes with the last one.
func (p *prober) release(owner *probeOwner) { p.Release(lease{owner, p.address, p.node}) }

// owner returns the owner whose transport and logger count now, nil if there is
// none any more.
func (p *prober) owner() *probeOwner {
	if l, ok := p.Owner().(lease); ok {
		return l.probeOwner
	}
	return nil
}

// Plan implements health.Owner.
func (l lease) Plan(s service.Service) health.Plan {
	plan, _ := l.checker.Plan(s.String())
	return health.Plan{
		Schedule:   health.Schedule{Interval: plan.Interval, Jitter: plan.Jitter},
		Thresholds: health.Thresholds{Passes: plan.Passes, Fails: plan.Fails},
		Timeout:    plan.Timeout,
	}
}

// Ask implements health.Owner.
func (l lease) Ask(ctx context.Context, s service.Service) error {
	return l.checker.Probe(ctx, l.transport, l.node, s.String())
}

// fields name what a line of the log is about.
func (l lease) fields(s service.Service, more ...zap.Field) []zap.Field {
	return append([]zap.Field{zap.String("node", l.address), zap.String("service", s.String())}, more...)
}

// Probed implements health.Observer.
func (l lease) Probed(s service.Service, failure error, took time.Duration) {
	countProbe(l.address, s.String(), failure == nil, took)
	if c := l.app.logger.Check(zap.DebugLevel, "probed"); c != nil {
		c.Write(l.fields(s, zap.Duration("latency", took), zap.Error(failure))...)
	}
}

// Changing implements health.Observer. Whoever sees a verdict can read in the history
// what led to it.
func (l lease) Changing(s service.Service, change health.Change) {
	// At every start each service comes up; that would drown what matters.
	if change.From == health.Unknown && change.Verdict == health.Up {
		return
	}
	transitions.Add(history.Transition{
		Time: change.Since.UTC().Round(0), Node: l.address, Service: s.String(),
		From: change.From.String(), To: change.Verdict.String(), Why: change.Why(),
	})
}

// Changed implements health.Observer.
func (l lease) Changed(s service.Service, change health.Change) {
	standingChanges.Add(1)
	countTransition(l.address, s.String(), change.Verdict.String())
	switch change.Verdict {
	case health.Down:
		l.app.logger.Warn("node is down", l.fields(s, zap.Int("streak", change.Streak), zap.String("last_error", change.LastError()))...)
		l.app.outbox.add(nodeEvent{name: "node_down", node: l.address, service: s.String()})
	case health.Up:
		fields := l.fields(s, zap.Int("streak", change.Streak))
		if change.From == health.Down {
			fields = append(fields, zap.Duration("was_down", change.Lasted))
		}
		l.app.logger.Info("node is up", fields...)
		l.app.outbox.add(nodeEvent{name: "node_up", node: l.address, service: s.String()})
		for _, policy := range l.app.allPolicies() {
			policy.noteClosed(s)
		}
	}
}

// Unroutable implements health.Observer.
func (l lease) Unroutable(s service.Service) {
	l.app.logger.Warn("node cannot be checked: its nginx does not know the path of the probe",
		l.fields(s, zap.String("advice", health.Advice(s.String(), health.ErrNoRoute)))...)
}

// Witnessed implements health.Observer.
func (l lease) Witnessed(s service.Service, outcome health.Outcome) {
	l.app.logger.Warn("requests fail on a node", l.fields(s, zap.String("last_error", outcome.String()))...)
}

// Panicked implements health.Observer.
func (l lease) Panicked(s service.Service, value any, stack []byte) {
	l.app.logger.Error("health check panicked", l.fields(s, zap.Any("error", value), zap.ByteString("stack", stack))...)
}

// latency returns how long the last minutes' probes of a service took, up to a step.
func (p *prober) latency(s service.Service, before int64) *statuspage.Latency {
	slowest, failed := p.Latency(s, before)
	return &statuspage.Latency{SlowestMS: slowest, Failed: failed}
}

// status returns what is known of a service that is checked.
func (p *prober) status(s service.Service) serviceStatus {
	report := p.Report(s)
	status := serviceStatus{
		Verdict:   report.Verdict.String(),
		Since:     moment(report.Since),
		Streak:    report.Streak,
		LastProbe: moment(report.LastProbe),
		LatencyMS: float64(report.Latency.Microseconds()) / 1000,
		LastError: report.LastError(),
	}
	if report.Verdict == health.Down || report.Unroutable {
		status.Advice = health.Advice(s.String(), report.Failure)
	}
	if met := report.Evidence; met.Last != health.Nothing {
		status.Evidence = &statuspage.Evidence{Last: met.Last.String(), At: met.At.UTC().Round(0), Count: met.Count}
	}
	return status
}

// suspect asks for an early probe, for a request just failed on the node.
func (p *prober) suspect(failed service.Service) { p.Suspect(failed) }

// verdict returns what counts of a service at this moment.
func (p *prober) verdict(of service.Service) health.Verdict { return p.Verdict(of) }

// warmth returns which part of its weight a service has that came up lately, if it
// is to have all of it after so long.
func (p *prober) warmth(of service.Service, slowStart time.Duration) float64 {
	return p.Warmth(of, slowStart)
}

// Interface guards
var _ health.Owner = lease{}
