package tigergraph

import (
	"context"
	"net/http"
	"net/http/httptrace"
	"slices"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
	"github.com/cespare/xxhash/v2"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/balance"
	"github.com/caddy-tigergraph/caddy-tigergraph/internal/service"
)

// isFallbackDue reports whether the fallback policy has a say in a request
// without a valid cookie: only a browser's, for nobody else keeps the answer.
func (c *call) isFallbackDue() bool {
	return c.policy.fallback != nil && c.service == service.GUI && c.writer != nil
}

// askFallback lets the fallback policy choose among the candidates.
func (c *call) askFallback(tiers []balance.Tier, best balance.Tier) int {
	var candidates reverseproxy.UpstreamPool
	for i, upstream := range c.pool {
		if tiers[i] == best {
			candidates = append(candidates, upstream)
		}
	}
	chosen := c.policy.fallback.Select(candidates, c.request, c.writer)
	if chosen == nil {
		return balance.None
	}
	return slices.Index(c.pool, chosen)
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
		v.pinned.requests.ifKnown(func() { displacedTotal.WithLabelValues(v.pinned.Address).Inc() })
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

// leaveCompany takes a request whose answer begins out of its company.
func leaveCompany(r *http.Request) {
	for v := newestOf(r); v != nil; v = v.others {
		for _, leave := range v.leave {
			leave()
		}
	}
}
