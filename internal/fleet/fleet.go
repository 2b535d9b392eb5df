// Package fleet holds what outlives a configuration. It knows nothing of Caddy.
package fleet

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/affinity"
	"github.com/caddy-tigergraph/caddy-tigergraph/internal/asyncquery"
	"github.com/caddy-tigergraph/caddy-tigergraph/internal/cookiekey"
	"github.com/caddy-tigergraph/caddy-tigergraph/internal/health"
	"github.com/caddy-tigergraph/caddy-tigergraph/internal/history"
)

// How long it is remembered which node knows what, and of how much. Each of these
// memories takes some megabytes at most.
const (
	// TigerGraph keeps the results of asynchronous queries for so long
	// (RESTPP.AsyncQuery.ResultFileMaxDurationDay).
	keepQueries = 48 * time.Hour
	mostQueries = 1 << 16
	// keepSessions is how long a GSQL session is remembered after its last use, as
	// long as TigerGraph's own sessions last.
	keepSessions = 24 * time.Hour
	mostSessions = 1 << 16
	// MostMoved is how many moved clients are remembered.
	MostMoved = 1 << 16
	// mostTransitions is how many changes of nodes are shown.
	mostTransitions = 200
)

// Fleet is what is known of the nodes beyond the life of one configuration. The
// configurations before and after a reload share one; it is gone with the last that
// uses it.
//
// A node or a prober is there for as long as somebody has acquired it and not released
// it. A drain, a verdict and the counters of a node so survive a reload that keeps the
// node, and nothing is left of one that is gone.
type Fleet struct {
	// History is what has changed of the nodes.
	History *history.Log
	// Queries, Searches and Sessions say which node knows an asynchronous query or a
	// GSQL session.
	Queries  *asyncquery.Memory
	Searches asyncquery.Searches
	Sessions *affinity.Sessions
	// Moved is where clients are that had to leave their node.
	Moved *affinity.Moved
	// Keys are those of the cookies that were read from storages.
	Keys cookiekey.Known
	// Authorities tells probers apart by whom they trust.
	Authorities Authorities

	observer Observer
	changes  atomic.Uint64
	pace     health.Pace // of all first probes

	mu      sync.Mutex
	nodes   map[string]*held[*Node]
	probers map[string]*held[*Prober]
	byKin   map[string][]*Prober
}

// Observer is told what comes and goes. It is called in the order in which this
// happens, under the fleet's lock, and must not call the fleet.
type Observer interface {
	// NodeJoined returns what the observer wants to have kept with the node.
	NodeJoined(address string) (attached any)
	NodeLeft(n *Node)
	// ProberJoined and ProberLeft tell of one of the probers of a node.
	ProberJoined(p *Prober)
	ProberLeft(p *Prober)
}

// held is something that is shared, and by how many.
type held[T any] struct {
	value T
	count int
}

// New returns a fleet without nodes.
func New(observer Observer) *Fleet {
	return &Fleet{
		History:  history.New(mostTransitions),
		Queries:  asyncquery.NewMemory(keepQueries, mostQueries),
		Sessions: affinity.NewSessions(keepSessions, mostSessions),
		Moved:    affinity.NewMoved(MostMoved),
		observer: observer,
		nodes:    make(map[string]*held[*Node]),
		probers:  make(map[string]*held[*Prober]),
		byKin:    make(map[string][]*Prober),
	}
}

// Tidy frees the memory of what has not been used for long.
func (f *Fleet) Tidy() {
	f.Queries.Tidy()
	f.Sessions.Tidy()
	f.Moved.Tidy()
}

// NoteChange notes that what a node may be sent has changed, but for the verdicts:
// that a drain began or ended, or that another cluster is the active one.
func (f *Fleet) NoteChange() { f.changes.Add(1) }

// Changes returns a number that is another one after each change of what a node may
// be sent.
func (f *Fleet) Changes() uint64 { return f.changes.Load() + health.Changes() }

// Node acquires the node with this address.
func (f *Fleet) Node(address string) *Node {
	f.mu.Lock()
	defer f.mu.Unlock()
	h := f.nodes[address]
	if h == nil {
		h = &held[*Node]{value: &Node{Address: address, Attached: f.observer.NodeJoined(address), fleet: f}}
		f.nodes[address] = h
	}
	h.count++
	return h.value
}

// ReleaseNode gives up a node. What it is can still be read.
func (f *Fleet) ReleaseNode(n *Node) {
	f.mu.Lock()
	defer f.mu.Unlock()
	h := f.nodes[n.Address]
	if h == nil || h.value != n {
		return
	}
	if h.count--; h.count == 0 {
		delete(f.nodes, n.Address)
		n.leave()
		f.observer.NodeLeft(n)
	}
}

// Nodes returns the nodes there are.
func (f *Fleet) Nodes() []*Node {
	f.mu.Lock()
	defer f.mu.Unlock()
	nodes := make([]*Node, 0, len(f.nodes))
	for _, h := range f.nodes {
		nodes = append(nodes, h.value)
	}
	return nodes
}

// Follow makes the operator's word true of all nodes.
func (f *Fleet) Follow(word Word, now time.Time) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, h := range f.nodes {
		h.value.Follow(word, now)
	}
}

// Count returns how many nodes and probers there are.
func (f *Fleet) Count() (nodes, probers int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return len(f.nodes), len(f.probers)
}
