package health

import (
	"sync"
	"time"
)

// Pace bounds what probing many services together costs at once: the first probe of
// each, which is a dial, and those that a doubt asks for beyond the schedule. Without a
// bound, an edge that is short of processor time would take its own slowness for the
// nodes', doubt them all, and so make several times as many probes. Its zero value is
// ready for use.
type Pace struct{ first, extra bucket }

// Of services that begin to be probed together, firstAtOnce have their first probe at
// once, and of the others one after each pause, but none waits for longer than
// longestFirst. Likewise for probes beyond the schedule, only that those which find no
// room are tried again later. In the default rhythm, a hundred nodes do not meet this:
// all in doubt, their three services want 450 such probes a second.
const (
	firstAtOnce  = 300
	firstPause   = 500 * time.Microsecond
	longestFirst = 2 * time.Second
	extraAtOnce  = 600
	extraPause   = time.Millisecond
)

// wait returns how long the next first probe has to wait. A nil Pace bounds nothing.
func (p *Pace) wait(now time.Time) time.Duration {
	if p == nil {
		return 0
	}
	p.first.mu.Lock()
	defer p.first.mu.Unlock()
	wait := p.first.take(now, firstAtOnce, firstPause)
	if wait > longestFirst { // what reloads leave unused is no debt
		wait, p.first.free = longestFirst, now.Add(longestFirst)
	}
	return wait
}

// hasRoom reports whether a probe beyond the schedule may be made.
func (p *Pace) hasRoom(now time.Time) bool {
	if p == nil {
		return true
	}
	p.extra.mu.Lock()
	defer p.extra.mu.Unlock()
	before := p.extra.free
	if p.extra.take(now, extraAtOnce, extraPause) > 0 {
		p.extra.free = before
		return false
	}
	return true
}

// bucket lets so many through at once, and one more after each pause.
type bucket struct {
	mu sync.Mutex
	// free is when all that were let through would have been, were there always a pause
	// between them.
	free time.Time
}

// take returns how long the next one has to wait. The caller holds mu.
func (b *bucket) take(now time.Time, atOnce int, pause time.Duration) time.Duration {
	b.free = latest(b.free, now.Add(-time.Duration(atOnce)*pause)).Add(pause)
	return max(b.free.Sub(now), 0)
}
