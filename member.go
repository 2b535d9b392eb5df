package tigergraph

import (
	"slices"
	"time"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/affinity"
)

// member is a node as one policy sees it.
type member struct {
	*node
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
	// prober knows how the node is; nil if it is not checked. proberKey is what the
	// policy acquired it by.
	prober    *prober
	proberKey string
	// seen is when the node was last in a dynamic pool; guarded by the policy's mu.
	seen time.Time
	// choices are what may have to be remembered of a request that was sent here.
	choices      [8]choice
	placeholders usualPlaceholders
	selections   selectionCounters
}

func newMember(p *Policy, n *node, dial string, index int) *member {
	m := &member{
		node: n, dial: dial, index: index, seed: affinity.Seed(n.address), label: n.address,
		weight: 1, backup: slices.Contains(p.Backup, dial), cluster: slices.Index(p.clusters(), p.clusterOf(dial)),
	}
	if weight, set := p.Weights[dial]; set {
		m.weight = float64(weight)
	}
	m.retiring = m.weight == 0 || slices.Contains(p.Drain, dial)
	m.choices = newChoices(p, m)
	m.placeholders = m.usualPlaceholders()
	return m
}

// noteSession notes that a session is used on the node, if somebody may be waiting for
// the last one.
func (m *member) noteSession() {
	if m.draining.Load() {
		m.session.Store(time.Now().UnixNano())
	}
}

// lastSession returns when that was last, zero if it was not.
func (m *member) lastSession() time.Time {
	if at := m.session.Load(); at != 0 {
		return time.Unix(0, at)
	}
	return time.Time{}
}

// isDraining reports whether the node takes no new clients.
func (m *member) isDraining() bool { return m.retiring || m.draining.Load() }

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
