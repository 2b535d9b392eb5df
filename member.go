package tigergraph

import (
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

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

// isDraining reports whether the node takes no new clients.
func (m *member) isDraining() bool { return m.retiring || m.IsDrained() }

// release gives up the node and its prober. What they are can still be read, for
// requests outlive their configuration.
func (m *member) release(f *fleet.Fleet) {
	f.ReleaseNode(m.Node)
	if m.prober != nil {
		m.prober.Release()
	}
}

// choice is a first choice of a node. Remembering a pointer to one that exists
// costs no allocation.
type choice struct {
	policy                 *Policy
	member                 *member
	secure, pinned, spread bool
}

// newChoices returns the choices of a node by what is remembered of them.
func newChoices(p *Policy, m *member) (choices [8]choice) {
	for i := range choices {
		choices[i] = choice{policy: p, member: m, secure: i&1 != 0, pinned: i&2 != 0, spread: i&4 != 0}
	}
	return choices
}

// choice returns the choice of this node for a client that came over TLS or not,
// and was pinned to the node or not, or whose request belongs to no node.
func (m *member) choice(secure, pinned, spread bool) *choice {
	i := 0
	if secure {
		i |= 1
	}
	if pinned {
		i |= 2
	}
	if spread {
		i |= 4
	}
	return &m.choices[i]
}
