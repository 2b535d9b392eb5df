package statuspage

import (
	"math"
	"time"
)

const (
	// trafficWindow is how far back what is shown of the traffic goes.
	trafficWindow = 3 * time.Minute
	// trafficPace is how far apart the counts are kept that it is measured from.
	trafficPace = 10 * time.Second
	// TrafficPause is how long one may go without another count.
	TrafficPause = 2 * time.Second
)

// Count is what has been counted so far of the requests to a service of a node.
type Count struct {
	Requests, Errors uint64
	Times            Times
}

// Counts are those of the last minutes. The zero value knows none. They are for one
// goroutine at a time.
type Counts struct {
	kept   []counted // some time apart, the oldest first
	newest counted
}

// counted is a count at a moment.
type counted struct {
	at time.Time
	Count
}

// IsDue reports whether the last count is old enough for another.
func (c *Counts) IsDue(now time.Time) bool { return now.Sub(c.newest.at) >= TrafficPause }

// Newest returns the last count.
func (c *Counts) Newest() Count { return c.newest.Count }

// Add takes in a count. One that is less than the last begins anew, as a counter does
// that has been reset.
func (c *Counts) Add(now time.Time, count Count) {
	if count.Requests < c.newest.Requests || now.Before(c.newest.at) {
		c.kept = nil
	}
	c.newest = counted{now, count}
	if len(c.kept) > 0 && now.Sub(c.kept[len(c.kept)-1].at) < trafficPace {
		return
	}
	old := 0 // how many are further back than the oldest that is needed
	for old+1 < len(c.kept) && now.Sub(c.kept[old+1].at) >= trafficWindow {
		old++
	}
	c.kept = append(c.kept[:copy(c.kept, c.kept[old:])], c.newest)
}

// Traffic returns how the requests of the last minutes went, nil if none has ever been
// counted.
func (c *Counts) Traffic() *Traffic {
	if c.newest.Requests == 0 || len(c.kept) == 0 {
		return nil
	}
	oldest := c.kept[0]
	seconds := max(c.newest.at.Sub(oldest.at).Seconds(), 1)
	t := &Traffic{
		PerSecond:       perSecond(c.newest.Requests-oldest.Requests, seconds),
		ErrorsPerSecond: perSecond(c.newest.Errors-min(oldest.Errors, c.newest.Errors), seconds),
	}
	if p95, known := c.newest.Times.since(oldest.Times).quantile(0.95); known {
		milliseconds := math.Round(p95*1e4) / 10
		t.P95MS = &milliseconds
	}
	return t
}

// perSecond returns a rate as people read it. What there was is never nothing.
func perSecond(count uint64, seconds float64) float64 {
	if count == 0 {
		return 0
	}
	return max(math.Round(float64(count)/seconds*100)/100, 0.01)
}
