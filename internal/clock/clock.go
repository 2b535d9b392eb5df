// Package clock dates moments of this process. What has passed since one is told by the
// monotonic clock; a date is told by the wall clock, which may have jumped since then.
package clock

import (
	"sync/atomic"
	"time"
)

// began is what the monotonic clock is counted from.
var began = time.Now()

// jumpIs is how much the wall clock must be off the monotonic one to have jumped. Less
// is how the two are kept together.
const jumpIs = time.Second

// ahead is by how much the wall clock has got ahead of the monotonic one since the
// process began, as it was found last.
var ahead atomic.Int64

// Date returns a moment as the wall clock would have shown it if it had always gone as
// it does now: what is told of a moment an hour ago is an hour before what the clock
// shows, whatever it showed then. A moment that is not of this process is returned as
// it is.
func Date(t time.Time) time.Time { return date(t, time.Now()) }

func date(t, now time.Time) time.Time {
	if t == t.Round(0) { //nolint:staticcheck // it was read, and says no more than a date: the monotonic clock counts
		return t.UTC()
	}
	drift := time.Duration(ahead.Load())
	if seen := driftOf(now); (seen - drift).Abs() > jumpIs {
		drift = seen
		ahead.Store(int64(seen))
	}
	wall := t.Round(0).UTC()
	if jumped := drift - driftOf(t); jumped.Abs() > jumpIs {
		return wall.Add(jumped)
	}
	return wall
}

// driftOf returns by how much the wall clock had got ahead at a moment.
func driftOf(t time.Time) time.Duration {
	return t.Round(0).Sub(began.Round(0)) - t.Sub(began)
}

// Since returns the nanoseconds of the monotonic clock from the beginning of the process
// to a moment, at least 1.
func Since(t time.Time) int64 { return max(int64(t.Sub(began)), 1) }

// At returns the moment that is so many nanoseconds after the beginning of the process.
func At(since int64) time.Time { return began.Add(time.Duration(since)) }
