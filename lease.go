package tigergraph

import (
	"context"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
	"go.uber.org/zap"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/fleet"
	"github.com/caddy-tigergraph/caddy-tigergraph/internal/health"
	"github.com/caddy-tigergraph/caddy-tigergraph/internal/history"
	"github.com/caddy-tigergraph/caddy-tigergraph/internal/service"
)

// lease is what an owner lends the prober of one node. It makes known what the prober
// finds: in the log, the metrics, the history and by events.
type lease struct {
	*probeOwner
	address string
	node    reverseproxy.DialInfo
}

// lend returns what an owner lends the prober of a node.
func (o *probeOwner) lend(m *member) lease { return lease{o, m.Address, m.dialInfo} }

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
	countProbe(l.address, s, failure == nil, took)
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
	l.app.fleet.History.Add(history.Transition{
		Time: change.Since, Node: l.address, Service: s.String(),
		From: change.From.String(), To: change.Verdict.String(), Why: change.Why(),
	})
}

// Changed implements health.Observer.
func (l lease) Changed(s service.Service, change health.Change) {
	countTransition(l.address, s, change.From, change.Verdict)
	switch change.Verdict {
	case health.Down:
		l.app.logger.Warn("node is down", l.fields(s, zap.Int("streak", change.Streak), zap.String("last_error", change.LastError()))...)
		l.app.outbox.Add(fleet.Event{Name: "node_down", Node: l.address, Service: s.String()})
	case health.Up:
		fields := l.fields(s, zap.Int("streak", change.Streak))
		if change.From == health.Down {
			fields = append(fields, zap.Duration("was_down", change.Lasted))
		}
		l.app.logger.Info("node is up", fields...)
		l.app.outbox.Add(fleet.Event{Name: "node_up", Node: l.address, Service: s.String()})
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

// Interface guards
var _ health.Owner = lease{}
