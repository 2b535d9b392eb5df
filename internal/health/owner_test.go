package health

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/service"
)

// owner is a configuration whose node answers as it is told to.
type owner struct {
	plan Plan
	// answer answers a probe of a service, the first having the number 0.
	answer func(ctx context.Context, s service.Service, number int) error
	// told is called with each change of a verdict.
	told func(Change)

	mu       sync.Mutex
	zero     time.Time
	probes   [service.Count][]time.Duration // when they began
	inFlight [service.Count]int
	most     [service.Count]int // in flight at once
	heard    []string
}

func newOwner(interval, timeout time.Duration) *owner {
	return &owner{
		zero: time.Now(),
		plan: Plan{Schedule{Interval: interval}, Thresholds{Passes: 2, Fails: 3}, timeout},
		answer: func(context.Context, service.Service, int) error {
			return nil
		},
	}
}

func (o *owner) Plan(service.Service) Plan { return o.plan }

func (o *owner) Ask(ctx context.Context, s service.Service) error {
	o.mu.Lock()
	number := len(o.probes[s])
	o.probes[s] = append(o.probes[s], time.Since(o.zero))
	o.inFlight[s]++
	o.most[s] = max(o.most[s], o.inFlight[s])
	answer := o.answer
	o.mu.Unlock()
	defer func() {
		o.mu.Lock()
		defer o.mu.Unlock()
		o.inFlight[s]--
	}()
	return answer(ctx, s, number)
}

// fail lets the node fail from now on in this way and after so long, or pass.
func (o *owner) fail(failure error, wait time.Duration) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.answer = func(ctx context.Context, _ service.Service, _ int) error { return after(ctx, wait, failure) }
}

// sleep waits until everybody else has done what was due in this time.
func sleep(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func (o *owner) hear(format string, arguments ...any) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.heard = append(o.heard, fmt.Sprintf(format, arguments...))
}

func (o *owner) Probed(service.Service, error, time.Duration) {}
func (o *owner) Changing(service.Service, Change)             {}

func (o *owner) Changed(s service.Service, c Change) {
	o.hear("%s %s at %s", s, c.Verdict, time.Since(o.zero))
	if o.told != nil {
		o.told(c)
	}
}

func (o *owner) Unroutable(s service.Service) { o.hear("%s unroutable", s) }

func (o *owner) Witnessed(s service.Service, outcome Outcome) {
	o.hear("%s witnessed %s", s, outcome)
}

func (o *owner) Panicked(s service.Service, value any, _ []byte) { o.hear("%s panicked: %v", s, value) }

// count returns how many probes of a service there were.
func (o *owner) count(s service.Service) int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.probes[s])
}

// overlapped reports whether two probes of RESTPP were in flight at once.
func (o *owner) overlapped() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.most[service.RESTPP] > 1
}

// silence answers nothing until the context ends.
func silence(ctx context.Context) error {
	<-ctx.Done()
	return TimeoutError{Limit: 0 * time.Second}
}

// after answers so late, unless the context ends before.
func after(ctx context.Context, wait time.Duration, answer error) error {
	select {
	case <-ctx.Done():
		return TimeoutError{Limit: wait}
	case <-time.After(wait):
		return answer
	}
}

// only returns a filter for one service.
func only(s service.Service) func(service.Service) bool {
	return func(other service.Service) bool { return s == other }
}

func all(service.Service) bool { return true }

// watched runs a test in a bubble with a prober that has been started.
func watched(t *testing.T, interval, timeout time.Duration, prepare func(*owner), run func(*testing.T, *Prober, *owner)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		o := newOwner(interval, timeout)
		if prepare != nil {
			prepare(o)
		}
		p := NewProber("m1:14240", only(service.RESTPP))
		p.Start(o)
		defer p.End()
		run(t, p, o)
		p.Release(o)
		synctest.Wait()
	})
}

// isSurelyUp reports whether a service is up beyond doubt.
func isSurelyUp(p *Prober, s service.Service) bool {
	report := p.Report(s)
	return p.Verdict(s) == Up && !report.InDoubt()
}
