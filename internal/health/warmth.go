package health

import "time"

// coldest is the part of its weight that a service has when it has just come up.
const coldest = 0.1

// Warmth returns which part of its weight a service has so long after it came
// up: a tenth at first, all of it at the end of the slow start, and in between
// on a straight line.
func Warmth(up, slowStart time.Duration) float64 {
	if up >= slowStart {
		return 1
	}
	return coldest + (1-coldest)*float64(max(up, 0))/float64(slowStart)
}
