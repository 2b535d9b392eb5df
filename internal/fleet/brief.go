package fleet

import (
	"strconv"
	"strings"
	"time"
)

// Brief returns a duration as people write it: 1h rather than 1h0m0s, and whole days
// from two on.
func Brief(d time.Duration) string {
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
