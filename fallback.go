package tigergraph

import (
	"slices"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

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
