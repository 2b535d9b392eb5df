package fleet

import (
	"crypto/x509"
	"runtime"
	"testing"
	"time"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/tgnode"
)

func TestAuthoritiesAreKnownWhileTheyAreUsed(t *testing.T) {
	pool := func() *x509.CertPool {
		t.Helper()
		_, authority, err := tgnode.SelfSigned("localhost")
		if err != nil {
			t.Fatal(err)
		}
		return authority
	}
	var pools Authorities
	first, second := pool(), pool()
	one, two := pools.Number(first), pools.Number(second)
	if one == two || one == 0 || two == 0 || pools.Number(nil) != 0 {
		t.Errorf("the numbers are %d, %d", one, two)
	}
	for range 100 { // reloads read the same file again
		if again := pools.Number(first.Clone()); again != one {
			t.Fatalf("an equal pool is number %d, want %d", again, one)
		}
		if other := pools.Number(pool()); other == one || other == two {
			t.Fatalf("another pool is number %d", other)
		}
	}
	for deadline := time.Now().Add(30 * time.Second); len(pools.known) != 2; pools.Number(first) {
		if time.Now().After(deadline) {
			t.Fatalf("%d pools are known, want the two that are used", len(pools.known))
		}
		runtime.GC()
	}
	if pools.Number(second) != two {
		t.Error("a pool that is used has got another number")
	}
	runtime.KeepAlive(first)
}
