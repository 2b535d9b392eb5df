package affinity

import (
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jellydator/ttlcache/v3"
)

// Moved remembers where clients are that are known only by their key and were moved
// because their home node could not be used. A client stays there until it has been
// idle for a while. One memory serves all policies, so that it has one bound: the
// least recently seen are forgotten first when there are too many.
type Moved struct {
	clients *ttlcache.Cache[movedClient, string]

	mu     sync.Mutex
	groups []*movedGroup
	last   uint64 // the number that a group was given last
}

// movedClient is a client of a group.
type movedClient struct {
	Client
	group uint64
}

// Client is a client as one service knows it.
type Client struct {
	Key     uint64
	Service uint8
}

// movedGroup is what policies have in common that share what they remember: they tell
// clients apart in the same way and have nodes in common.
type movedGroup struct {
	number uint64
	kind   string
	nodes  []string // of the policy that joined last
	size   int      // how many policies have joined and not left
	empty  atomic.Bool
}

// NewMoved returns a memory for so many clients.
func NewMoved(most int) *Moved {
	return &Moved{clients: ttlcache.New(ttlcache.WithCapacity[movedClient, string](uint64(max(most, 1))))}
}

// Join returns the part of the memory for a policy. Kind says by what it tells clients
// apart. It shares the part with the policy that is most like it: after a reload that
// adds or removes a node, that is the one before. Idle is how long a client is
// remembered after it was seen last.
func (m *Moved) Join(kind string, nodes []string, idle time.Duration) *MovedClients {
	m.mu.Lock()
	defer m.mu.Unlock()
	nodes = slices.Clone(nodes)
	slices.Sort(nodes)
	var best *movedGroup
	most := 0
	for _, group := range m.groups {
		if group.kind != kind {
			continue
		}
		if slices.Equal(group.nodes, nodes) { // also where a source says which nodes there are
			best = group
			break
		}
		if common := inCommon(group.nodes, nodes); common > most {
			best, most = group, common
		}
	}
	if best == nil {
		m.last++
		best = &movedGroup{number: m.last, kind: kind}
		best.empty.Store(true)
		m.groups = append(m.groups, best)
	}
	best.nodes = nodes
	best.size++
	return &MovedClients{memory: m, group: best, idle: idle}
}

// inCommon returns how many strings two sorted lists have in common.
func inCommon(a, b []string) (count int) {
	for _, s := range a {
		if _, found := slices.BinarySearch(b, s); found {
			count++
		}
	}
	return count
}

// Tidy frees the memory of idle clients.
func (m *Moved) Tidy() {
	m.clients.DeleteExpired()
	if m.clients.Len() != 0 {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, group := range m.groups {
		group.empty.Store(true)
	}
	if m.clients.Len() != 0 { // one was remembered meanwhile, of whatever group
		for _, group := range m.groups {
			group.empty.Store(false)
		}
	}
}

// Len returns how many clients are remembered.
func (m *Moved) Len() int { return m.clients.Len() }

// MovedClients is a policy's part of the memory.
type MovedClients struct {
	memory *Moved
	group  *movedGroup
	idle   time.Duration
	left   sync.Once
}

// Leave gives up the part of the memory. It is forgotten with the last policy that
// shares it, except that requests which are under way may still use it.
func (c *MovedClients) Leave() {
	c.left.Do(func() {
		c.memory.mu.Lock()
		defer c.memory.mu.Unlock()
		if c.group.size--; c.group.size > 0 {
			return
		}
		c.memory.groups = slices.DeleteFunc(c.memory.groups, func(group *movedGroup) bool { return group == c.group })
		if c.group.empty.Load() {
			return
		}
		var gone []movedClient
		c.memory.clients.Range(func(item *ttlcache.Item[movedClient, string]) bool {
			if item.Key().group == c.group.number {
				gone = append(gone, item.Key())
			}
			return true
		})
		for _, client := range gone {
			c.memory.clients.Delete(client)
		}
	})
}

// Empty reports whether nobody is remembered, which is so while all nodes are
// well. It costs an atomic load.
func (c *MovedClients) Empty() bool { return c.group.empty.Load() }

// Find returns the address of the node that a moved client was given. The client
// has been seen, so that it is remembered for longer.
func (c *MovedClients) Find(client Client) (address string, found bool) {
	item := c.memory.clients.Get(movedClient{client, c.group.number})
	if item == nil {
		return "", false
	}
	return item.Value(), true
}

// Remember notes where a client was moved to.
func (c *MovedClients) Remember(client Client, address string) {
	c.memory.clients.Set(movedClient{client, c.group.number}, address, c.idle)
	c.group.empty.Store(false)
}

// Forget lets a client go home.
func (c *MovedClients) Forget(client Client) {
	c.memory.clients.Delete(movedClient{client, c.group.number})
}
