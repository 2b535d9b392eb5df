package asyncquery

import (
	"iter"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jellydator/ttlcache/v3"
)

// Memory knows which nodes asynchronous queries were submitted to. Those that nobody
// has asked for the longest are forgotten first when there are too many.
type Memory struct {
	// nodes are addresses by the query's id: several where clusters have given one
	// id at the same millisecond.
	nodes *ttlcache.Cache[string, []string]
	used  atomic.Bool
	// changing is held while an id gets another node: two may give it at once.
	changing sync.Mutex
}

// mostNodes is how many nodes one id may have.
const mostNodes = 4

// NewMemory returns a memory for so many queries, each of which it keeps for so
// long.
func NewMemory(keep time.Duration, most uint64) *Memory {
	return &Memory{nodes: ttlcache.New(
		ttlcache.WithTTL[string, []string](keep),
		ttlcache.WithCapacity[string, []string](most),
		ttlcache.WithDisableTouchOnHit[string, []string](),
	)}
}

// Remember notes that a node has taken a query. A node that names an id which
// another has given comes behind that, and does not take it over.
func (m *Memory) Remember(id, address string) {
	m.changing.Lock()
	defer m.changing.Unlock()
	var addresses []string
	if item := m.nodes.Get(id); item != nil {
		addresses = item.Value()
	}
	if !slices.Contains(addresses, address) && len(addresses) < mostNodes {
		addresses = append(slices.Clip(addresses), address)
	}
	m.nodes.Set(id, addresses, ttlcache.DefaultTTL)
	m.used.Store(true)
}

// Nodes returns the addresses of the nodes that know the queries which a follow-up
// names in its query string, in the order of their ids.
func (m *Memory) Nodes(query string) iter.Seq[string] {
	return func(yield func(string) bool) {
		if !m.used.Load() { // as long as nobody runs queries so, they cost no lock
			return
		}
		for id := range ids(query) {
			item := m.nodes.Get(id)
			if item == nil {
				continue
			}
			for _, address := range item.Value() {
				if !yield(address) {
					return
				}
			}
		}
	}
}

// Tidy frees the memory of queries whose results are gone.
func (m *Memory) Tidy() { m.nodes.DeleteExpired() }
