package tigergraph

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
	"go.uber.org/zap"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/health"
	"github.com/caddy-tigergraph/caddy-tigergraph/internal/history"
	"github.com/caddy-tigergraph/caddy-tigergraph/internal/service"
	"github.com/caddy-tigergraph/caddy-tigergraph/internal/statuspage"
)

// shortestPause is what lies between a probe of a service and one that requests
// ask for, however many ask. The schedule alone may be quicker.
const shortestPause = 250 * time.Millisecond

// probers are shared by all sites, and by the configurations before and after a
// reload, that check the same node in the same way. So verdicts survive.
var probers = caddy.NewUsagePool()

// prober finds out which services of one node live.
type prober struct {
	address  string
	node     reverseproxy.DialInfo
	services [service.Count]*serviceProber // nil where a service is not checked

	mu     sync.Mutex
	owners []*probeOwner // those that have started; the newest is asked
	stop   context.CancelFunc
}

// serviceProber does so for one service.
type serviceProber struct {
	*prober
	service service.Service
	verdict atomic.Uint32 // a health.Verdict; all that requests usually read
	early   chan struct{} // asks for a probe before it is due
	// cameUp is when it came up after being down, in nanoseconds since 1970; 0 if
	// it was up from the beginning.
	cameUp atomic.Int64

	mu        sync.Mutex
	report    probeReport
	latencies health.Latencies
}

// probeReport is what is known of a service beyond the verdict.
type probeReport struct {
	health.State
	since     time.Time // of the verdict
	lastProbe time.Time
	latency   time.Duration
	lastError string // of the last failure
	failure   error  // which is that
}

// why says what led to the verdict.
func (r *probeReport) why() string {
	switch {
	case r.Verdict == health.Down:
		return r.lastError
	case r.Streak == 1:
		return "a probe passed"
	}
	return fmt.Sprintf("%d probes in a row passed", r.Streak)
}

// probeOwner is a policy that has started. It lends the prober what belongs to
// its configuration: a survivor must not use what an old one has cleaned up.
type probeOwner struct {
	app       *App
	checker   HealthChecker
	transport http.RoundTripper
}

// proberKey identifies what is checked and how: the address, the transport's
// settings and the check's.
func proberKey(address string, transport http.RoundTripper, checker HealthChecker, check json.RawMessage) (string, error) {
	settings := []byte("default")
	if transport != nil {
		var err error
		if settings, err = json.Marshal(transport); err != nil {
			return "", fmt.Errorf("encoding the transport's settings: %w", err)
		}
	}
	digest := sha256.New()
	_, _ = fmt.Fprintf(digest, "%q\n%T\n%s\n%T\n%s\n%d\n", // never fails
		address, transport, settings, checker, check, trusted.number(authorities(transport)))
	return hex.EncodeToString(digest.Sum(nil)), nil
}

// authorities returns the authorities that a transport trusts, nil if they are
// the system's. Its settings lack them, for they are a module of their own.
func authorities(transport http.RoundTripper) *x509.CertPool {
	if t := httpTransport(transport); t != nil && t.Transport != nil && t.Transport.TLSClientConfig != nil {
		return t.Transport.TLSClientConfig.RootCAs
	}
	return nil
}

// trusted numbers the authorities that transports have trusted in this process.
// There is no other way to tell two pools apart than to compare them.
var trusted trustedPools

type trustedPools struct {
	mu    sync.Mutex
	pools []*x509.CertPool
}

func (t *trustedPools) number(pool *x509.CertPool) int {
	t.mu.Lock()
	defer t.mu.Unlock()
	i := slices.IndexFunc(t.pools, pool.Equal)
	if i < 0 {
		i = len(t.pools)
		t.pools = append(t.pools, pool)
	}
	return i
}

// newProber makes a prober that does not run yet.
func newProber(address string, node reverseproxy.DialInfo, checker HealthChecker) *prober {
	p := &prober{address: address, node: node}
	for i := range p.services {
		if _, checked := checker.Plan(service.Service(i).String()); checked {
			p.services[i] = &serviceProber{prober: p, service: service.Service(i), early: make(chan struct{}, 1)}
		}
	}
	labelled.add(address)
	for _, s := range p.services {
		if s != nil { // increase() sees nothing of a series that begins with what it counts
			transitionsTotal.WithLabelValues(address, s.service.String(), health.Up.String())
			transitionsTotal.WithLabelValues(address, s.service.String(), health.Down.String())
		}
	}
	return p
}

// Destruct ends the prober when the last policy gives it up.
func (p *prober) Destruct() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.owners = nil
	p.halt()
	labelled.remove(p.address)
	return nil
}

// start lets an owner's probes begin, or go on with what it lends.
func (p *prober) start(owner *probeOwner) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.owners = append(p.owners, owner)
	if p.stop != nil {
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	p.stop = cancel
	for _, s := range p.services {
		if s != nil {
			go s.run(ctx)
		}
	}
}

// release takes back what an owner lent, and ends the probes with the last one.
func (p *prober) release(owner *probeOwner) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for i, o := range p.owners {
		if o == owner {
			p.owners = append(p.owners[:i:i], p.owners[i+1:]...)
			break
		}
	}
	if len(p.owners) == 0 {
		p.halt()
	}
}

// halt ends the probes. The caller holds the lock.
func (p *prober) halt() {
	if p.stop != nil {
		p.stop()
		p.stop = nil
	}
}

// owner returns the owner whose transport and logger count now, nil if there is
// none any more.
func (p *prober) owner() *probeOwner {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.owners) == 0 {
		return nil
	}
	return p.owners[len(p.owners)-1]
}

// run probes a service until the context ends: at once, then by the schedule,
// and sooner where a request failed.
func (s *serviceProber) run(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	var last, due time.Time // when the last probe began, and when the next is due
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		case <-s.early:
			// A request may ask for an early probe, but not for a flood of them.
			if allowed := last.Add(shortestPause); time.Now().Before(allowed) {
				if allowed.Before(due) {
					due = allowed
					timer.Reset(time.Until(due))
				}
				continue
			}
		}
		owner := s.owner()
		if owner == nil {
			return
		}
		plan, _ := owner.checker.Plan(s.service.String())
		schedule := health.Schedule{Interval: plan.Interval, Jitter: plan.Jitter}
		first := last.IsZero()
		last = time.Now()
		state := s.probe(ctx, owner, plan)
		wait := schedule.Next(state, rand.Float64()) //nolint:gosec // no secret depends on it
		if first && !state.InDoubt() {
			wait = schedule.First(s.address)
		}
		due = clockZero.Add(schedule.Tick(last.Sub(clockZero), wait))
		timer.Reset(time.Until(due))
	}
}

// clockZero is what the ticks of all schedules are counted from.
var clockZero = time.Now()

// probe makes one probe and records its result, unless it was cancelled.
func (s *serviceProber) probe(ctx context.Context, owner *probeOwner, plan ProbePlan) health.State {
	limited, cancel := context.WithTimeout(ctx, plan.Timeout)
	defer cancel()
	began := time.Now()
	err := s.ask(limited, owner)
	if ctx.Err() != nil {
		return s.snapshot().State
	}
	took := time.Since(began)
	// A reload may have ended the configuration that the probe began with.
	if owner = s.owner(); owner == nil {
		return s.snapshot().State
	}
	return s.record(owner, plan, err, began, took)
}

// ask makes one probe. A checker that panics must not take the edge along.
func (s *serviceProber) ask(ctx context.Context, owner *probeOwner) (err error) {
	defer func() {
		if panicked := recover(); panicked != nil {
			owner.app.logger.Error("health check panicked",
				zap.String("node", s.address), zap.Any("error", panicked), zap.ByteString("stack", debug.Stack()))
			err = fmt.Errorf("the health check panicked")
		}
	}()
	return owner.checker.Probe(ctx, owner.transport, s.node, s.service.String())
}

// record notes a result, and makes known that it changed the verdict.
func (s *serviceProber) record(owner *probeOwner, plan ProbePlan, failure error, began time.Time, took time.Duration) health.State {
	s.mu.Lock()
	before := s.report.Verdict
	s.report.State = s.report.Next(failure == nil, health.Thresholds{Passes: plan.Passes, Fails: plan.Fails})
	s.report.lastProbe, s.report.latency = began, took
	s.latencies.Add(health.LatencyStepAt(began.Add(took)), failure == nil, took)
	if failure != nil {
		s.report.lastError, s.report.failure = failure.Error(), failure
	}
	changed := s.report.Verdict != before
	if changed {
		s.report.since = began.Add(took)
	}
	report := s.report
	// At every start each service comes up; that would drown what matters.
	if changed && (before != health.Unknown || report.Verdict == health.Down) {
		transitions.Add(history.Transition{
			Time: report.since.UTC().Round(0), Node: s.address, Service: s.service.String(),
			From: before.String(), To: report.Verdict.String(), Why: report.why(),
		})
	}
	if changed && before == health.Down {
		s.cameUp.Store(report.since.UnixNano())
	}
	s.verdict.Store(uint32(report.Verdict))
	if changed {
		standingChanges.Add(1)
	}
	s.mu.Unlock()

	countProbe(s.address, s.service.String(), failure == nil, took)
	if c := owner.app.logger.Check(zap.DebugLevel, "probed"); c != nil {
		c.Write(zap.String("node", s.address), zap.String("service", s.service.String()),
			zap.Duration("latency", took), zap.Error(failure))
	}
	if changed {
		owner.app.announce(s.address, s.service, report)
	}
	return report.State
}

func (s *serviceProber) snapshot() probeReport {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.report
}

// latency returns how long the last minutes' probes took, up to a step.
func (s *serviceProber) latency(before int64) *statuspage.Latency {
	s.mu.Lock()
	defer s.mu.Unlock()
	slowest, failed := s.latencies.Series(before)
	return &statuspage.Latency{SlowestMS: slowest, Failed: failed}
}

// advice says what to do about a service that is down, "" about any other.
func (s *serviceProber) advice() string {
	if report := s.snapshot(); report.Verdict == health.Down {
		return health.Advice(s.service.String(), report.failure)
	}
	return ""
}

// suspect asks for an early probe, for a request just failed on the node.
func (p *prober) suspect(failed service.Service) {
	if s := p.services[failed]; s != nil {
		select {
		case s.early <- struct{}{}:
		default: // one is asked for already
		}
	}
}

// verdict returns what is known of a service at this moment.
func (p *prober) verdict(of service.Service) health.Verdict {
	if s := p.services[of]; s != nil {
		return health.Verdict(s.verdict.Load())
	}
	return health.Off
}

// warmth returns which part of its weight a service has that came up lately, if
// it is to have all of it after so long: a tenth at first, and steadily more.
func (p *prober) warmth(of service.Service, slowStart time.Duration) float64 {
	s := p.services[of]
	if s == nil {
		return 1
	}
	cameUp := s.cameUp.Load()
	if cameUp == 0 {
		return 1
	}
	return health.Warmth(time.Since(time.Unix(0, cameUp)), slowStart)
}
