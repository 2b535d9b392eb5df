package tgnode

import (
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"
)

// Password is the password of every user on every node; any user name will do.
const Password = "tigergraph"

// Cluster is what the nodes of one TigerGraph cluster share.
type Cluster struct {
	ledger   *Ledger
	sequence atomic.Int64 // of asynchronous queries, GSQL sessions and dialogs

	mu       sync.Mutex
	nodes    []*Node
	leader   *Node // of GSQL; nil during an election
	election *time.Timer
	closed   bool
}

// NewCluster returns a cluster without nodes.
func NewCluster() *Cluster {
	return &Cluster{ledger: newLedger()}
}

// CountFrom has the next asynchronous query, GSQL session or dialog be the one after this
// number: clusters in several processes can tell theirs apart.
func (c *Cluster) CountFrom(number int64) { c.sequence.Store(number) }

// Ledger returns the list of what the nodes executed.
func (c *Cluster) Ledger() *Ledger { return c.ledger }

// Nodes returns the nodes in the order of their start, stopped ones included.
func (c *Cluster) Nodes() []*Node {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([]*Node(nil), c.nodes...)
}

// Node returns the node with this name, or nil.
func (c *Cluster) Node(name string) *Node {
	for _, n := range c.Nodes() {
		if n.Name() == name {
			return n
		}
	}
	return nil
}

// Start adds a node to the cluster; it listens when Start returns. The first
// node that has a GSQL server leads GSQL.
func (c *Cluster) Start(options Options) (*Node, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return nil, errors.New("cluster is closed")
	}
	node := newNode(c, len(c.nodes)+1, options)
	for _, other := range c.nodes {
		if other.name == node.name {
			return nil, fmt.Errorf("a node is already called %s", node.name)
		}
	}
	if err := node.Start(); err != nil {
		return nil, err
	}
	c.nodes = append(c.nodes, node)
	if c.leader == nil && c.election == nil && !options.NoGSQL {
		c.leader = node
	}
	return node, nil
}

// Leader returns the name of the GSQL leader, or "" during an election.
func (c *Cluster) Leader() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.leader == nil {
		return ""
	}
	return c.leader.name
}

// SwitchLeader takes the lead of GSQL from the present leader. There is none
// for the time of the outage, and GSQL executes nothing; then the named node
// leads, and every GSQL session of the cluster is gone.
func (c *Cluster) SwitchLeader(name string, outage time.Duration) error {
	next := c.Node(name)
	if next == nil {
		return fmt.Errorf("no node is called %s", name)
	}
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return errors.New("cluster is closed")
	}
	if c.election != nil {
		c.election.Stop()
		c.election = nil
	}
	c.leader = nil
	if outage > 0 {
		var election *time.Timer
		election = time.AfterFunc(outage, func() {
			c.mu.Lock()
			current := c.election == election
			c.mu.Unlock()
			if current {
				c.elect(next)
			}
		})
		c.election = election
	}
	c.mu.Unlock()
	if outage <= 0 {
		c.elect(next)
	}
	return nil
}

func (c *Cluster) elect(next *Node) {
	for _, n := range c.Nodes() {
		n.gsql.clear()
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.leader, c.election = next, nil
}

// gsqlExecutor returns the leader if it can work: followers forward to it.
func (c *Cluster) gsqlExecutor() *Node {
	c.mu.Lock()
	leader := c.leader
	c.mu.Unlock()
	if leader == nil || !leader.serves(GSQL) {
		return nil
	}
	return leader
}

// Close closes all nodes.
func (c *Cluster) Close() {
	c.mu.Lock()
	c.closed = true
	if c.election != nil {
		c.election.Stop()
		c.election = nil
	}
	c.mu.Unlock()
	for _, n := range c.Nodes() {
		n.Close()
	}
}
