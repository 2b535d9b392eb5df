package response

import "time"

// WriteDeadline returns until when what is left of an answer may be written, whose
// request began at some time or, if that is zero, nobody knows when: for as long as each
// of its pieces may take, but not longer than the whole may take, if that is bounded. It
// is not due while the deadline of the last piece is far, as that of most answers is.
func WriteDeadline(now, begin time.Time, idle, whole time.Duration) (deadline time.Time, due bool) {
	known := !begin.IsZero()
	if known && now.Sub(begin) < idle/2 {
		return time.Time{}, false
	}
	deadline = now.Add(idle)
	if known && whole > 0 && begin.Add(whole).Before(deadline) {
		deadline = begin.Add(whole)
	}
	return deadline, true
}
