package tigergraph

import (
	"slices"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/affinity"
	"github.com/caddy-tigergraph/caddy-tigergraph/internal/fleet"
)

// member is a node as one policy sees it.
type member struct {
	*fleet.Node
	// dial is the upstream's address as configured, placeholders and all.
	dial   string
	index  int
	seed   uint64
	weight float64
	backup bool
	// cluster is the index of the node's, as the policy's clusters are in order.
	cluster int
	// retiring: the configuration lets it take no new clients.
	retiring bool
	// label is the address as the value of a placeholder; putting a string into
	// an interface on each request would allocate.
	label any
	// prober knows how the node is; nil if it is not checked.
	prober   *fleet.Prober
	dialInfo reverseproxy.DialInfo // of the probes
	// seen is when the node was last in a dynamic pool; guarded by the policy's mu.
	seen time.Time
	// choices are what may have to be remembered of a request that was sent here.
	choices      [8]choice
	placeholders usualPlaceholders
	selections   selectionCounters
	requests     *requestCounters // of the node, whichever policy chose it
}

func newMember(p *Policy, n *fleet.Node, dial string, index int) *member {
	m := &member{
		Node: n, dial: dial, index: index, seed: affinity.Seed(n.Address), label: n.Address,
		weight: 1, backup: slices.Contains(p.Backup, dial), cluster: slices.Index(p.clusters(), p.clusterOf(dial)),
	}
	if weight, set := p.Weights[dial]; set {
		m.weight = float64(weight)
	}
	m.retiring = m.weight == 0 || slices.Contains(p.Drain, dial)
	if m.requests, _ = n.Attached.(*requestCounters); m.requests == nil {
		m.requests = new(requestCounters)
	}
	m.choices = newChoices(p, m)
	m.placeholders = m.usualPlaceholders()
	return m
}

// acquireNode returns the node with this address. The caller holds the policy's lock.
func (p *Policy) acquireNode(address string) *fleet.Node {
	if p.released {
		return &fleet.Node{Address: address} // nobody else's
	}
	n := p.app.fleet.Node(address)
	n.Follow(p.app.operator.known(), time.Now())
	return n
}

// isDraining reports whether the node takes no new clients.
func (m *member) isDraining() bool { return m.retiring || m.IsDraining() }

// memberSet is a set of a policy's members, by their index.
type memberSet []uint64

func (s *memberSet) add(m *member) {
	for len(*s) <= m.index/64 {
		*s = append(*s, 0)
	}
	(*s)[m.index/64] |= 1 << (m.index % 64)
}

func (s memberSet) has(m *member) bool {
	return m.index/64 < len(s) && s[m.index/64]&(1<<(m.index%64)) != 0
}

// release gives up the node and its prober. What they are can still be read, for
// requests outlive their configuration.
func (m *member) release(f *fleet.Fleet) {
	f.ReleaseNode(m.Node)
	if m.prober != nil {
		m.prober.Release()
	}
}
