package history

import (
	"testing"
	"time"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/clock/clocktest"
)

// What belongs to one outage is told by how much time has passed.
func TestAnOutageIsOneWhenTheWallClockJumps(t *testing.T) {
	began := time.Now()
	for _, jump := range []time.Duration{-2 * time.Hour, 2 * time.Hour, -40 * 24 * time.Hour} {
		for after, want := range map[time.Duration]uint64{time.Second: 1, alikeFor + time.Second: 2} {
			log := New(10)
			log.Add(Transition{Time: began, Node: "m1", Service: "gui", From: "up", To: "down", Why: "refused"})
			log.Add(Transition{Time: clocktest.Jumped(t, began.Add(after), jump), Node: "m2", Service: "gui", From: "up", To: "down", Why: "refused"})
			if log.counted != want {
				t.Errorf("after %s and a jump by %s there are %d outages, want %d", after, jump, log.counted, want)
			}
		}
	}
}
