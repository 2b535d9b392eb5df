// Package clocktest makes moments as they are after the wall clock has jumped.
package clocktest

import (
	"testing"
	"time"
	"unsafe"
)

// Jumped returns a moment at which the wall clock shows another time, and the monotonic
// one the same.
func Jumped(t testing.TB, moment time.Time, by time.Duration) time.Time {
	t.Helper()
	by = by.Truncate(time.Second)
	if moment == moment.Round(0) { //nolint:staticcheck // the monotonic clock counts
		t.Fatalf("%s has no monotonic clock to tell it by", moment)
	}
	// The first word of a time that has one holds the seconds above its 30 lowest bits.
	jumped := moment
	wall := (*uint64)(unsafe.Pointer(&jumped)) //nolint:gosec // there is no other way
	*wall += uint64(by/time.Second) << 30      //nolint:gosec // which wraps around as it should
	if got := jumped.Round(0).Sub(moment.Round(0)); got != by || jumped.Sub(moment) != 0 {
		t.Fatalf("the clock jumped by %s, want %s, and %s passed", got, by, jumped.Sub(moment))
	}
	return jumped
}
