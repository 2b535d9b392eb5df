package main

import (
	_ "embed"
	"errors"
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

const (
	nodeCount    = 3
	standbyCount = 2

	// The two clusters.
	primary = "primary"
	standby = "dr"
)

// fleet is the stand-in nodes of two clusters, and what the edge's log tells about
// them.
type fleet struct {
	cluster, standby *tgnode.Cluster
	out              *terminal

	mu       sync.Mutex
	stopped  map[string]bool // by name
	answered map[string]int  // requests by address
	active   string          // the cluster that gets the requests
}

// nodeStatus is what the page and the command "status" show of a node.
type nodeStatus struct {
	Name     string `json:"name"`
	Address  string `json:"address"`
	Cluster  string `json:"cluster"`
	Active   bool   `json:"active"` // its cluster gets the requests
	Up       bool   `json:"up"`
	Sessions int    `json:"sessions"`
	// Requests counts those of clients; the edge's health checks do not confuse it.
	Requests int `json:"requests"`
}

func startFleet(out *terminal) (*fleet, error) {
	f := &fleet{
		cluster:  tgnode.NewCluster(),
		standby:  tgnode.NewCluster(),
		out:      out,
		active:   primary,
		stopped:  make(map[string]bool),
		answered: make(map[string]int),
	}
	start := func(cluster *tgnode.Cluster, name string, count int) error {
		for i := range count {
			if _, err := cluster.Start(tgnode.Options{Name: fmt.Sprintf("%s%d", name, i+1), Index: page}); err != nil {
				return fmt.Errorf("starting a node: %w", err)
			}
		}
		return nil
	}
	if err := errors.Join(start(f.cluster, "m", nodeCount), start(f.standby, standby, standbyCount)); err != nil {
		f.close()
		return nil, err
	}
	return f, nil
}

func (f *fleet) close() {
	f.cluster.Close()
	f.standby.Close()
}

// all returns the nodes of both clusters.
func (f *fleet) all() []*tgnode.Node { return append(f.cluster.Nodes(), f.standby.Nodes()...) }

func addresses(cluster *tgnode.Cluster) (list []string) {
	for _, n := range cluster.Nodes() {
		list = append(list, n.Addr())
	}
	return list
}

// activate takes note of the cluster that gets the requests from now on.
func (f *fleet) activate(cluster string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.active = cluster
}

func (f *fleet) status() []nodeStatus {
	f.mu.Lock()
	defer f.mu.Unlock()
	var all []nodeStatus
	for _, n := range f.all() {
		all = append(all, f.statusOf(n))
	}
	return all
}

// statusOf wants f.mu held.
func (f *fleet) statusOf(n *tgnode.Node) nodeStatus {
	cluster := primary
	if f.standby.Node(n.Name()) != nil {
		cluster = standby
	}
	return nodeStatus{
		Name:     n.Name(),
		Address:  n.Addr(),
		Cluster:  cluster,
		Active:   cluster == f.active,
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
	unknown := &unknownNodeError{name: name}
	for _, n := range f.all() {
		if n.Name() == name {
			return n, nil
		}
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
	for _, n := range f.all() {
		if n.Addr() == address {
			return n.Name()
		}
	}
	return address
}
