package affinity

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"time"
)

// tokenBytes is how much of the HMAC a token holds: 128 bits cannot be guessed.
const tokenBytes = 16

// Epoch returns the number of the lifetime that a moment of the wall clock
// falls into. It changes the tokens of all nodes, so that a stolen one dies.
func Epoch(now time.Time, lifetime time.Duration) int64 {
	nanoseconds := now.UnixNano()
	epoch := nanoseconds / int64(lifetime)
	if nanoseconds < 0 && nanoseconds%int64(lifetime) != 0 {
		epoch--
	}
	return epoch
}

// EpochEnd returns when the epoch gives way to the next.
func EpochEnd(epoch int64, lifetime time.Duration) time.Time {
	return time.Unix(0, (epoch+1)*int64(lifetime))
}

// MaxAge returns for how many seconds a browser is to keep a token of this epoch: to
// the end of the next one, in which the token is still valid and is renewed by its first
// use. So a browser in use never loses it, and an idle one does after one to two
// lifetimes. Where seconds count, a part of one is a whole one: a value that outlives
// its validity does no harm, but one that is lost before costs a session.
func MaxAge(epoch int64, lifetime time.Duration, now time.Time) int64 {
	// The end is counted in seconds, for its nanoseconds may be too many for an int64.
	whole, part := int64(lifetime/time.Second), int64(lifetime%time.Second)
	parts := (epoch + 2) * part
	left := (epoch+2)*whole + parts/int64(time.Second) - now.Unix()
	if rest := parts%int64(time.Second) - int64(now.Nanosecond()); rest < 0 {
		left--
	}
	if lifetime < briefLifetime {
		left++
	}
	return max(left, 1)
}

// briefLifetime is one of which a second is a good part.
const briefLifetime = time.Minute

// Token returns the value of the cookie that pins a client to the node with
// this address. It is opaque, and the same on every edge that has the key.
func Token(key []byte, epoch int64, address string) string {
	hash := hmac.New(sha256.New, key)
	var prefix [8]byte
	binary.BigEndian.PutUint64(prefix[:], uint64(epoch)) //nolint:gosec // the bits count, not the sign
	hash.Write(prefix[:])
	hash.Write([]byte(address))
	return base64.RawURLEncoding.EncodeToString(hash.Sum(nil)[:tokenBytes])
}

// Tokens holds every token that is valid during one epoch, so that checking one
// is a map look-up and no arithmetic. It is immutable.
type Tokens struct {
	epoch   int64
	pins    map[string]Pin
	current []string
}

// Pin is what a valid token says.
type Pin struct {
	// Node is the index of the address that the client belongs to.
	Node int
	// Current is false for a token of another epoch or of a previous key, which
	// the next response should replace.
	Current bool
}

// NewTokens computes the tokens of these addresses. Tokens of the first key and
// of this epoch are current; those of the other keys, of the last epoch and,
// for the sake of clocks that differ, of the next one are valid too. An empty
// address has none.
func NewTokens(keys [][]byte, epoch int64, addresses []string) *Tokens {
	t := &Tokens{
		epoch:   epoch,
		pins:    make(map[string]Pin, 3*len(keys)*len(addresses)),
		current: make([]string, len(addresses)),
	}
	for node, address := range addresses {
		if address == "" {
			continue
		}
		t.current[node] = Token(keys[0], epoch, address)
		for _, key := range keys {
			for _, e := range [...]int64{epoch - 1, epoch, epoch + 1} {
				token := Token(key, e, address)
				if _, duplicate := t.pins[token]; !duplicate {
					t.pins[token] = Pin{Node: node, Current: token == t.current[node]}
				}
			}
		}
	}
	return t
}

// Epoch returns the epoch that the tokens were made for.
func (t *Tokens) Epoch() int64 { return t.epoch }

// Current returns the token that a node's clients are given now.
func (t *Tokens) Current(node int) string { return t.current[node] }

// Lookup returns what a cookie's value says. A forged, truncated or outdated
// one says nothing.
func (t *Tokens) Lookup(value string) (pin Pin, valid bool) {
	pin, valid = t.pins[value]
	return pin, valid
}
