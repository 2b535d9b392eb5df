package health

import (
	"testing"
	"time"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/clock/clocktest"
)

// Slow start, schedules, doubts and what is known of live requests are told by how much
// time has passed.
func TestAJumpOfTheWallClockIsNoTime(t *testing.T) {
	now := time.Now()
	for _, jump := range []time.Duration{-2 * time.Hour, 2 * time.Hour, -40 * 24 * time.Hour, 40 * 24 * time.Hour} {
		if passed := moment(clocktest.Jumped(t, now, jump)) - moment(now); passed != 0 {
			t.Errorf("a jump by %s is %s", jump, time.Duration(passed))
		}
		for after, want := range map[time.Duration]int{time.Minute: 1, time.Hour: 0} {
			var met tally
			met.add(now, Refused)
			if seen := met.evidence(clocktest.Jumped(t, now.Add(after), jump)); seen.Count != want {
				t.Errorf("%s and a jump by %s after a failure there are %d, want %d", after, jump, seen.Count, want)
			}
		}
	}
}
