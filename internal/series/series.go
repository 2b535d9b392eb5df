// Package series decides which series of metrics there are of a node: none of one that is
// gone, and of the many of a large cluster only what is of interest about few.
package series

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/service"
)

// Of a large cluster, what is of interest about few of its nodes has no series of the
// others: with more than MostInDetail nodes, how long the probes of a service took is told
// of those that have been slow, how many passed of those that have failed, and changes of a
// verdict from the first one after the start on.
const (
	MostInDetail = 100
	SlowProbe    = 500 * time.Millisecond
)

// Nodes counts the probers of each node, so that the series of one that nobody checks any
// more can be deleted. Kept is what is to be kept of the series of a service's probes.
type Nodes[Kept any] struct {
	mu    sync.RWMutex // of which the many who count hold their share
	nodes map[string]*probed[Kept]
	timed atomic.Int64 // how many services of nodes have a series of how long probes took
}

// probed is a node that has series.
type probed[Kept any] struct {
	probers  int
	services [service.Count]probes[Kept]
}

// probes are those of one service.
type probes[Kept any] struct {
	kept Kept

	mu     sync.Mutex
	probed bool // before
	told   bool // there is a series of those that passed, for one failed or the nodes were few
	timed  bool // there is a series of how long they took
}

// NewNodes returns a count of none.
func NewNodes[Kept any]() *Nodes[Kept] { return &Nodes[Kept]{nodes: make(map[string]*probed[Kept])} }

// Add notes one more prober, and reports whether the nodes are few.
func (n *Nodes[Kept]) Add(node string) (few bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.nodes[node] == nil {
		n.nodes[node] = new(probed[Kept])
	}
	n.nodes[node].probers++
	return n.few()
}

// AreFew reports whether the nodes are few.
func (n *Nodes[Kept]) AreFew() bool {
	n.mu.RLock()
	defer n.mu.RUnlock()
	return n.few()
}

// few reports whether the nodes are few. The caller holds mu, or a share of it.
func (n *Nodes[Kept]) few() bool { return len(n.nodes) <= MostInDetail }

// IfKnown counts something of a node, unless the last prober of it has just ended: a
// series made now would never be deleted. It says whether the nodes are few.
func (n *Nodes[Kept]) IfKnown(node string, count func(few bool)) {
	n.mu.RLock()
	defer n.mu.RUnlock()
	if n.nodes[node] != nil {
		count(n.few())
	}
}

// Probed counts a probe of a service, unless the last prober of the node has just ended. It
// is told whether the probe itself is counted, and whether how long it took is.
func (n *Nodes[Kept]) Probed(node string, s service.Service, passed bool, took time.Duration, count func(kept *Kept, told, timed bool)) {
	n.mu.RLock()
	defer n.mu.RUnlock()
	known := n.nodes[node]
	if known == nil {
		return
	}
	p := &known.services[s]
	p.mu.Lock()
	p.told = p.told || !passed || n.few()
	if !p.timed {
		// All the first ones are made at once, and their slowness is not the node's.
		// Where everything is slow, it is that of the edge.
		slow := p.probed && took >= SlowProbe && n.timed.Load() < MostInDetail
		if p.timed = slow || n.few(); p.timed {
			n.timed.Add(1)
		}
	}
	p.probed = true
	told, timed := p.told, p.timed
	p.mu.Unlock()
	count(&p.kept, told, timed)
}

// Remove notes that a prober has ended. The last one of a node has its series forgotten.
func (n *Nodes[Kept]) Remove(node string, forget func(node string)) {
	n.mu.Lock()
	defer n.mu.Unlock()
	known := n.nodes[node]
	if known.probers--; known.probers > 0 {
		return
	}
	for s := range known.services {
		if known.services[s].timed {
			n.timed.Add(-1)
		}
	}
	delete(n.nodes, node)
	forget(node)
}

// Node guards the making of one node's series.
type Node struct {
	Name string

	mu   sync.Mutex
	gone bool // nobody knows the node any more: a series made now would never be deleted
}

// IfKnown makes a series, unless the node is gone.
func (n *Node) IfKnown(count func()) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.gone {
		count()
	}
}

// Leave has no more series made, and those that were made forgotten.
func (n *Node) Leave(forget ...func()) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.gone = true
	for _, forget := range forget {
		forget()
	}
}

// Resolved returns a metric that is kept, looked up the first time; nil if the node is
// gone.
func Resolved[M any](n *Node, kept *atomic.Pointer[M], lookUp func() M) *M {
	if known := kept.Load(); known != nil {
		return known
	}
	n.IfKnown(func() { Kept(kept, lookUp) })
	return kept.Load()
}

// Kept returns a metric that is kept, looked up the first time. Who looks it up at the same
// time finds the same one.
func Kept[M any](kept *atomic.Pointer[M], lookUp func() M) M {
	if known := kept.Load(); known != nil {
		return *known
	}
	metric := lookUp()
	kept.Store(&metric)
	return metric
}
