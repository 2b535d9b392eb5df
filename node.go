package tigergraph

import (
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/fleet"
	"github.com/caddy-tigergraph/caddy-tigergraph/internal/history"
)

// nodes holds each node that a configuration uses, by its address, so that a
// drain survives reloads.
var nodes = caddy.NewUsagePool()

// node is one TigerGraph node, shared by all policies that use its address.
type node struct {
	address  string
	draining atomic.Bool // at run time, beside what configurations say
	requests *requestCounters
	// session is when a session was last used while the node drained, in nanoseconds
	// since 1970.
	session atomic.Int64

	mu   sync.Mutex
	said fleet.Drain // by the operator
	// version is that of the word which said so.
	version int64
	until   time.Time   // when the drain ends by itself; zero: not
	timer   *time.Timer // which ends it
}

// follow begins or ends a drain as the operator said. Its end is a matter of how much
// time has passed, not of the wall clock.
func (n *node) follow(word fleet.Word, now time.Time) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if word.Version < n.version { // during a reload the other configuration may know more
		return
	}
	n.version = word.Version
	said := word.Drains[n.address]
	if said.Is(n.said) {
		return
	}
	n.said = said
	n.stopTimer()
	switch {
	case said.Since.IsZero():
		n.setDraining(false, "an operator said so")
	case said.Until == nil:
		n.setDraining(true, "an operator drained it, until it is said to be ready")
	case !now.Before(*said.Until):
		n.setDraining(false, "the time of the drain is over")
	default:
		n.setDraining(true, "an operator drained it for "+brief(said.Until.Sub(said.Since)))
		n.until = *said.Until
		var timer *time.Timer
		timer = time.AfterFunc(said.Until.Sub(now), func() {
			n.mu.Lock()
			defer n.mu.Unlock()
			if n.timer == timer { // no other drain has begun meanwhile
				n.stopTimer()
				n.setDraining(false, "the time of the drain is over")
			}
		})
		n.timer = timer
	}
}

// setDraining begins or ends a drain, and remembers that unless nothing changes.
func (n *node) setDraining(draining bool, why string) {
	if n.draining.Swap(draining) == draining {
		return
	}
	standingChanges.Add(1)
	n.session.Store(0)
	states := map[bool]string{false: "ready", true: "draining"}
	transitions.Add(history.Transition{
		Time: time.Now().UTC().Round(0), Node: n.address, Service: history.All,
		From: states[!draining], To: states[draining], Why: why,
	})
}

// stopTimer forgets when the drain would end. The caller holds the lock.
func (n *node) stopTimer() {
	if n.timer != nil {
		n.timer.Stop()
	}
	n.timer, n.until = nil, time.Time{}
}

// brief returns a duration as people write it: 1h rather than 1h0m0s, and whole days
// from two on.
func brief(d time.Duration) string {
	const day = 24 * time.Hour
	if d%day == 0 && d.Abs() >= 2*day {
		return strconv.FormatInt(int64(d/day), 10) + "d"
	}
	text := d.String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}

// drainUntil returns when the drain ends by itself, zero if it does not.
func (n *node) drainUntil() time.Time {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.until
}

// Destruct ends the drain when no configuration uses the node any more.
func (n *node) Destruct() error {
	n.mu.Lock()
	n.stopTimer()
	n.setDraining(false, "no configuration uses the node any more")
	n.mu.Unlock()
	n.requests.leave(forgetSelections, forgetRequests)
	return nil
}
