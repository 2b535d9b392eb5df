package fleet

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/clock"
	"github.com/caddy-tigergraph/caddy-tigergraph/internal/history"
)

// Node is one TigerGraph node, shared by all policies that use its address.
type Node struct {
	Address string
	// Attached is what the observer wants to have kept with the node.
	Attached any

	fleet    *Fleet
	draining atomic.Bool // at run time, beside what configurations say
	// session is when a session was last used while the node drained, by the monotonic
	// clock.
	session atomic.Int64

	mu   sync.Mutex
	said Drain // by the operator
	// version is that of the word which said so.
	version int64
	until   time.Time   // when the drain ends by itself; zero: not
	timer   *time.Timer // which ends it
}

// IsDrained reports whether the operator wants no new clients on the node.
func (n *Node) IsDrained() bool { return n.draining.Load() }

// NoteSession notes that a session is used on the node, if somebody may be waiting for
// the last one.
func (n *Node) NoteSession() {
	if n.draining.Load() {
		n.session.Store(clock.Since(time.Now()))
	}
}

// LastSession returns when a session was last used on the node while it drained, zero if
// none was.
func (n *Node) LastSession() time.Time {
	if at := n.session.Load(); at != 0 {
		return clock.At(at)
	}
	return time.Time{}
}

// Follow begins or ends a drain as the operator said. Its end is a matter of how much
// time has passed, not of the wall clock.
func (n *Node) Follow(word Word, now time.Time) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if word.Version < n.version { // during a reload the other configuration may know more
		return
	}
	n.version = word.Version
	said := word.Drains[n.Address]
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
	case !now.Before(end(said.ends, said.Until)):
		n.setDraining(false, "the time of the drain is over")
	default:
		n.setDraining(true, "an operator drained it for "+Brief(said.Until.Sub(said.Since)))
		n.until = end(said.ends, said.Until)
		var timer *time.Timer
		timer = time.AfterFunc(n.until.Sub(now), func() {
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
func (n *Node) setDraining(draining bool, why string) {
	if n.draining.Swap(draining) == draining {
		return
	}
	n.fleet.NoteChange()
	n.session.Store(0)
	states := map[bool]string{false: "ready", true: "draining"}
	n.fleet.History.Add(history.Transition{
		Time: time.Now(), Node: n.Address, Service: history.All,
		From: states[!draining], To: states[draining], Why: why,
	})
}

// stopTimer forgets when the drain would end. The caller holds the lock.
func (n *Node) stopTimer() {
	if n.timer != nil {
		n.timer.Stop()
	}
	n.timer, n.until = nil, time.Time{}
}

// DrainUntil returns when the drain ends by itself, zero if it does not.
func (n *Node) DrainUntil() time.Time {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.until
}

// leave ends the drain when nobody uses the node any more.
func (n *Node) leave() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.stopTimer()
	n.setDraining(false, "no configuration uses the node any more")
}
