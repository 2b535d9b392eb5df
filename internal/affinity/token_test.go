package affinity

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
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
