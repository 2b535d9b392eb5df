package tigergraph

import (
	"context"
	"net/http"
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
	byClient map[uint64]*company
}

// company is the unanswered requests of one client.
type company struct {
	of     *companies
	client uint64
	size   int // guarded by of.mu

	mu     sync.Mutex
	member *member // where they go; nil until the first of them is placed
}

// joinOrAskFallback returns the place of the node that an unanswered request of the
// same client went to, if it is a candidate, else of the one that the fallback
// policy chooses.
func (c *call) joinOrAskFallback(v *visit, tiers []balance.Tier, best balance.Tier) int {
	if v.company == nil {
		v.company = c.policy.companies.join(c.companyKey(v.key))
		// The middleware tells when the answer begins; without it, what ends the
		// request does.
		v.leave = v.company.leaver()
		context.AfterFunc(c.request.Context(), v.leave)
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

// companyKey identifies a browser as well as it can be without a cookie: by its
// address and its own name.
func (c *call) companyKey(key uint64) uint64 {
	return key ^ xxhash.Sum64String(c.request.UserAgent())
}

// join makes a request one of a client's unanswered ones.
func (c *companies) join(client uint64) *company {
	c.mu.Lock()
	defer c.mu.Unlock()
	joined := c.byClient[client]
	if joined == nil {
		if c.byClient == nil {
			c.byClient = make(map[uint64]*company)
		}
		joined = &company{of: c, client: client}
		c.byClient[client] = joined
	}
	joined.size++
	return joined
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
		if v.leave != nil {
			v.leave()
		}
	}
}
