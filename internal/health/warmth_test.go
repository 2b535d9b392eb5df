package health

import (
	"math"
	"testing"
	"time"
)

func TestWarmthGrowsFromATenthOnAStraightLine(t *testing.T) {
	for _, test := range []struct {
		up, slowStart time.Duration
		want          float64
	}{
		{0, time.Minute, 0.1},
		{-time.Second, time.Minute, 0.1}, // the clock was set back
		{20 * time.Second, time.Minute, 0.4},
		{30 * time.Second, time.Minute, 0.55},
		{time.Minute, time.Minute, 1},
		{time.Hour, time.Minute, 1},
		{0, 0, 1},
	} {
		if got := Warmth(test.up, test.slowStart); math.Abs(got-test.want) > 1e-9 {
			t.Errorf("%s after coming up, slow start %s: %g, want %g", test.up, test.slowStart, got, test.want)
		}
	}
}
