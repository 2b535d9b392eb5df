package http1

import (
	"sync"
	"sync/atomic"
	"time"
)

// suspicion is how long a server that said what it was not asked gets a connection for
// each request: what it says late would be the answer to another one.
const suspicion = time.Minute

// Suspects are the addresses of servers that said what they were not asked. The zero
// value has none.
type Suspects struct {
	any   atomic.Bool
	mu    sync.Mutex
	until map[string]time.Time
}

// Add suspects the server at an address.
func (s *Suspects) Add(address string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.until == nil {
		s.until = make(map[string]time.Time)
	}
	s.until[address] = time.Now().Add(suspicion)
	s.any.Store(true)
}

// Has reports whether the server at an address is suspected.
func (s *Suspects) Has(address string) bool {
	if !s.any.Load() {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	until, is := s.until[address]
	if is && time.Now().After(until) {
		delete(s.until, address)
		s.any.Store(len(s.until) > 0)
		return false
	}
	return is
}
