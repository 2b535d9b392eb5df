package affinity

import (
	"sync"
	"time"
)

// Companies are the requests of browsers without a node that are unanswered: tabs
// that a browser restores together ask at once, each without a cookie, and belong on
// one node. Nothing is remembered of a browser once none of its requests is
// unanswered; of one that has lost its node with a session, for a moment more. N is
// what names a node.
type Companies[N comparable] struct {
	mu        sync.Mutex
	byBrowser map[Browser[N]]*Company[N]
}

// Browser is a client as well as it can be told from others without a cookie of ours:
// by its address and its own name. One that has lost a node has more: other cookies.
type Browser[N comparable] struct {
	Address, Agent uint64
	Lost           N
	Cookies        uint64 // 0 if there are none
}

const (
	// straggling is for how long requests may arrive that a browser has sent before
	// it was told to which node it has been moved. The cookie of their answers would
	// move it once more, and may cost a session that it has begun meanwhile.
	straggling = 5 * time.Second
	// mostStraggling bounds the memory of browsers to a few megabytes.
	mostStraggling = 1 << 16
)

// Company is the unanswered requests of one browser.
type Company[N comparable] struct {
	of      *Companies[N]
	browser Browser[N]
	// size is how many there are, and counted whether the browser is counted as one
	// that has lost its node; guarded by of.mu.
	size    int
	counted bool

	mu   sync.Mutex
	node N // where they go
}

// Join makes a request one of a browser's unanswered ones.
func (c *Companies[N]) Join(browser Browser[N]) *Company[N] {
	c.mu.Lock()
	defer c.mu.Unlock()
	joined := c.byBrowser[browser]
	if joined == nil {
		if c.byBrowser == nil {
			c.byBrowser = make(map[Browser[N]]*Company[N])
		}
		joined = &Company[N]{of: c, browser: browser}
		c.byBrowser[browser] = joined
	}
	joined.size++
	return joined
}

// Len returns how many browsers are remembered.
func (c *Companies[N]) Len() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.byBrowser)
}

// Place has the node of a request chosen by who knows where the earlier ones went: N's
// zero value if this is the first.
func (c *Company[N]) Place(choose func(earlier N) N) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.node = choose(c.node)
}

// Leave takes a request out of the company.
func (c *Company[N]) Leave() {
	c.of.mu.Lock()
	defer c.of.mu.Unlock()
	switch c.size--; {
	case c.size > 0:
	case c.browser.Cookies != 0 && len(c.of.byBrowser) < mostStraggling:
		time.AfterFunc(straggling, c.end)
	default:
		delete(c.of.byBrowser, c.browser)
	}
}

// end forgets the company, unless somebody has joined it again.
func (c *Company[N]) end() {
	c.of.mu.Lock()
	defer c.of.mu.Unlock()
	if c.size == 0 && c.of.byBrowser[c.browser] == c {
		delete(c.of.byBrowser, c.browser)
	}
}

// Count reports whether the browser is yet to be counted, and is from now on.
func (c *Company[N]) Count() (first bool) {
	c.of.mu.Lock()
	defer c.of.mu.Unlock()
	first = !c.counted
	c.counted = true
	return first
}
