package asyncquery

import (
	"sync/atomic"
	"time"

	"github.com/jellydator/ttlcache/v3"
)

// Memory knows which nodes asynchronous queries were submitted to. The oldest are
// forgotten first when there are too many.
type Memory struct {
	nodes *ttlcache.Cache[string, string] // addresses by id
	used  atomic.Bool
}

// NewMemory returns a memory for so many queries, each of which it keeps for so
// long.
func NewMemory(keep time.Duration, most uint64) *Memory {
	return &Memory{nodes: ttlcache.New(
		ttlcache.WithTTL[string, string](keep),
		ttlcache.WithCapacity[string, string](most),
		ttlcache.WithDisableTouchOnHit[string, string](),
	)}
}

// Remember notes that a node has taken a query.
func (m *Memory) Remember(id, address string) {
	m.nodes.Set(id, address, ttlcache.DefaultTTL)
	m.used.Store(true)
}

// Find returns the address of the node that knows a query of those that a follow-up
// names in its query string: the first that is known, where there are several.
func (m *Memory) Find(query string) (address string, found bool) {
	if !m.used.Load() { // as long as nobody runs queries so, they cost no lock
		return "", false
	}
	for id := range ids(query) {
		if item := m.nodes.Get(id); item != nil {
			return item.Value(), true
		}
	}
	return "", false
}

// Tidy frees the memory of queries whose results are gone.
func (m *Memory) Tidy() { m.nodes.DeleteExpired() }
