package tigergraph

import (
	"context"
	"net/http"
	"net/http/httptrace"
	"sync"
	"time"

	"github.com/cespare/xxhash/v2"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/balance"
)

// companies are the requests of clients without a node that are unanswered: tabs
// that a browser restores together ask at once, each without a cookie, and belong on
// one node, whatever the fallback policy would say of each. Nothing is remembered of
// a client once none of its requests is unanswered; of one that has lost its node with
// a session, for a moment more.
type companies struct {
	mu       sync.Mutex
	byClient map[browser]*company
}

// browser is a client as well as it can be told from others without a cookie of ours:
// by its address and its own name. One that has lost a node has more: other cookies.
type browser struct {
	address, agent uint64
	lost           *member
	cookies        uint64 // 0 if there are none
}

// straggling is for how long requests may arrive that a browser has sent before it was
// told to which node it has been moved. The cookie of their answers would move it once
// more, and may cost a session that it has begun meanwhile.
const straggling = 5 * time.Second

// company is the unanswered requests of one client.
type company struct {
	of     *companies
	client browser
	// size is how many there are, and counted whether the client is counted as one
	// that has lost its node; guarded by of.mu.
	size    int
	counted bool

	mu     sync.Mutex
	member *member // where they go; nil until the first of them is placed
}

// joinOrAskFallback returns the place of the node that an unanswered request of the
// same client went to, if it is a candidate, else of the one that the fallback
// policy chooses.
func (c *call) joinOrAskFallback(v *visit, tiers []balance.Tier, best balance.Tier) int {
	if v.company == nil {
		c.joinCompany(v)
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
	if v.company == nil {
		c.joinCompany(v)
	}
	if v.company.count() {
		displacedTotal.WithLabelValues(v.pinned.address).Inc()
	}
}

// joinCompany makes a request one of its client's unanswered ones. It leaves when the
// header of its answer goes out, as the middleware tells. Where there is none, it does
// when the answer begins to arrive: one that is endless is an answer. Whatever ends a
// request without an answer ends its context.
func (c *call) joinCompany(v *visit) {
	client := browser{address: v.key, agent: xxhash.Sum64String(c.request.UserAgent())}
	if v.pinned != nil {
		client.lost, client.cookies = v.pinned, hashOf(c.request.Header["Cookie"])
	}
	v.company = c.policy.companies.join(client)
	v.leave = sync.OnceFunc(v.company.leave)
	context.AfterFunc(c.request.Context(), v.leave)
	if c.writer != nil && !isWithinAnother(c.writer) {
		// The request is the proxy's own copy, which it sends by this context.
		*c.request = *c.request.WithContext(httptrace.WithClientTrace(c.request.Context(), &httptrace.ClientTrace{GotFirstResponseByte: v.leave}))
	}
}

// hashOf returns a hash of a field's values, 0 if there are none.
func hashOf(values []string) uint64 {
	if len(values) == 0 {
		return 0
	}
	digest := xxhash.New()
	for _, value := range values {
		_, _ = digest.WriteString(value) // which never fails
	}
	return digest.Sum64()
}

// join makes a request one of a client's unanswered ones.
func (c *companies) join(client browser) *company {
	c.mu.Lock()
	defer c.mu.Unlock()
	joined := c.byClient[client]
	if joined == nil {
		if c.byClient == nil {
			c.byClient = make(map[browser]*company)
		}
		joined = &company{of: c, client: client}
		c.byClient[client] = joined
	}
	joined.size++
	return joined
}

// leave takes a request out of the company.
func (c *company) leave() {
	c.of.mu.Lock()
	defer c.of.mu.Unlock()
	switch c.size--; {
	case c.size > 0:
	case c.client.cookies != 0 && len(c.of.byClient) < mostMoved:
		time.AfterFunc(straggling, c.end)
	default:
		delete(c.of.byClient, c.client)
	}
}

// end forgets the company, unless somebody has joined it again.
func (c *company) end() {
	c.of.mu.Lock()
	defer c.of.mu.Unlock()
	if c.size == 0 && c.of.byClient[c.client] == c {
		delete(c.of.byClient, c.client)
	}
}

// count reports whether the client is yet to be counted, and is from now on.
func (c *company) count() (first bool) {
	c.of.mu.Lock()
	defer c.of.mu.Unlock()
	first = !c.counted
	c.counted = true
	return first
}

// leaveCompany takes a request whose answer begins out of its company.
func leaveCompany(r *http.Request) {
	for v := newestOf(r); v != nil; v = v.others {
		if v.leave != nil {
			v.leave()
		}
	}
}
