package tigergraph

import (
	"sync"
)

// companies are the requests of clients without a node that are unanswered: tabs
// that a browser restores together ask at once, each without a cookie, and belong on
// one node, whatever the fallback policy would say of each. Nothing is remembered of
// a client once none of its requests is unanswered.
type companies struct {
	mu       sync.Mutex
	byClient map[browser]*company
}

// browser is a client as well as it can be told from others without a cookie of ours:
// by its address and its own name. One that has lost a node has more: other cookies.
type browser struct {
	address, agent uint64
	lost           *member
	cookies        uint64
}

// company is the unanswered requests of one client.
type company struct {
	of     *companies
	client browser
	size   int // guarded by of.mu

	mu     sync.Mutex
	member *member // where they go; nil until the first of them is placed
}

// join makes a request one of a client's unanswered ones, and reports whether it is the
// only one.
func (c *companies) join(client browser) (joined *company, first bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	joined = c.byClient[client]
	if joined == nil {
		if c.byClient == nil {
			c.byClient = make(map[browser]*company)
		}
		joined = &company{of: c, client: client}
		c.byClient[client] = joined
	}
	joined.size++
	return joined, joined.size == 1
}

// leaver returns what takes a request out of the company, the first time that it is
// called.
func (c *company) leaver() func() {
	return sync.OnceFunc(func() {
		c.of.mu.Lock()
		defer c.of.mu.Unlock()
		if c.size--; c.size == 0 {
			delete(c.of.byClient, c.client)
		}
	})
}
