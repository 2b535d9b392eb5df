package fleet

import (
	"crypto/x509"
	"sync"
	"weak"
)

// Authorities numbers the pools of authorities that probers trust. There is no other
// way to tell two of them apart than to compare them. It knows a pool for as long as
// somebody uses it; numbers are never given twice.
type Authorities struct {
	mu    sync.Mutex
	last  int
	known []numberedPool
}

type numberedPool struct {
	pool   weak.Pointer[x509.CertPool]
	number int
}

// Number returns the number of a pool, 0 for the system's, which is nil.
func (a *Authorities) Number(pool *x509.CertPool) int {
	if pool == nil {
		return 0
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	number := 0
	kept := a.known[:0]
	for _, known := range a.known {
		alive := known.pool.Value()
		if alive == nil {
			continue
		}
		kept = append(kept, known)
		if alive == pool {
			number = known.number
		} else if number == 0 && pool.Equal(alive) {
			number = -known.number // to be noted
		}
	}
	clear(a.known[len(kept):])
	a.known = kept
	if number > 0 {
		return number
	}
	if number = -number; number == 0 {
		a.last++
		number = a.last
	}
	a.known = append(a.known, numberedPool{weak.Make(pool), number})
	return number
}
