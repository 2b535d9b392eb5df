package health

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/service"
)

func TestTheFirstProbesOfManyAreSpread(t *testing.T) {
	var pace Pace
	start := time.Now()
	for i := range firstAtOnce {
		if wait := pace.wait(start); wait != 0 {
			t.Fatalf("the first probe of service %d waits %s", i+1, wait)
		}
	}
	const more = 2700
	for i := range more {
		if wait, want := pace.wait(start), time.Duration(i+1)*firstPause; wait != want {
			t.Fatalf("the first probe of service %d waits %s, want %s", firstAtOnce+i+1, wait, want)
		}
	}
	later := start.Add((more + firstAtOnce) * firstPause)
	if wait := pace.wait(later); wait != 0 {
		t.Errorf("after the rush, a first probe waits %s", wait)
	}
	if wait := (*Pace)(nil).wait(start); wait != 0 {
		t.Errorf("without a pace, a first probe waits %s", wait)
	}
}

func TestAProberBeginsAtItsPace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		pace := new(Pace)
		start := time.Now()
		for range firstAtOnce + 1 {
			pace.wait(start)
		}
		p := NewProber("m1:14240", only(service.GUI))
		p.Pace = pace
		owner := newOwner(2*time.Second, time.Second)
		p.Start(owner)
		defer p.End()
		synctest.Wait()
		if p.Verdict(service.GUI) != Unknown {
			t.Error("the first probe did not wait for its turn")
		}
		time.Sleep(2 * firstPause)
		synctest.Wait()
		if p.Verdict(service.GUI) != Up {
			t.Error("the first probe was not made in its turn")
		}
	})
}

func TestProbesBeyondTheScheduleAreBounded(t *testing.T) {
	var pace Pace
	start := time.Now()
	made := 0
	for range 3 * extraAtOnce {
		if pace.hasRoom(start) {
			made++
		}
	}
	if made != extraAtOnce {
		t.Errorf("%d were made at once, want %d", made, extraAtOnce)
	}
	for i := range 5 { // those that were left out cost nobody else
		if !pace.hasRoom(start.Add(time.Duration(i+1) * extraPause)) {
			t.Errorf("after %d pauses there is no room", i+1)
		}
	}
	if !(*Pace)(nil).hasRoom(start) {
		t.Error("without a pace there is no room")
	}
}

// A doubt that finds no room is settled in the regular rhythm, if there is never any.
func TestADoubtWithoutRoomKeepsToTheSchedule(t *testing.T) {
	const interval = 2 * time.Second
	for _, full := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			p := NewProber("m1:14240", only(service.GUI))
			p.Pace = new(Pace)
			owner := newOwner(interval, time.Second)
			owner.fail(errors.New("refused"), 0)
			p.Start(owner)
			defer p.End()
			for range 4 * int(interval/time.Millisecond) {
				for full && p.Pace.hasRoom(time.Now()) {
				}
				time.Sleep(time.Millisecond)
			}
			synctest.Wait()
			owner.mu.Lock()
			defer owner.mu.Unlock()
			if made := len(owner.probes[service.GUI]); full && (made < 4 || made > 6) || !full && made < 6 {
				t.Errorf("%d probes in 4 intervals, with no room beyond the schedule: %t", made, full)
			}
		})
	}
}

// What was asked for is made once there is room, however long the interval is.
func TestAProbeThatFoundNoRoomIsMadeLater(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		p := NewProber("m1:14240", only(service.GUI))
		p.Pace = new(Pace)
		owner := newOwner(10*time.Minute, time.Second)
		p.Start(owner)
		defer p.End()
		time.Sleep(time.Second)
		for p.Pace.hasRoom(time.Now()) {
		}
		p.Suspect(service.GUI)
		time.Sleep(2 * time.Second)
		synctest.Wait()
		owner.mu.Lock()
		defer owner.mu.Unlock()
		if made := len(owner.probes[service.GUI]); made != 2 {
			t.Errorf("%d probes, want the first and the one that was asked for", made)
		}
	})
}

func TestReloadsLeaveNoDebtOfFirstProbes(t *testing.T) {
	var pace Pace
	start := time.Now()
	for range 30_000 {
		if wait := pace.wait(start); wait > longestFirst {
			t.Fatalf("a first probe waits %s", wait)
		}
	}
	if wait := pace.wait(start.Add(longestFirst + firstAtOnce*firstPause)); wait != 0 {
		t.Errorf("after the rush, a first probe waits %s", wait)
	}
}
