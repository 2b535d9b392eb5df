package health

import "time"

// Latencies keeps so many points, each of so long.
const (
	LatencyPoints = 60
	LatencyStep   = 5 * time.Second
)

// Latencies are how long the probes of the last minutes took. They are bounded
// however often is probed. The zero value holds none.
type Latencies struct {
	points [LatencyPoints + 1]latencyPoint // the present step, too
	newest int64
}

// latencyPoint is what was seen in one step.
type latencyPoint struct {
	slowest uint32 // in microseconds
	passed  bool
	failed  uint16
}

// LatencyStepAt returns the number of the step that a moment belongs to.
func LatencyStepAt(moment time.Time) int64 { return moment.UnixNano() / int64(LatencyStep) }

// Add adds a probe. After a clock was set back, probes count for the newest step
// until it has caught up.
func (l *Latencies) Add(step int64, passed bool, took time.Duration) {
	if ahead := l.newest - step; l.newest != 0 && ahead > 0 && ahead < LatencyPoints {
		step = l.newest
	} else {
		l.advance(step)
	}
	point := l.at(step)
	if !passed {
		point.failed = min(point.failed, 1<<16-2) + 1
		return
	}
	point.passed = true
	point.slowest = max(point.slowest, uint32(min(max(took.Microseconds(), 0), 1<<32-1)))
}

// advance makes a step the newest.
func (l *Latencies) advance(step int64) {
	if step-l.newest > LatencyPoints || step < l.newest {
		l.points = [LatencyPoints + 1]latencyPoint{}
		l.newest = step
		return
	}
	for l.newest < step {
		l.newest++
		*l.at(l.newest) = latencyPoint{}
	}
}

func (l *Latencies) at(step int64) *latencyPoint { return &l.points[step%(LatencyPoints+1)] }

// Series returns the steps that ended before one begins, the oldest first: how
// many milliseconds the slowest probe took that passed, nil where none did, and
// how many failed. Failed is nil if none did.
func (l *Latencies) Series(before int64) (slowest []*float64, failed []int) {
	slowest = make([]*float64, LatencyPoints)
	for i := range slowest {
		step := before - LatencyPoints + int64(i)
		if step < 0 || step > l.newest || step < l.newest-LatencyPoints {
			continue
		}
		point := l.at(step)
		if point.passed {
			milliseconds := float64(point.slowest) / 1000
			slowest[i] = &milliseconds
		}
		if point.failed > 0 {
			if failed == nil {
				failed = make([]int, LatencyPoints)
			}
			failed[i] = int(point.failed)
		}
	}
	return slowest, failed
}
