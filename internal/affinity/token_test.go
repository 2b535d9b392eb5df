package affinity

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"math"
	"math/rand/v2"
	"testing"
	"time"
)

var (
	day       = 24 * time.Hour
	addresses = []string{"m1:14240", "m2:14240", "m3:14240"}
	newKey    = []byte("a new key")
	oldKey    = []byte("an old key")
)

func TestTokenIsTheDocumentedValue(t *testing.T) {
	mac := hmac.New(sha256.New, newKey)
	mac.Write([]byte{0, 0, 0, 0, 0, 0, 0x50, 0x39})
	mac.Write([]byte("m1:14240"))
	want := base64.RawURLEncoding.EncodeToString(mac.Sum(nil)[:16])
	if got := Token(newKey, 0x5039, "m1:14240"); got != want || len(got) != 22 {
		t.Errorf("token is %q, want %q", got, want)
	}
}

func TestEpochIsTheWallClockDividedByTheLifetime(t *testing.T) {
	for _, test := range []struct {
		now  time.Time
		want int64
	}{
		{time.Unix(0, 0), 0},
		{time.Unix(86399, 999_999_999), 0},
		{time.Unix(86400, 0), 1},
		{time.Unix(-1, 0), -1},
		{time.Unix(-86400, 0), -1},
		{time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC), 20780},
	} {
		epoch := Epoch(test.now, day)
		if epoch != test.want {
			t.Errorf("epoch of %v is %d, want %d", test.now, epoch, test.want)
		}
		if end := EpochEnd(epoch, day); !end.After(test.now) || end.Sub(test.now) > day {
			t.Errorf("epoch of %v ends at %v", test.now, end)
		}
	}
}

func TestWhichTokensAreValid(t *testing.T) {
	const epoch = 20780
	tokens := NewTokens([][]byte{newKey, oldKey}, epoch, addresses)
	for _, test := range []struct {
		name           string
		value          string
		valid, current bool
	}{
		{"first key, this epoch", Token(newKey, epoch, addresses[1]), true, true},
		{"first key, last epoch", Token(newKey, epoch-1, addresses[1]), true, false},
		{"first key, next epoch", Token(newKey, epoch+1, addresses[1]), true, false},
		{"previous key, this epoch", Token(oldKey, epoch, addresses[1]), true, false},
		{"previous key, last epoch", Token(oldKey, epoch-1, addresses[1]), true, false},
		{"first key, two epochs ago", Token(newKey, epoch-2, addresses[1]), false, false},
		{"first key, in two epochs", Token(newKey, epoch+2, addresses[1]), false, false},
		{"foreign key", Token([]byte("foreign"), epoch, addresses[1]), false, false},
		{"unknown address", Token(newKey, epoch, "m4:14240"), false, false},
		{"empty", "", false, false},
		{"truncated", Token(newKey, epoch, addresses[1])[:21], false, false},
		{"lengthened", Token(newKey, epoch, addresses[1]) + "A", false, false},
		{"the address itself", addresses[1], false, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			pin, valid := tokens.Lookup(test.value)
			if valid != test.valid || pin.Current != test.current || valid && pin.Node != 1 {
				t.Errorf("got %+v, %t", pin, valid)
			}
		})
	}
	if got := tokens.Current(1); got != Token(newKey, epoch, addresses[1]) {
		t.Errorf("current token is %q", got)
	}
	if tokens.Epoch() != epoch {
		t.Errorf("epoch is %d", tokens.Epoch())
	}
}

func TestOneAddressTwiceIsOneNode(t *testing.T) {
	tokens := NewTokens([][]byte{newKey}, 1, []string{"m1:14240", "m1:14240"})
	if pin, valid := tokens.Lookup(tokens.Current(1)); !valid || pin.Node != 0 || !pin.Current {
		t.Errorf("got %+v, %t", pin, valid)
	}
}

// aBrowser keeps a cookie by a clock of its own until its Max-Age is over.
type aBrowser struct {
	clock   time.Duration // how far its clock is from ours
	value   string
	expires time.Time // by its clock
}

// ask is a request at this moment. It reports whether the session still had its node.
func (b *aBrowser) ask(now time.Time, lifetime time.Duration) (kept bool) {
	epoch := Epoch(now, lifetime)
	tokens := NewTokens([][]byte{newKey}, epoch, addresses[:1])
	pin, valid := Pin{}, false
	if theirs := now.Add(b.clock); theirs.Before(b.expires) {
		pin, valid = tokens.Lookup(b.value)
	}
	if !pin.Current {
		b.value = tokens.Current(0)
		b.expires = now.Add(b.clock).Add(time.Duration(MaxAge(epoch, lifetime, now)) * time.Second)
	}
	return valid
}

func TestAPersistentCookieLastsWhileItIsUsedAndDiesAfterOneToTwoIdleLifetimes(t *testing.T) {
	random := rand.New(rand.NewPCG(3, 5))
	for _, lifetime := range []time.Duration{
		time.Second, 1001 * time.Millisecond, 1500 * time.Millisecond, 2 * time.Second, 7*time.Second + 1, 59 * time.Second, time.Minute,
		time.Hour, day, 400 * day, 3 * 365 * day,
	} {
		// In a lifetime of many seconds, the last one may be missing.
		longest := lifetime
		if lifetime >= briefLifetime {
			longest -= time.Second
		}
		for _, clock := range []time.Duration{0, time.Hour, -time.Hour} {
			for range 100 {
				// It begins anywhere in an epoch, and rests for anything up to a lifetime.
				now := time.Date(2026, 11, 26, 0, 0, 0, 0, time.UTC).Add(time.Duration(random.Int64N(int64(lifetime))))
				b := &aBrowser{clock: clock}
				b.ask(now, lifetime)
				for range 20 {
					pause := time.Duration(random.Int64N(int64(longest)))
					if random.IntN(3) == 0 {
						pause = longest
					}
					if now = now.Add(pause); !b.ask(now, lifetime) {
						t.Fatalf("lifetime %s: lost at %s after a pause of %s, with a clock off by %s", lifetime, now, pause, clock)
					}
				}
				idle := *b
				if now := now.Add(2 * lifetime); idle.ask(now, lifetime) {
					t.Fatalf("lifetime %s: still there at %s after two idle lifetimes", lifetime, now)
				}
			}
		}
	}
}

func TestMaxAgeIsWhatIsLeftOfThisEpochAndTheNext(t *testing.T) {
	for _, test := range []struct {
		lifetime time.Duration
		now      time.Time
		want     int64
	}{
		{day, time.Unix(0, 0), 2 * 86400},
		{day, time.Unix(86399, 0), 86401},
		{day, time.Unix(86399, 1), 86400},
		{2 * time.Second, time.Unix(1, 500_000_000), 3},
		{2 * time.Second, time.Unix(1, 999_999_999), 3},
		{1500 * time.Millisecond, time.Unix(0, 0), 4},
		// As long as a duration may be: the end is beyond what nanoseconds can say.
		{math.MaxInt64, time.Date(2026, 11, 26, 0, 0, 0, 0, time.UTC), 2*9_223_372_036 + 1 - 1_795_651_200},
	} {
		if got := MaxAge(Epoch(test.now, test.lifetime), test.lifetime, test.now); got != test.want {
			t.Errorf("with a lifetime of %s, at %d.%09d: %d, want %d", test.lifetime, test.now.Unix(), test.now.Nanosecond(), got, test.want)
		}
	}
}
