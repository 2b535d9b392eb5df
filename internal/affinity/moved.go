package affinity

import (
	"sync/atomic"
	"time"

	"github.com/jellydator/ttlcache/v3"
)

// Moved remembers where clients are that are known only by their key and were
// moved because their home node could not be used. A client stays there until it
// has been idle for a while. The least recently seen are forgotten first when
// there are too many.
type Moved struct {
	clients *ttlcache.Cache[Client, string]
	empty   atomic.Bool
}

// Client is a client as one service knows it.
type Client struct {
	Key     uint64
	Service uint8
}

// NewMoved returns a memory for so many clients.
func NewMoved(idle time.Duration, most int) *Moved {
	m := &Moved{clients: ttlcache.New(
		ttlcache.WithTTL[Client, string](idle),
		ttlcache.WithCapacity[Client, string](uint64(max(most, 1))),
	)}
	m.empty.Store(true)
	return m
}

// Empty reports whether nobody is remembered, which is so while all nodes are
// well. It costs an atomic load.
func (m *Moved) Empty() bool { return m.empty.Load() }

// Find returns the address of the node that a moved client was given. The client
// has been seen, so that it is remembered for longer.
func (m *Moved) Find(client Client) (address string, found bool) {
	item := m.clients.Get(client)
	if item == nil {
		return "", false
	}
	return item.Value(), true
}

// Remember notes where a client was moved to.
func (m *Moved) Remember(client Client, address string) {
	m.clients.Set(client, address, ttlcache.DefaultTTL)
	m.empty.Store(false)
}

// Forget lets a client go home.
func (m *Moved) Forget(client Client) {
	m.clients.Delete(client)
}

// Tidy frees the memory of idle clients.
func (m *Moved) Tidy() {
	m.clients.DeleteExpired()
	if m.clients.Len() == 0 {
		m.empty.Store(true)
		if m.clients.Len() != 0 { // one was remembered meanwhile
			m.empty.Store(false)
		}
	}
}

// Len returns how many clients are remembered.
func (m *Moved) Len() int { return m.clients.Len() }
