package tigergraph

import (
	"context"
	"net/http"
	"net/http/httptrace"
	"sync"

	"github.com/cespare/xxhash/v2"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/balance"
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

// joinOrAskFallback returns the place of the node that an unanswered request of the
// same client went to, if it is a candidate, else of the one that the fallback
// policy chooses.
func (c *call) joinOrAskFallback(v *visit, tiers []balance.Tier, best balance.Tier) int {
	if v.company == nil {
		v.company, _ = c.join(v, browser{address: v.key, agent: xxhash.Sum64String(c.request.UserAgent())})
	}
	v.company.mu.Lock()
	defer v.company.mu.Unlock()
	if m := v.company.member; m != nil {
		if i := c.position(m); i != balance.None && tiers[i] == best {
			return i
		}
	}
	i := c.askFallback(tiers, best)
	if i != balance.None {
		v.company.member = c.roster.byPool[i]
	}
	return i
}

// countDisplaced counts a browser whose node could not be used. One that has several
// requests under way loses its node with each of them, and is counted once.
func (c *call) countDisplaced(v *visit) {
	v.displaced = true
	var others xxhash.Digest
	others.Reset()
	for _, line := range c.request.Header["Cookie"] {
		_, _ = others.WriteString(line) // which never fails
	}
	client := browser{address: v.key, agent: xxhash.Sum64String(c.request.UserAgent()), lost: v.pinned, cookies: others.Sum64()}
	if _, first := c.join(v, client); first {
		displacedTotal.WithLabelValues(v.pinned.address).Inc()
	}
}

// join makes a request one of its client's unanswered ones, and reports whether it is
// the only one. It leaves when the header of its answer goes out, as the middleware
// tells. Where there is none, it does when the answer begins to arrive: one that is
// endless is an answer. Whatever ends a request without an answer ends its context.
func (c *call) join(v *visit, client browser) (joined *company, first bool) {
	joined, first = c.policy.companies.join(client)
	leave := joined.leaver()
	v.leave = append(v.leave, leave)
	context.AfterFunc(c.request.Context(), leave)
	if c.writer != nil && !isWithinAnother(c.writer) {
		// The request is the proxy's own copy, which it sends by this context.
		*c.request = *c.request.WithContext(httptrace.WithClientTrace(c.request.Context(), &httptrace.ClientTrace{GotFirstResponseByte: leave}))
	}
	return joined, first
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

// leaveCompany takes a request whose answer begins out of its company.
func leaveCompany(r *http.Request) {
	for v := newestOf(r); v != nil; v = v.others {
		for _, leave := range v.leave {
			leave()
		}
	}
}
