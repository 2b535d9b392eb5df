package fleet

import (
	"testing"
	"time"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/clock/clocktest"
)

var jumps = []time.Duration{0, -2 * time.Hour, 2 * time.Hour, -40 * 24 * time.Hour, 40 * 24 * time.Hour}

// What is said lasts as long as was said, whatever the wall clock does meanwhile.
func TestADrainLastsAsLongAsWasSaidWhenTheWallClockJumps(t *testing.T) {
	for _, jump := range jumps {
		t.Run(jump.String(), func(t *testing.T) {
			f := New(&census{})
			node := f.Node("m1")
			began := time.Now()
			said := Word{}.Drained("m1", time.Hour, began).Switched("dr", time.Hour, began).Settle(Word{}, began)
			node.Follow(said, began)
			for elapsed := 10 * time.Minute; elapsed <= 90*time.Minute; elapsed += 10 * time.Minute {
				now := clocktest.Jumped(t, began.Add(elapsed), jump)
				// The word is read from the storage again, and something else is said.
				text, err := said.Encode()
				if err != nil {
					t.Fatal(err)
				}
				read, err := ParseWord(text)
				if err != nil {
					t.Fatal(err)
				}
				said = read.Settle(said, now).Drained("m2", 0, now).Settle(said, now)
				node.Follow(said, now)
				over := elapsed >= time.Hour
				if node.IsDrained() == over {
					t.Errorf("after %s the node drains: %t", elapsed, node.IsDrained())
				}
				if _, kept, _ := said.Active([]string{"primary", "dr"}, now); (kept < 0) != over {
					t.Errorf("after %s the other cluster keeps its sessions: %t", elapsed, kept >= 0)
				}
				if _, remembered := said.Drains["m1"]; remembered == over {
					t.Errorf("after %s the drain is remembered: %t", elapsed, remembered)
				}
			}
			f.ReleaseNode(node)
		})
	}
}

func TestASwitchThatAnotherEdgeMadeIsCountedFromWhenItWasRead(t *testing.T) {
	now := time.Now()
	said := Word{}.Switched("dr", time.Hour, now.Add(-10*time.Minute))
	read := said.Settle(Word{}, now)
	for after, kept := range map[time.Duration]bool{49 * time.Minute: true, 51 * time.Minute: false} {
		for _, jump := range jumps {
			_, index, until := read.Active([]string{"primary", "dr"}, clocktest.Jumped(t, now.Add(after), jump))
			if (index >= 0) != kept {
				t.Errorf("after %s and a jump by %s the other cluster keeps its sessions: %t", after, jump, index >= 0)
			}
			if kept && until.Sub(now) != 50*time.Minute {
				t.Errorf("they end in %s", until.Sub(now))
			}
		}
	}
}

func TestTheLastSessionIsToldByTheMonotonicClock(t *testing.T) {
	f := New(&census{})
	node := f.Node("m1")
	node.Follow(Word{}.Drained("m1", 0, time.Now()), time.Now())
	before := time.Now()
	node.NoteSession()
	for _, jump := range jumps {
		now := clocktest.Jumped(t, time.Now(), jump)
		if ago := now.Sub(node.LastSession()); ago < 0 || ago > now.Sub(before) {
			t.Errorf("after a jump by %s it was %s ago", jump, ago)
		}
	}
	f.ReleaseNode(node)
}
