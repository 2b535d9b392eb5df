package affinity

import (
	"encoding/json"
	"math"
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
	number  uint64
	kind    string
	members []*movedMember
	empty   atomic.Bool
}

// movedMember stands for the policies of one configuration that have the same nodes.
type movedMember struct {
	configuration any
	nodes         []string // sorted
	size          int      // how many policies have joined and not left
}

// NewMoved returns a memory for so many clients.
func NewMoved(most int) *Moved {
	return &Moved{clients: ttlcache.New(ttlcache.WithCapacity[movedClient, string](uint64(max(most, 1))))}
}

// Join returns the part of the memory for a policy of a configuration. Kind says by what
// it tells clients apart. It shares the part with the policies that have the same nodes
// or, of another configuration, the most in common: after a reload that adds or removes
// a node, these are the ones before. Policies of one configuration whose nodes differ
// share nothing, since a client that had to leave its node for one of them need not do
// so for the other. Idle is how long a client is remembered after it was seen last.
func (m *Moved) Join(configuration any, kind string, nodes []string, idle time.Duration) *MovedClients {
	m.mu.Lock()
	defer m.mu.Unlock()
	nodes = slices.Clone(nodes)
	slices.Sort(nodes)
	var group *movedGroup
	most, taken := 0, false
	for _, other := range m.groups {
		if other.kind != kind {
			continue
		}
		likeness, differs := other.likeness(configuration, nodes)
		if likeness > most || likeness == most && likeness > 0 && taken && !differs {
			group, most, taken = other, likeness, differs
		}
	}
	if group == nil || taken {
		m.last++
		added := &movedGroup{number: m.last, kind: kind}
		added.empty.Store(true)
		m.groups = append(m.groups, added)
		if taken {
			m.inherit(added, group)
		}
		group = added
	}
	return &MovedClients{memory: m, group: group, member: group.join(configuration, nodes), idle: idle}
}

// likeness returns how many nodes a policy has in common with one that is in the group,
// more than there are nodes if they have the same, and whether its own configuration
// has other nodes in the group.
func (g *movedGroup) likeness(configuration any, nodes []string) (most int, differs bool) {
	for _, member := range g.members {
		switch {
		case slices.Equal(member.nodes, nodes): // also where a source says which nodes there are
			most = math.MaxInt
		case member.configuration == configuration:
			differs = true
		default:
			most = max(most, inCommon(member.nodes, nodes))
		}
	}
	return most, differs
}

// join makes a policy a member of the group. The caller holds the memory's lock.
func (g *movedGroup) join(configuration any, nodes []string) *movedMember {
	for _, member := range g.members {
		if member.configuration == configuration && slices.Equal(member.nodes, nodes) {
			member.size++
			return member
		}
	}
	member := &movedMember{configuration: configuration, nodes: nodes, size: 1}
	g.members = append(g.members, member)
	return member
}

// inherit gives a new group what another one knows.
func (m *Moved) inherit(heir, ancestor *movedGroup) {
	if ancestor.empty.Load() {
		return
	}
	for client, item := range m.clients.Items() {
		if left := time.Until(item.ExpiresAt()); client.group == ancestor.number && left > 0 {
			m.clients.Set(movedClient{client.Client, heir.number}, item.Value(), left)
			heir.empty.Store(false)
		}
	}
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
	member *movedMember
	idle   time.Duration
	left   sync.Once
}

// Leave gives up the part of the memory. It is forgotten with the last policy that
// shares it, except that requests which are under way may still use it.
func (c *MovedClients) Leave() {
	c.left.Do(func() {
		c.memory.mu.Lock()
		defer c.memory.mu.Unlock()
		if c.member.size--; c.member.size > 0 {
			return
		}
		c.group.members = slices.DeleteFunc(c.group.members, func(member *movedMember) bool { return member == c.member })
		if len(c.group.members) > 0 {
			return
		}
		c.memory.groups = slices.DeleteFunc(c.memory.groups, func(group *movedGroup) bool { return group == c.group })
		if c.group.empty.Load() {
			return
		}
		// Range would miss some while others are remembered or seen.
		for _, client := range c.memory.clients.Keys() {
			if client.group == c.group.number {
				c.memory.clients.Delete(client)
			}
		}
	})
}

// NodesOf returns what to take for the nodes of a source that says at run time which
// there are, by its configuration: that as a whole, and the names that it asks for. A
// source that is asked more often so has nodes in common with the one before.
func NodesOf(source json.RawMessage) (nodes []string) {
	var decoded any
	_ = json.Unmarshal(source, &decoded) // which is the configuration of a module that runs
	var collect func(value any)
	collect = func(value any) {
		switch value := value.(type) {
		case []any:
			for _, each := range value {
				collect(each)
			}
		case map[string]any:
			if name, ok := value["name"].(string); ok {
				nodes = append(nodes, "name "+name)
			}
			for _, each := range value {
				collect(each)
			}
		}
	}
	collect(decoded)
	return append(nodes, string(source))
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
