package integration_test

import (
	"fmt"
	"time"
)

// In a long run nothing is made to fail for half a minute out of each three and a half.
// Between faults nearly every moment is near one, which would excuse a request that fails
// for no reason, be it one in hundreds.
const (
	soakQuiet      = 30 * time.Second
	soakQuietAfter = 3 * time.Minute
)

// keepQuiet lets all that fails end, and nothing begin for a while, again and again.
func (s *soak) keepQuiet(over <-chan struct{}) {
	for {
		select {
		case <-over:
			return
		case <-time.After(soakQuietAfter):
		}
		s.quiet.Lock()
		began := time.Now()
		select {
		case <-over:
		case <-time.After(soakQuiet):
		}
		s.records.quiet(soakSpan{from: began.Add(soakRecovery), to: time.Now()})
		s.quiet.Unlock()
	}
}

// inQuiet says how many requests there were while nothing was made to fail, nor had been
// for as long as a fault excuses what comes after it.
func (r *soakRecords) inQuiet() string {
	times := newSoakTimeline(r.quietTimes, 0, func(soakSpan) bool { return true })
	requests, failed, length := 0, 0, time.Duration(0)
	for _, request := range r.requests {
		if times.holds(request.start, request.end) {
			requests++
			if request.failure != "" {
				failed++
			}
		}
	}
	for _, span := range times {
		length += span.to.Sub(span.from)
	}
	return fmt.Sprintf("%s without a fault: %d requests, %d of them failed", length.Round(time.Second), requests, failed)
}
