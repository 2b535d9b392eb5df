package clock

import (
	"testing"
	"time"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/clock/clocktest"
)

func TestWhatWasAnHourAgoIsDatedAnHourAgo(t *testing.T) {
	defer ahead.Store(0)
	const ago = time.Hour
	for _, jump := range []time.Duration{0, 10 * time.Millisecond, 2 * time.Hour, -2 * time.Hour, 40 * 24 * time.Hour, -40 * 24 * time.Hour} {
		now := time.Now()
		then := now.Add(-ago)
		now = clocktest.Jumped(t, now, jump)
		dated := date(then, now)
		if off := now.Round(0).Sub(dated) - ago; off.Abs() > 2*jumpIs {
			t.Errorf("after a jump by %s what was an hour ago is dated %s more", jump, off)
		}
		for range 100 { // and stays so while nothing jumps
			if again := date(then, now.Add(time.Millisecond)); again != dated {
				t.Fatalf("after a jump by %s the date changes from %s to %s", jump, dated, again)
			}
		}
		if dated.Location() != time.UTC || dated != dated.Round(0) {
			t.Errorf("%s is no mere date", dated)
		}
	}
	read := time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC)
	if dated := date(read, clocktest.Jumped(t, time.Now(), 2*time.Hour)); dated != read {
		t.Errorf("a date that was read becomes %s", dated)
	}
	if at := At(Since(read.Add(time.Since(read)))); at.IsZero() {
		t.Error("a moment is lost")
	}
}

func TestAMomentIsTheSameWhenItIsKeptAsANumber(t *testing.T) {
	now := time.Now()
	jumped := clocktest.Jumped(t, now, -48*time.Hour)
	if kept := At(Since(jumped)); kept.Sub(now) != 0 {
		t.Errorf("it is off by %s", kept.Sub(now))
	}
}
