package health

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
)

// shown returns the last points of a series: milliseconds, an exclamation mark for
// each failure, and a dot where there was nothing.
func shown(l *Latencies, before int64, last int) string {
	slowest, failed := l.Series(before)
	var words []string
	for i := LatencyPoints - last; i < LatencyPoints; i++ {
		word := ""
		if slowest[i] != nil {
			word = fmt.Sprint(*slowest[i])
		}
		if failed != nil {
			word += strings.Repeat("!", failed[i])
		}
		if word == "" {
			word = "."
		}
		words = append(words, word)
	}
	return strings.Join(words, " ")
}

func TestTheSlowestProbeOfEachStepIsKept(t *testing.T) {
	var l Latencies
	if got := shown(&l, 1000, 3); got != ". . ." {
		t.Errorf("before the first probe: %s", got)
	}
	l.Add(1000, true, 2*time.Millisecond)
	l.Add(1000, true, 3500*time.Microsecond)
	l.Add(1000, true, time.Millisecond)
	l.Add(1001, false, time.Second)
	l.Add(1001, false, time.Second)
	l.Add(1002, false, time.Second)
	l.Add(1002, true, 4*time.Millisecond)
	l.Add(1004, true, 0)
	for before, want := range map[int64]string{
		1000: ". . . . .",
		1001: ". . . . 3.5",
		1005: "3.5 !! 4! . 0",
		1007: "4! . 0 . .",
		1100: ". . . . .",
	} {
		if got := shown(&l, before, 5); got != want {
			t.Errorf("before %d: %s, want %s", before, got, want)
		}
	}
}

func TestOldStepsGiveWayToNewOnes(t *testing.T) {
	var l Latencies
	for step := range int64(10 * LatencyPoints) {
		l.Add(1+step, step%2 == 0, time.Duration(step)*time.Millisecond)
	}
	slowest, failed := l.Series(10*LatencyPoints + 1)
	for i := range slowest {
		step := 9*LatencyPoints + i
		if even := step%2 == 0; even != (slowest[i] != nil) || even != (failed[i] == 0) || even && *slowest[i] != float64(step) {
			t.Fatalf("step %d: %v, %d failed", step, slowest[i], failed[i])
		}
	}
	l.Add(1<<40, true, time.Millisecond)
	if slowest, failed := l.Series(1<<40 + 1); slices.ContainsFunc(slowest[:LatencyPoints-1], func(ms *float64) bool { return ms != nil }) || failed != nil {
		t.Error("after a long pause old steps are still there")
	}
}

func TestAClockThatIsSetBackIsSurvived(t *testing.T) {
	var l Latencies
	l.Add(1000, true, time.Millisecond)
	l.Add(998, true, 2*time.Millisecond) // a little: it counts as of now
	if got := shown(&l, 1001, 3); got != ". . 2" {
		t.Errorf("a little: %s", got)
	}
	l.Add(500, true, 3*time.Millisecond) // a lot: what was is forgotten
	if got := shown(&l, 501, 2); got != ". 3" {
		t.Errorf("a lot: %s", got)
	}
	if got := shown(&l, 1001, 3); got != ". . ." {
		t.Errorf("the future: %s", got)
	}
}

func TestAStepBeforeTheirFirstIsEmpty(t *testing.T) {
	var l Latencies
	l.Add(10, true, time.Millisecond) // a clock near 1970
	if got := shown(&l, 11, 3); got != ". . 1" {
		t.Error(got)
	}
}
