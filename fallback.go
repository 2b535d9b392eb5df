package tigergraph

import (
	"context"
	"net/http"
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

// leaveCompany takes a request whose answer begins out of its company.
func leaveCompany(r *http.Request) {
	for v := newestOf(r); v != nil; v = v.others {
		if v.leave != nil {
			v.leave()
		}
	}
}
