package health

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/service"
)

func TestProbesComeAtOnceAndThenAfterEachInterval(t *testing.T) {
	watched(t, 2*time.Second, time.Second, nil, func(t *testing.T, p *Prober, o *owner) {
		synctest.Wait()
		if got := o.count(service.RESTPP); got != 1 || p.Verdict(service.RESTPP) != Up {
			t.Fatalf("%d probes at once, verdict %s", got, p.Verdict(service.RESTPP))
		}
		sleep(20 * time.Second)
		starts := o.probes[service.RESTPP]
		if len(starts) < 10 || len(starts) > 11 {
			t.Fatalf("%d probes in ten intervals", len(starts))
		}
		if starts[1] > 2*time.Second {
			t.Errorf("the second probe came after %s, want at most an interval", starts[1])
		}
		for i := 2; i < len(starts); i++ {
			if gap := starts[i] - starts[i-1]; gap < 1900*time.Millisecond || gap > 2100*time.Millisecond {
				t.Errorf("probe %d came %s after the one before", i, gap)
			}
		}
		if o.most[service.RESTPP] != 1 {
			t.Errorf("%d probes in flight at once", o.most[service.RESTPP])
		}
	})
}

func TestAFailureBeginsTheDoubt(t *testing.T) {
	watched(t, 2*time.Second, time.Second, func(o *owner) {
		o.answer = func(_ context.Context, _ service.Service, number int) error {
			if number > 3 && number < 8 {
				return StatusError(502)
			}
			return nil
		}
	}, func(t *testing.T, p *Prober, o *owner) {
		sleep(20 * time.Second)
		starts := o.probes[service.RESTPP]
		var gaps []string
		for i := 5; i < 12; i++ {
			gap := "interval"
			if starts[i]-starts[i-1] < time.Second {
				gap = "quarter"
			}
			gaps = append(gaps, gap)
		}
		// 4 to 7 fail: in doubt after 4 and 5, down with 6; 8 passes, up with 9.
		want := "quarter quarter interval interval quarter interval interval"
		if got := strings.Join(gaps, " "); got != want {
			t.Errorf("waits\n%s\nwant\n%s", got, want)
		}
		if p.Verdict(service.RESTPP) != Up || len(o.heard) != 3 {
			t.Errorf("%s after %q", p.Verdict(service.RESTPP), o.heard)
		}
	})
}

// Whenever a node falls silent, however long a probe may take.
func TestASilentNodeIsDownWithinOneAndAHalfIntervalsAndOneTimeout(t *testing.T) {
	for _, test := range []struct{ interval, timeout time.Duration }{
		{2 * time.Second, 2 * time.Second},
		{2 * time.Second, 100 * time.Millisecond},
		{time.Second, 30 * time.Second},
		{time.Minute, 2 * time.Second},
		{100 * time.Millisecond, 500 * time.Millisecond},
	} {
		for _, part := range []float64{-5, 0.01, 0.3, 0.7, 0.99} { // the first is from the beginning
			var silentFrom time.Time
			var down time.Duration
			watched(t, test.interval, test.timeout, func(o *owner) {
				silentFrom = time.Now().Add(5*test.interval + time.Duration(part*float64(test.interval)))
				o.told = func(c Change) {
					if c.Verdict == Down {
						down = time.Since(silentFrom)
					}
				}
				o.answer = func(ctx context.Context, _ service.Service, _ int) error {
					if time.Now().Before(silentFrom) {
						return nil
					}
					return silence(ctx)
				}
			}, func(t *testing.T, p *Prober, o *owner) {
				sleep(8*test.interval + test.timeout)
				tick := test.interval / ticks
				if most := test.interval*3/2 + test.timeout + tick; down == 0 || down > most {
					t.Errorf("interval %s, timeout %s: down after %s, want at most %s", test.interval, test.timeout, down, most)
				}
				if most := o.most[service.RESTPP]; most > 3 {
					t.Errorf("interval %s, timeout %s: %d probes in flight", test.interval, test.timeout, most)
				}
				if isSurelyUp(p, service.RESTPP) {
					t.Error("it is surely up")
				}
			})
		}
	}
}

func TestASilentNodeThatIsDownGetsOneProbeAtATime(t *testing.T) {
	watched(t, time.Second, 30*time.Second, func(o *owner) {
		o.answer = func(ctx context.Context, _ service.Service, number int) error {
			if number == 0 {
				return nil
			}
			return silence(ctx)
		}
	}, func(t *testing.T, p *Prober, o *owner) {
		sleep(40 * time.Second)
		if p.Verdict(service.RESTPP) != Down {
			t.Fatal("it is not down")
		}
		o.mu.Lock()
		o.most = [service.Count]int{}
		o.mu.Unlock()
		sleep(5 * time.Minute)
		if most := o.most[service.RESTPP]; most != 1 {
			t.Errorf("%d probes in flight of a service that is not in doubt", most)
		}
	})
}

func TestAnAnswerWithinAQuarterOfTheIntervalBeginsNoDoubt(t *testing.T) {
	watched(t, 2*time.Second, 2*time.Second, func(o *owner) {
		o.answer = func(ctx context.Context, _ service.Service, _ int) error {
			return after(ctx, 490*time.Millisecond, nil)
		}
	}, func(t *testing.T, p *Prober, o *owner) {
		sleep(time.Minute)
		if o.most[service.RESTPP] != 1 || o.count(service.RESTPP) > 31 || !isSurelyUp(p, service.RESTPP) {
			t.Errorf("%d probes, %d at once; surely up: %t", o.count(service.RESTPP), o.most[service.RESTPP], isSurelyUp(p, service.RESTPP))
		}
	})
}

func TestASlowNodeStaysUp(t *testing.T) {
	watched(t, 2*time.Second, 2*time.Second, func(o *owner) {
		o.answer = func(ctx context.Context, _ service.Service, _ int) error {
			return after(ctx, 1900*time.Millisecond, nil)
		}
	}, func(t *testing.T, p *Prober, o *owner) {
		sleep(time.Minute)
		if most := o.most[service.RESTPP]; most > 3 || p.Verdict(service.RESTPP) != Up || len(o.heard) != 1 {
			t.Errorf("%d probes at once, %q", most, o.heard)
		}
	})
}

// The answer to a later probe speaks for what one before still waits for.
func TestALostProbeOfALivingServiceIsNoBurden(t *testing.T) {
	watched(t, 2*time.Second, 20*time.Second, func(o *owner) {
		o.answer = func(ctx context.Context, _ service.Service, number int) error {
			if number > 0 && number < 3 {
				return silence(ctx)
			}
			return nil
		}
	}, func(t *testing.T, p *Prober, o *owner) {
		sleep(time.Minute)
		if report := p.Report(service.RESTPP); report.Verdict != Up || report.Streak < 10 || len(o.heard) != 1 {
			t.Errorf("%+v, %q", report.State, o.heard)
		}
	})
}

func TestAProbeThatIsCancelledIsNoFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		o := newOwner(time.Second, time.Minute)
		o.plan.Fails = 1
		o.answer = func(ctx context.Context, _ service.Service, _ int) error { return silence(ctx) }
		p := NewProber("m1:14240", all)
		p.Start(o)
		sleep(30 * time.Second)
		p.Release(o)
		synctest.Wait()
		if len(o.heard) > 0 || o.inFlight != [service.Count]int{} {
			t.Errorf("heard %q, %v in flight", o.heard, o.inFlight)
		}
		if report := p.Report(service.GUI); report.Verdict != Unknown || report.Failure != nil {
			t.Errorf("%+v", report)
		}
		before := o.count(service.GUI)
		sleep(time.Hour)
		if o.count(service.GUI) != before {
			t.Error("it is probed after the end")
		}
	})
}

func TestTheNewestOwnerIsAskedAndTheLastOneEndsTheProbes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		before, after := newOwner(time.Second, time.Second), newOwner(time.Second, time.Second)
		p := NewProber("m1:14240", all)
		p.Start(before)
		sleep(10 * time.Second)
		p.Start(after)
		asked := before.count(service.GSQL)
		sleep(10 * time.Second)
		if before.count(service.GSQL) != asked || after.count(service.GSQL) < 9 {
			t.Errorf("the old owner got %d probes more, the new one %d", before.count(service.GSQL)-asked, after.count(service.GSQL))
		}
		p.Release(after)
		sleep(10 * time.Second)
		if before.count(service.GSQL) < asked+9 {
			t.Error("the owner that is left is not asked")
		}
		p.Release(before)
		if p.Runs() || p.Owner() != nil {
			t.Error("it still runs")
		}
		p.Start(after) // another configuration may need it again
		asked = after.count(service.GSQL)
		sleep(10 * time.Second)
		if after.count(service.GSQL) < asked+9 {
			t.Error("it does not run again")
		}
		p.End()
	})
}

// The health check of a third party, or what hears of a change.
func TestAPanicEndsNeitherTheProcessNorTheProbes(t *testing.T) {
	watched(t, time.Second, time.Second, func(o *owner) {
		o.answer = func(_ context.Context, _ service.Service, number int) error {
			if number > 4 && number < 8 {
				panic("the check")
			}
			return nil
		}
		o.told = func(Change) { panic("the observer") }
	}, func(t *testing.T, p *Prober, o *owner) {
		sleep(30 * time.Second)
		if o.count(service.RESTPP) < 25 || p.Verdict(service.RESTPP) != Up {
			t.Errorf("%d probes, %s", o.count(service.RESTPP), p.Verdict(service.RESTPP))
		}
		for text, want := range map[string]int{"restpp panicked: the check": 3, "restpp panicked: the observer": 3} {
			if got := len(slices.DeleteFunc(slices.Clone(o.heard), func(line string) bool { return line != text })); got != want {
				t.Errorf("%q was heard %d times, want %d: %q", text, got, want, o.heard)
			}
		}
	})
}

func TestARequestThatFailedAsksForAnEarlyProbe(t *testing.T) {
	watched(t, time.Hour, time.Second, nil, func(t *testing.T, p *Prober, o *owner) {
		sleep(2 * time.Hour)
		before := o.count(service.RESTPP)
		p.Suspect(service.RESTPP)
		synctest.Wait()
		if o.count(service.RESTPP) != before+1 {
			t.Error("there was none")
		}
		for range 10_000 {
			p.Suspect(service.RESTPP)
			sleep(time.Millisecond)
		}
		if more := o.count(service.RESTPP) - before; more < 35 || more > 42 {
			t.Errorf("%d early probes in ten seconds, want four a second", more)
		}
		p.Suspect(service.GUI) // which is not checked
	})
}

func TestAServiceWithoutARouteIsNotKnownAndCountsAsUp(t *testing.T) {
	watched(t, time.Second, time.Second, func(o *owner) {
		o.answer = func(_ context.Context, _ service.Service, number int) error {
			if number > 4 && number < 20 {
				return fmt.Errorf("asking: %w", ErrNoRoute)
			}
			return nil
		}
	}, func(t *testing.T, p *Prober, o *owner) {
		sleep(12 * time.Second)
		report := p.Report(service.RESTPP)
		if report.Verdict != Unknown || !report.Unroutable || p.Verdict(service.RESTPP) != Off {
			t.Errorf("reported as %s (unroutable: %t), counts as %s", report.Verdict, report.Unroutable, p.Verdict(service.RESTPP))
		}
		sleep(30 * time.Second)
		if p.Verdict(service.RESTPP) != Up || p.Report(service.RESTPP).Unroutable {
			t.Error("it is not up again")
		}
		if n := strings.Count(strings.Join(o.heard, "\n"), "unroutable"); n != 1 {
			t.Errorf("heard %d times that there is no route: %q", n, o.heard)
		}
	})
}

func TestItIsKnownSinceWhenAndHowAServiceFails(t *testing.T) {
	watched(t, time.Second, 500*time.Millisecond, nil, func(t *testing.T, p *Prober, o *owner) {
		sleep(10 * time.Second)
		began := moment(time.Now())
		if since, _ := p.Failing(service.RESTPP); since != 0 || began-p.GoodWord(service.RESTPP) > int64(time.Second+100*time.Millisecond) {
			t.Errorf("while it is well it fails since %d, the last good word is of %d, now %d", since, p.GoodWord(service.RESTPP), began)
		}
		o.fail(TimeoutError{Limit: time.Second}, 100*time.Millisecond)
		sleep(10 * time.Second)
		since, silent := p.Failing(service.RESTPP)
		if late := time.Duration(since - began); late < 0 || late > 1100*time.Millisecond || !silent {
			t.Errorf("it fails since %s after the first failure, silent: %t", late, silent)
		}
		if good := p.GoodWord(service.RESTPP); good >= since || good == 0 {
			t.Errorf("the last good word is of %d, the failures began at %d", good, since)
		}
		o.fail(StatusError(502), 0)
		sleep(5 * time.Second)
		if now, silent := p.Failing(service.RESTPP); now != since || silent {
			t.Errorf("after a definite failure it fails since %d, silent: %t; want %d, false", now, silent, since)
		}
		o.fail(nil, 0)
		sleep(5 * time.Second)
		if now, _ := p.Failing(service.RESTPP); now != 0 || p.GoodWord(service.RESTPP) <= since {
			t.Errorf("up again, it fails since %d; the last good word is of %d", now, p.GoodWord(service.RESTPP))
		}
	})
}

func TestAServiceThatCameUpWarmsUp(t *testing.T) {
	watched(t, time.Second, time.Second, func(o *owner) {
		o.fail(errors.New("dead"), 0)
	}, func(t *testing.T, p *Prober, o *owner) {
		sleep(10 * time.Second)
		o.fail(nil, 0)
		for p.Verdict(service.RESTPP) != Up {
			sleep(time.Millisecond)
		}
		if warmth := p.Warmth(service.RESTPP, time.Minute); warmth > 0.11 {
			t.Errorf("at once it has %g of its weight", warmth)
		}
		sleep(30 * time.Second)
		if warmth := p.Warmth(service.RESTPP, time.Minute); warmth < 0.54 || warmth > 0.56 {
			t.Errorf("after half the time it has %g of its weight", warmth)
		}
		if warmth := p.Warmth(service.GUI, time.Minute); warmth != 1 {
			t.Errorf("a service that is not checked has %g of its weight", warmth)
		}
	})
}

func TestWhatIsKnownCanBeInherited(t *testing.T) {
	watched(t, time.Second, time.Second, func(o *owner) {
		o.answer = func(_ context.Context, _ service.Service, number int) error {
			if number > 0 {
				return errors.New("dead")
			}
			return nil
		}
	}, func(t *testing.T, p *Prober, o *owner) {
		sleep(10 * time.Second)
		heir := NewProber("m1:14240", all)
		heir.Inherit(p, service.RESTPP)
		heir.Inherit(p, service.GUI)
		if heir.Verdict(service.RESTPP) != Down || heir.Verdict(service.GUI) != Unknown {
			t.Errorf("inherited %s and %s", heir.Verdict(service.RESTPP), heir.Verdict(service.GUI))
		}
		if report := heir.Report(service.RESTPP); report.LastError() != "dead" || report.Since != p.Report(service.RESTPP).Since {
			t.Errorf("%+v", report)
		}
		fresh := newOwner(time.Second, time.Second)
		fresh.answer = func(context.Context, service.Service, int) error { return nil }
		heir.Start(fresh)
		defer heir.End()
		synctest.Wait()
		if heir.Verdict(service.RESTPP) != Down || heir.Verdict(service.GUI) != Up {
			t.Error("one pass brings it up")
		}
		heir.Inherit(p, service.GUI) // which it knows itself
		sleep(5 * time.Second)
		if heir.Verdict(service.RESTPP) != Up || heir.Verdict(service.GUI) != Up {
			t.Error("two do not")
		}
	})
}

func TestEachVerdictThatRequestsSeeIsAChange(t *testing.T) {
	watched(t, 2*time.Second, time.Second, func(o *owner) {
		o.answer = func(_ context.Context, _ service.Service, number int) error {
			if number >= 3 {
				return ErrNoRoute
			}
			return StatusError(502)
		}
	}, func(t *testing.T, p *Prober, _ *owner) {
		none := Changes()
		sleep(4 * time.Second)
		if p.Verdict(service.RESTPP) == Down && Changes() == none {
			t.Error("going down is none")
		}
		heir, before := NewProber("m1:14240", only(service.RESTPP)), Changes()
		heir.Inherit(p, service.RESTPP)
		if heir.Verdict(service.RESTPP) != p.Verdict(service.RESTPP) || Changes() == before {
			t.Errorf("taking over %s is none", p.Verdict(service.RESTPP))
		}
	})
}

func TestThatThereIsNoWayToFindOutIsAChange(t *testing.T) {
	watched(t, 2*time.Second, time.Second, func(o *owner) {
		o.answer = func(context.Context, service.Service, int) error { return ErrNoRoute }
	}, func(t *testing.T, p *Prober, _ *owner) {
		before := Changes()
		if p.Verdict(service.RESTPP) != Unknown {
			t.Skip("the first probe was quicker")
		}
		synctest.Wait()
		if p.Verdict(service.RESTPP) != Off || Changes() == before {
			t.Errorf("from unknown to %s is none", p.Verdict(service.RESTPP))
		}
	})
}
