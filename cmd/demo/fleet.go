package main

import (
	_ "embed"
	"fmt"
	"strings"
	"sync"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/tgnode"
)

// page is what every node serves at /: a page that came from one server could
// not outlive that server.
//
//go:embed page/index.html
var page []byte

const nodeCount = 3

// fleet is the stand-in nodes, and what the edge's log tells about them.
type fleet struct {
	cluster *tgnode.Cluster
	out     *terminal

	mu       sync.Mutex
	stopped  map[string]bool // by name
	answered map[string]int  // requests by address
}

// nodeStatus is what the page and the command "status" show of a node.
type nodeStatus struct {
	Name     string `json:"name"`
	Address  string `json:"address"`
	Up       bool   `json:"up"`
	Sessions int    `json:"sessions"`
	// Requests counts those of clients; the edge's health checks do not confuse it.
	Requests int `json:"requests"`
}

func startFleet(out *terminal) (*fleet, error) {
	f := &fleet{
		cluster:  tgnode.NewCluster(),
		out:      out,
		stopped:  make(map[string]bool),
		answered: make(map[string]int),
	}
	for range nodeCount {
		if _, err := f.cluster.Start(tgnode.Options{Index: page}); err != nil {
			f.close()
			return nil, fmt.Errorf("starting a node: %w", err)
		}
	}
	return f, nil
}

func (f *fleet) close() { f.cluster.Close() }

func (f *fleet) addresses() []string {
	var addresses []string
	for _, n := range f.cluster.Nodes() {
		addresses = append(addresses, n.Addr())
	}
	return addresses
}

func (f *fleet) status() []nodeStatus {
	f.mu.Lock()
	defer f.mu.Unlock()
	var all []nodeStatus
	for _, n := range f.cluster.Nodes() {
		all = append(all, f.statusOf(n))
	}
	return all
}

// statusOf wants f.mu held.
func (f *fleet) statusOf(n *tgnode.Node) nodeStatus {
	return nodeStatus{
		Name:     n.Name(),
		Address:  n.Addr(),
		Up:       !f.stopped[n.Name()],
		Sessions: n.Sessions(),
		Requests: f.answered[n.Addr()],
	}
}

// unknownNodeError is the name of a node that does not exist.
type unknownNodeError struct {
	name  string
	known []string
}

func (e *unknownNodeError) Error() string {
	return fmt.Sprintf("no node is called %q; there are %s", e.name, strings.Join(e.known, ", "))
}

func (f *fleet) node(name string) (*tgnode.Node, error) {
	if n := f.cluster.Node(name); n != nil {
		return n, nil
	}
	unknown := &unknownNodeError{name: name}
	for _, n := range f.cluster.Nodes() {
		unknown.known = append(unknown.known, n.Name())
	}
	return nil, unknown
}

// stop switches a node off, as a power cut would.
func (f *fleet) stop(name string) (nodeStatus, error) {
	n, err := f.node(name)
	if err != nil {
		return nodeStatus{}, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.stopped[name] {
		f.out.event("%s is stopped already", name)
		return f.statusOf(n), nil
	}
	lost := n.Sessions()
	n.Stop()
	f.stopped[name] = true
	switch lost {
	case 0:
		f.out.event("%s stopped; it held no session", name)
	case 1:
		f.out.event("%s stopped, and the session it held is gone", name)
	default:
		f.out.event("%s stopped, and the %d sessions it held are gone", name, lost)
	}
	return f.statusOf(n), nil
}

// start switches a node on again.
func (f *fleet) start(name string) (nodeStatus, error) {
	n, err := f.node(name)
	if err != nil {
		return nodeStatus{}, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.stopped[name] {
		f.out.event("%s runs already", name)
		return f.statusOf(n), nil
	}
	if err := n.Start(); err != nil {
		return f.statusOf(n), err
	}
	f.stopped[name] = false
	f.out.event("%s started, without any session; those who moved away stay where they are", name)
	return f.statusOf(n), nil
}

// observe takes note of a request that the edge has answered.
func (f *fleet) observe(r loggedRequest) {
	if r.isUnanswered() {
		f.out.eventOnce("no node could answer %s %s", r.Request.Method, r.Request.URI)
		return
	}
	f.mu.Lock()
	f.answered[r.Node]++
	f.mu.Unlock()
	if r.Affinity == "failover" {
		f.out.eventOnce("failover: %s answered %s %s (%d) in place of the client's own node",
			f.nameOf(r.Node), r.Request.Method, r.Request.URI, r.Status)
	}
}

func (f *fleet) nameOf(address string) string {
	for _, n := range f.cluster.Nodes() {
		if n.Addr() == address {
			return n.Name()
		}
	}
	return address
}
