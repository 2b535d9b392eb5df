package tigergraph

import (
	"context"
	"net/http"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
	"go.uber.org/zap"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/health"
	"github.com/caddy-tigergraph/caddy-tigergraph/internal/history"
	"github.com/caddy-tigergraph/caddy-tigergraph/internal/service"
	"github.com/caddy-tigergraph/caddy-tigergraph/internal/statuspage"
)

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
	case health.Unknown, health.Off: // is known to nobody who waits for news
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
