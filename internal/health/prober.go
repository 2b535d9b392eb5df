package health

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/service"
)

// Plan says when a service is probed and what the results are worth.
type Plan struct {
	Schedule
	Thresholds
	Timeout time.Duration
}

// Owner has a node probed. It lends the prober what belongs to its configuration,
// and hears what is found.
type Owner interface {
	Observer

	// Plan returns how a service is probed.
	Plan(s service.Service) Plan

	// Ask asks a service of the node whether it can serve. The error says why not;
	// ErrNoRoute that there is no way to find out. The context ends with the plan's
	// timeout.
	Ask(ctx context.Context, s service.Service) error
}

// Observer hears what a prober finds. Calls that concern one service come one after
// another. They must not wait for others: the prober does for them.
type Observer interface {
	// Probed hears of each probe that was not cancelled.
	Probed(s service.Service, failure error, took time.Duration)

	// Changing hears of a change of a verdict before anybody can see it, Changed once
	// it is in force.
	Changing(s service.Service, change Change)
	Changed(s service.Service, change Change)

	// Unroutable hears that nothing can be found out of a service any more, because
	// the node knows no path of it.
	Unroutable(s service.Service)

	// Witnessed hears of a failure that a live request met, once a minute at most for
	// each service.
	Witnessed(s service.Service, outcome Outcome)

	// Panicked hears of a panic in what was asked or told.
	Panicked(s service.Service, value any, stack []byte)
}

// Change is a change of a verdict.
type Change struct {
	From Verdict
	// Lasted is how long that was the verdict, 0 if there was none before.
	Lasted time.Duration
	Report // of the new verdict
}

// Prober finds out which services of one node live. It is shared by all that check
// the node in the same way.
type Prober struct {
	// Pace, if there is one, bounds the probes of all probers that share it. It must not
	// be changed after Start.
	Pace *Pace

	address  string
	services [service.Count]*watch // nil where a service is not checked

	mu     sync.Mutex
	owners []Owner // those that have started; the newest is asked
	rhythm *rhythm // nil while nothing is probed
}

// NewProber returns a prober of the node with this address that does not run yet.
func NewProber(address string, checked func(service.Service) bool) *Prober {
	p := &Prober{address: address}
	for s := range service.Count {
		if checked(s) {
			p.services[s] = &watch{prober: p, service: s}
		}
	}
	return p
}

// Start lets an owner's probes begin, or go on with what it lends.
func (p *Prober) Start(owner Owner) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.owners = append(p.owners, owner)
	if p.rhythm != nil {
		return
	}
	ctx, cancel := context.WithCancel(context.Background())
	p.rhythm = &rhythm{ctx: ctx, cancel: cancel}
	for _, w := range p.services {
		if w != nil {
			w.begin(p.rhythm)
		}
	}
}

// Release takes back what an owner lent, and ends the probes with the last one.
func (p *Prober) Release(owner Owner) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if i := slices.Index(p.owners, owner); i >= 0 {
		p.owners = slices.Delete(slices.Clone(p.owners), i, i+1)
	}
	if len(p.owners) == 0 {
		p.halt()
	}
}

// End ends the probes, whoever owns them.
func (p *Prober) End() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.owners = nil
	p.halt()
}

// halt ends the probes. The caller holds mu.
func (p *Prober) halt() {
	if p.rhythm != nil {
		p.rhythm.cancel()
		p.rhythm = nil
		for _, w := range p.services {
			if w != nil {
				w.end()
			}
		}
	}
}

// Owner returns the owner that lends what is used now, nil if there is none.
func (p *Prober) Owner() Owner {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.owners) == 0 {
		return nil
	}
	return p.owners[len(p.owners)-1]
}

// Runs reports whether the node is probed.
func (p *Prober) Runs() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.rhythm != nil
}

// Inherit takes over what another prober has found out about a service, unless this
// one knows something itself.
func (p *Prober) Inherit(from *Prober, s service.Service) {
	heir, ancestor := p.services[s], from.services[s]
	if heir == nil || ancestor == nil || heir == ancestor {
		return
	}
	ancestor.mu.Lock()
	findings := ancestor.findings
	ancestor.mu.Unlock()
	heir.mu.Lock()
	defer heir.mu.Unlock()
	if heir.report.LastProbe.IsZero() {
		heir.findings = findings
		heir.publish()
	}
}

// Checks reports whether a service is checked.
func (p *Prober) Checks(s service.Service) bool { return p.services[s] != nil }

// Verdict returns what counts of a service at this moment. Where there is no way to
// find out it is Off.
func (p *Prober) Verdict(s service.Service) Verdict {
	if w := p.services[s]; w != nil {
		return Verdict(w.shown.verdict.Load())
	}
	return Off
}

// Warmth returns which part of its weight a service has that came up lately, if it
// is to have all of it after so long: a tenth at first, and steadily more.
func (p *Prober) Warmth(s service.Service, slowStart time.Duration) float64 {
	w := p.services[s]
	if w == nil {
		return 1
	}
	cameUp := w.shown.cameUp.Load()
	if cameUp == 0 {
		return 1
	}
	return Warmth(time.Duration(moment(time.Now())-cameUp), slowStart)
}

// Failing returns the moment at which the failures of a service began: the start of
// the first failed probe or dial since it was well, 0 if it is. Silent is whether all
// of them were for want of an answer. Moments are comparable over all probers.
func (p *Prober) Failing(s service.Service) (since int64, silent bool) {
	w := p.services[s]
	if w == nil {
		return 0, false
	}
	since = w.shown.failing.Load()
	return max(since, -since), since < 0
}

// GoodWord returns the moment of the last good word of a service: a probe that
// passed, or an answer that only the service itself can have given. While all is
// well it may be as old as the last probe. It is 0 if there was none.
func (p *Prober) GoodWord(s service.Service) int64 {
	if w := p.services[s]; w != nil {
		return w.shown.vouched.Load()
	}
	return 0
}

// Suspect asks for an early probe, for a request has just failed on the node.
func (p *Prober) Suspect(s service.Service) {
	if w := p.services[s]; w != nil {
		w.hurry()
	}
}

// Report returns what is known of a service beyond the verdict. Its zero value is
// that of a service that is not checked.
func (p *Prober) Report(s service.Service) Report {
	w := p.services[s]
	if w == nil {
		return Report{}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	report := w.report
	report.Evidence = w.tally.evidence(time.Now())
	return report
}

// Latency returns how long the probes of the last minutes took, up to a step.
func (p *Prober) Latency(s service.Service, before int64) (slowest []*float64, failed []int) {
	w := p.services[s]
	if w == nil {
		return nil, nil
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.latencies.Series(before)
}

// clockZero is what moments, and the ticks of all schedules, are counted from: so long
// ago that every moment is more than 0, in the bubbles of synctest as well.
var clockZero = time.Now().Add(-50 * 365 * 24 * time.Hour)

// moment returns the nanoseconds since clockZero. They are those of the monotonic
// clock: the wall clock may jump.
func moment(t time.Time) int64 { return int64(t.Sub(clockZero)) }
