// Package series decides which series of metrics there are of a node: none of one that is
// gone, and of the many of a large cluster only what is of interest about few.
package series

import (
	"sync"
	"sync/atomic"
	"time"
)

// Of a large cluster, what is of interest about few of its nodes has no series of the
// others: with more than MostInDetail nodes, how long the probes of a service took is told
// of those that have been slow, and changes of a verdict from the first one on.
const (
	MostInDetail = 100
	SlowProbe    = 500 * time.Millisecond
)

// Nodes counts the probers of each node, so that the series of one that nobody checks any
// more can be deleted.
type Nodes struct {
	mu    sync.Mutex
	nodes map[string]*probed
	timed int // how many services of nodes have a series of how long probes took
}

// probed is a node that has series.
type probed struct {
	probers int
	timed   map[string]bool // whether a service that was probed has a series of how long that took
}

// NewNodes returns a count of none.
func NewNodes() *Nodes { return &Nodes{nodes: make(map[string]*probed)} }

// Add notes one more prober, and reports whether the nodes are few.
func (n *Nodes) Add(node string) (few bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.nodes[node] == nil {
		n.nodes[node] = &probed{timed: make(map[string]bool)}
	}
	n.nodes[node].probers++
	return len(n.nodes) <= MostInDetail
}

// AreFew reports whether the nodes are few.
func (n *Nodes) AreFew() bool {
	n.mu.Lock()
	defer n.mu.Unlock()
	return len(n.nodes) <= MostInDetail
}

// IfKnown counts something of a node, unless the last prober of it has just ended: a
// series made now would never be deleted.
func (n *Nodes) IfKnown(node string, count func()) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.nodes[node] != nil {
		count()
	}
}

// Probed counts a probe of a service, unless the last prober of the node has just ended. It
// is timed if it is told how long the service's probes take.
func (n *Nodes) Probed(node, service string, took time.Duration, count func(timed bool)) {
	n.mu.Lock()
	defer n.mu.Unlock()
	known := n.nodes[node]
	if known == nil {
		return
	}
	timed, again := known.timed[service]
	if !timed {
		// All the first ones are made at once, and their slowness is not the node's.
		// Where everything is slow, it is that of the edge.
		slow := again && took >= SlowProbe && n.timed < MostInDetail
		if timed = slow || len(n.nodes) <= MostInDetail; timed {
			n.timed++
		}
		known.timed[service] = timed
	}
	count(timed)
}

// Remove notes that a prober has ended. The last one of a node has its series forgotten.
func (n *Nodes) Remove(node string, forget func(node string)) {
	n.mu.Lock()
	defer n.mu.Unlock()
	known := n.nodes[node]
	if known.probers--; known.probers > 0 {
		return
	}
	for _, timed := range known.timed {
		if timed {
			n.timed--
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

// Leave deletes the series.
func (n *Node) Leave(forget ...func(node string)) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.gone = true
	for _, forget := range forget {
		forget(n.Name)
	}
}

// Resolved returns a metric that is kept, looked up the first time; nil if the node is
// gone.
func Resolved[M any](n *Node, kept *atomic.Pointer[M], lookUp func() M) *M {
	if known := kept.Load(); known != nil {
		return known
	}
	n.IfKnown(func() {
		metric := lookUp()
		kept.Store(&metric)
	})
	return kept.Load()
}
