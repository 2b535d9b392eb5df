package tigergraph

import (
	"github.com/caddy-tigergraph/caddy-tigergraph/internal/asyncquery"
	"github.com/caddy-tigergraph/caddy-tigergraph/internal/service"
)

// queryHolder returns the node that alone knows the asynchronous query a request
// is about, nil if it is about none that any node knows.
func (c *call) queryHolder() *member {
	if c.service != service.RESTPP || !asyncquery.IsFollowUp(c.request.URL.Path) || c.policy.app == nil {
		return nil
	}
	if m := c.rememberedHolder(); m != nil {
		return m
	}
	return c.searchQuery()
}

// rememberedHolder returns the node that is remembered for a query.
func (c *call) rememberedHolder() *member {
	for address := range c.policy.app.fleet.Queries.Nodes(c.request.URL.RawQuery) {
		if m := c.memberAt(address); m != nil {
			return m
		}
	}
	return nil
}
