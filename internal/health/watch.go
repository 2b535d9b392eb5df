package health

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/service"
)

// shortestPause is what lies between a probe of a service and one that requests
// ask for, and between two failures of live requests that count, however many there
// are. Where the interval is short it is a quarter of that.
const shortestPause = 250 * time.Millisecond

// ErrNoRoute is the failure of a probe whose path the node's own nginx does not
// know. It says nothing of the service.
var ErrNoRoute = errors.New("the node's nginx does not know the path of the probe")

// Report is what is known of a service.
type Report struct {
	State
	Since     time.Time // of the verdict
	LastProbe time.Time
	Latency   time.Duration
	// Failure is the last failure, nil if there was none.
	Failure error
	// Unroutable is whether there is no way to find out how the service is.
	Unroutable bool
	Evidence   Evidence
}

// LastError says what the last failure was, "" if there was none.
func (r *Report) LastError() string {
	if r.Failure == nil {
		return ""
	}
	return r.Failure.Error()
}

// Why says what led to the verdict.
func (r *Report) Why() string {
	switch {
	case r.Verdict == Down:
		return r.LastError()
	case r.Streak == 1:
		return "a probe passed"
	}
	return fmt.Sprintf("%d probes in a row passed", r.Streak)
}

// findings are all that is known of a service.
type findings struct {
	report    Report
	latencies Latencies
	// vouched is the moment of the last good word, 0 if there was none.
	vouched int64
	// failing is when the failures began, 0 if there are none, and silent whether all
	// were for want of an answer.
	failing int64
	silent  bool
	cameUp  int64 // when it came up after being down; 0 if it was up from the beginning
	// newest is the probe that began last of those whose results are known.
	newest struct {
		began  int64 // a moment
		passed bool
	}
}

// watch finds out whether one service lives.
type watch struct {
	prober  *Prober
	service service.Service

	// shown is what requests read of the findings.
	shown struct {
		verdict atomic.Uint32
		vouched atomic.Int64 // as in the findings
		failing atomic.Int64 // as findings.failing, but negative if all failures were for want of an answer
		cameUp  atomic.Int64
	}
	// listening is whether a good word of a live request would change anything.
	listening atomic.Bool

	// reporting lets results be taken in and told one after another.
	reporting sync.Mutex

	mu sync.Mutex
	findings
	tally   tally
	noted   time.Time // when the owner was last told of a failure of a live request
	counted time.Time // when the last failure was that counted
	// The schedule of the probes.
	*rhythm
	timer   *time.Timer // wakes the watch when a probe is due
	flights []time.Time // when the probes in flight began, the oldest first
	last    time.Time   // when the last probe began
	first   bool        // the last probe was the first of this rhythm
	random  float64     // the jitter of the wait after it
	early   time.Time   // when a probe is to be made that was asked for
	urgent  bool        // the node itself failed a live request: the doubt is not to last
}

// rhythm is a time in which a node is probed without a break.
type rhythm struct {
	ctx    context.Context
	cancel context.CancelFunc
}

// begin lets the probes begin, the first as soon as the pace allows.
func (w *watch) begin(r *rhythm) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.timer != nil {
		w.timer.Stop()
	}
	w.rhythm, w.flights = r, nil
	w.last, w.early, w.counted = time.Time{}, time.Time{}, time.Time{}
	w.timer = time.AfterFunc(w.prober.Pace.wait(time.Now()), func() { w.wake(r) })
}

// end lets no probe begin any more.
func (w *watch) end() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.timer.Stop()
}

// wake makes a probe if one is due.
func (w *watch) wake(r *rhythm) {
	owner := w.prober.Owner()
	if owner == nil {
		return
	}
	defer w.recover(owner)
	plan := owner.Plan(w.service)
	began := time.Now()
	if !w.takeOff(r, plan, began) {
		return
	}
	defer w.land(r, began)
	failure := w.ask(r.ctx, owner, plan)
	took := time.Since(began)
	// A reload may have ended the configuration that the probe began with.
	if owner = w.prober.Owner(); owner == nil || r.ctx.Err() != nil {
		return
	}
	w.take(owner, plan.Thresholds, result{
		failure: failure, silent: isTimeout(failure), began: began, took: took, probe: true, decides: true,
	})
	w.pursue()
}

// pursue asks for another probe where a failed one leaves a doubt that is urgent. The
// requests that began it may have left the node by then, for another service of it is
// down.
func (w *watch) pursue() {
	w.mu.Lock()
	w.urgent = w.urgent && w.report.Verdict != Down && w.report.InDoubt()
	urgent := w.urgent
	w.mu.Unlock()
	if urgent {
		w.hurry()
	}
}

// takeOff reports whether a probe is due, and if so, notes that it begins.
func (w *watch) takeOff(r *rhythm, plan Plan, now time.Time) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.rhythm != r || r.ctx.Err() != nil {
		return false
	}
	due, possible := w.due(plan)
	if !possible || due.After(now) {
		w.arm(plan)
		return false
	}
	if w.regular(plan, false).After(now) && !w.prober.Pace.hasRoom(now) {
		// It stays asked for, and is tried again.
		w.early = now.Add(plan.pause())
		w.timer.Reset(plan.pause())
		return false
	}
	w.first, w.last, w.early = w.last.IsZero(), now, time.Time{}
	w.random = rand.Float64() //nolint:gosec // no secret depends on it
	w.flights = append(w.flights, now)
	w.listening.Store(true)
	w.arm(plan)
	return true
}

// land notes that a probe is over.
func (w *watch) land(r *rhythm, began time.Time) {
	owner := w.prober.Owner()
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.rhythm != r {
		return
	}
	if i := slices.Index(w.flights, began); i >= 0 {
		w.flights = slices.Delete(w.flights, i, i+1)
	}
	if owner != nil {
		w.arm(owner.Plan(w.service))
	}
}

// arm sets the timer to when the next probe is due. The caller holds mu.
func (w *watch) arm(plan Plan) {
	if due, possible := w.due(plan); possible && w.ctx.Err() == nil {
		w.timer.Reset(time.Until(due))
	}
}

// due returns when the next probe is, as things stand. It is not possible while one
// in flight has to end first. The caller holds mu.
func (w *watch) due(plan Plan) (due time.Time, possible bool) {
	if w.last.IsZero() {
		return time.Time{}, true
	}
	doubt := w.report.InDoubt()
	if len(w.flights) == 0 {
		return w.scheduled(plan, doubt), true
	}
	switch {
	case len(w.flights) >= max(plan.Fails, 1):
		return due, false
	case doubt:
		return w.scheduled(plan, true), true
	case w.report.Verdict != Down:
		// One that has had no answer for so long begins the doubt.
		return w.last.Add(plan.Interval / doubtful), true
	}
	return due, false
}

// scheduled returns when the next probe is due while none is in flight, or none that
// it would have to wait for. The caller holds mu.
func (w *watch) scheduled(plan Plan, doubt bool) time.Time {
	due := w.regular(plan, doubt)
	if !w.early.IsZero() && w.early.Before(due) {
		return w.early
	}
	return due
}

// regular returns when the next probe would be due if nobody had asked for one. It is
// the zero time while there was none. The caller holds mu.
func (w *watch) regular(plan Plan, doubt bool) time.Time {
	if w.last.IsZero() {
		return time.Time{}
	}
	wait := plan.Next(doubt, w.random)
	if w.first && !doubt {
		wait = plan.First(w.prober.address)
	}
	return clockZero.Add(plan.Tick(w.last.Sub(clockZero), wait))
}

// hurry asks for a probe before it is due.
func (w *watch) hurry() {
	owner := w.prober.Owner()
	if owner == nil {
		return
	}
	plan := owner.Plan(w.service)
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.rhythm == nil || w.ctx.Err() != nil || w.last.IsZero() || !w.early.IsZero() {
		return
	}
	// A request may ask for an early probe, but not for a flood of them.
	pause := plan.pause()
	w.early = latest(time.Now(), w.last.Add(pause), w.counted.Add(pause))
	w.arm(plan)
}

// pause is what lies at least between failures of live requests that count, and
// between a probe and one that is asked for.
func (p *Plan) pause() time.Duration { return min(shortestPause, p.Interval/doubtful) }

func latest(times ...time.Time) time.Time {
	return slices.MaxFunc(times, time.Time.Compare)
}

// ask makes one probe. What is asked must not take the process along if it panics.
func (w *watch) ask(ctx context.Context, owner Owner, plan Plan) (failure error) {
	limited, cancel := context.WithTimeout(ctx, plan.Timeout)
	defer cancel()
	defer func() {
		if panicked := recover(); panicked != nil {
			owner.Panicked(w.service, panicked, debug.Stack())
			failure = errors.New("the health check panicked")
		}
	}()
	return owner.Ask(limited, w.service)
}

// recover keeps the process alive if an observer panics.
func (w *watch) recover(owner Owner) {
	if panicked := recover(); panicked != nil {
		owner.Panicked(w.service, panicked, debug.Stack())
	}
}

// result is what a probe or a live request says of a service.
type result struct {
	failure error // nil if it passed
	began   time.Time
	took    time.Duration
	silent  bool // it failed for want of an answer
	probe   bool
	decides bool // it may change the verdict
}

// take takes in a result, and makes known what it changes.
func (w *watch) take(owner Owner, thresholds Thresholds, r result) {
	w.reporting.Lock()
	defer w.reporting.Unlock()
	w.mu.Lock()
	next := w.findings
	w.mu.Unlock()
	before := next.report
	next.take(thresholds, r)
	change := Change{From: before.Verdict, Report: next.report}
	changed := next.report.Verdict != before.Verdict
	if changed {
		if !before.Since.IsZero() {
			change.Lasted = next.report.Since.Sub(before.Since)
		}
		owner.Changing(w.service, change)
	}

	w.mu.Lock()
	w.findings = next
	if r.failure != nil {
		w.counted = r.began.Add(r.took)
	}
	w.publish()
	w.mu.Unlock()

	if r.probe {
		owner.Probed(w.service, r.failure, r.took)
	}
	if changed {
		owner.Changed(w.service, change)
	}
	if next.report.Unroutable && !before.Unroutable {
		owner.Unroutable(w.service)
	}
}

// take takes in a result.
func (f *findings) take(thresholds Thresholds, r result) {
	report, ended := &f.report, r.began.Add(r.took)
	before := report.Verdict
	if r.probe {
		f.latencies.Add(LatencyStepAt(ended), r.failure == nil, r.took)
		switch began := moment(r.began); {
		case began >= f.newest.began:
			f.newest.began, f.newest.passed = began, r.failure == nil
			report.LastProbe, report.Latency = r.began, r.took
			report.Unroutable = errors.Is(r.failure, ErrNoRoute)
		case f.newest.passed != (r.failure == nil), report.Unroutable, errors.Is(r.failure, ErrNoRoute):
			// A probe that began later has found something else.
			return
		}
	}
	if r.failure != nil {
		report.Failure = r.failure
	}
	switch {
	case report.Unroutable:
		report.State = State{}
	case r.failure == nil && r.decides:
		report.State = report.Next(true, thresholds)
	case r.failure == nil:
		report.State = report.Vouched()
	case r.silent && moment(r.began) < f.vouched:
		// Since it began to wait the service has given a good word.
		return
	case r.decides:
		report.State = report.Next(false, thresholds)
	default:
		report.State = report.Accused()
	}
	if report.Verdict != before {
		report.Since = ended
		if before == Down && report.Verdict == Up {
			f.cameUp = moment(ended)
		}
	}
	switch {
	case report.Unroutable:
		f.failing = 0
	case r.failure == nil:
		f.vouched = moment(ended)
		if report.Verdict != Down {
			f.failing = 0
		}
	case f.failing == 0:
		f.failing, f.silent = moment(r.began), r.silent
	default:
		f.failing, f.silent = min(f.failing, moment(r.began)), f.silent && r.silent
	}
}

// changes counts the changes of verdicts as requests see them.
var changes atomic.Uint64

// Changes returns how often a verdict has changed that requests see, of whatever
// prober: another was found, or taken over, or there is no way to find out any more.
func Changes() uint64 { return changes.Load() }

// publish makes what requests read agree with the findings. The caller holds mu.
func (w *watch) publish() {
	verdict := w.report.Verdict
	if verdict == Unknown && w.report.Unroutable {
		verdict = Off
	}
	failing := w.failing
	if w.silent {
		failing = -failing
	}
	doubt := w.report.InDoubt()
	if w.shown.verdict.Swap(uint32(verdict)) != uint32(verdict) {
		changes.Add(1)
	}
	w.shown.vouched.Store(w.vouched)
	w.shown.failing.Store(failing)
	w.shown.cameUp.Store(w.cameUp)
	if doubt && verdict != Down {
		w.listening.Store(true)
	}
}
