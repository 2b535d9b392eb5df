package tigergraph

import (
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/affinity"
	"github.com/caddy-tigergraph/caddy-tigergraph/internal/fleet"
)

// The wall clock of an edge may be wrong, and then right.
func TestTokensFollowAClockThatJumps(t *testing.T) {
	const lifetime = 24 * time.Hour
	p := &Policy{app: &App{fleet: fleet.New(fleetSeries{})}, cookie: &affinity.Form{Name: "n", Lifetime: lifetime}, keys: [][]byte{[]byte("key")}}
	p.roster.Store(new(roster))
	p.rosterFor(reverseproxy.UpstreamPool{{Dial: "m1:14240"}, {Dial: "m2:14240"}})
	now := time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC)
	given := func(now time.Time) string {
		t.Helper()
		if wait := p.renewTokens(now); wait <= 0 || wait > lifetime {
			t.Errorf("at %s the next look is in %s", now, wait)
		}
		return p.roster.Load().tokens.Current(0)
	}
	token := given(now)
	for _, test := range []struct {
		jump           time.Duration
		valid, current bool
	}{
		{0, true, true},
		{time.Minute, true, true},
		{-time.Minute, true, true},
		{lifetime, true, false},  // as every day
		{-lifetime, true, false}, // another edge's clock is ahead
		{40 * lifetime, false, false},
		{-40 * lifetime, false, false},
		{-now.Sub(time.Unix(0, 0)) - time.Hour, false, false}, // before 1970
	} {
		given(now.Add(test.jump))
		pin, valid := p.roster.Load().tokens.Lookup(token)
		if valid != test.valid || pin.Current != test.current || valid && pin.Node != 0 {
			t.Errorf("after a jump by %s the token is valid: %t, current: %t", test.jump, valid, pin.Current)
		}
		if again := given(now); again != token {
			t.Errorf("after a jump by %s and back the token is another", test.jump)
		}
	}
}
