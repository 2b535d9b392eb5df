package health

import (
	"hash/fnv"
	"time"
)

// doubtful is how many times more often a service is probed while its verdict is
// in doubt.
const doubtful = 4

// ticks is how many moments of an interval probes are made at. To make several at
// once costs less than to wake the processor for each.
const ticks = 20

// Schedule says when a service is probed.
type Schedule struct {
	Interval time.Duration
	// Jitter is by how many percent of the interval a wait may differ from it.
	Jitter int
}

// First returns how long to wait after the first probe, which is made as soon as the
// pace allows:
// a part of the interval that depends on the name, so that nodes which begin
// together do not go on together.
func (s Schedule) First(name string) time.Duration {
	hash := fnv.New32a()
	_, _ = hash.Write([]byte(name)) // never fails
	const parts = 1 << 10
	return s.Interval / parts * time.Duration(hash.Sum32()%parts+1)
}

// Next returns how long to wait after any other probe, while the verdict is in doubt
// or not. Random is a number in [0, 1).
func (s Schedule) Next(doubt bool, random float64) time.Duration {
	interval := float64(s.Interval)
	if doubt {
		interval /= doubtful
	}
	return time.Duration(interval * (1 + float64(s.Jitter)/100*(2*random-1)))
}

// Tick returns the moment at which a probe is made that follows one after such a
// wait: the nearest of the moments that probes are made at, or the next if that
// would be too soon.
func (s Schedule) Tick(last, wait time.Duration) time.Duration {
	tick := s.Interval / ticks
	moment := (last + wait).Round(tick)
	if moment < last+wait/2 {
		moment += tick
	}
	return moment
}
