package fleet

import (
	"testing"
	"time"
)

func TestDurationsAreWrittenInFewLetters(t *testing.T) {
	for duration, want := range map[time.Duration]string{
		time.Hour: "1h", 90 * time.Minute: "1h30m", time.Minute: "1m", 45 * time.Second: "45s",
		time.Hour + 5*time.Second: "1h0m5s", 10 * time.Minute: "10m", 24 * time.Hour: "24h", 500 * time.Millisecond: "500ms",
		365 * 24 * time.Hour: "365d", 49 * time.Hour: "49h", -48 * time.Hour: "-2d", 0: "0s",
	} {
		if got := Brief(duration); got != want {
			t.Errorf("%s is written %q, want %q", duration, got, want)
		}
	}
}
