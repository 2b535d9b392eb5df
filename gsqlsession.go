package tigergraph

import (
	"net/http"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/affinity"
	"github.com/caddy-tigergraph/caddy-tigergraph/internal/service"
)

// sessionHolder returns the node that the client's GSQL session was begun on, nil if
// the request belongs to none that is known.
func (c *call) sessionHolder() *member {
	if c.service != service.GSQL || c.policy.app == nil {
		return nil
	}
	for address := range c.policy.app.fleet.Sessions.Nodes(affinity.SessionOf(c.request.Header)) {
		if m := c.memberAt(address); m != nil {
			return m
		}
	}
	return nil
}

// rememberSession notes which node begins a GSQL session by its answer.
func rememberSession(r *http.Request, answer http.Header) {
	id := affinity.SessionBegun(answer)
	if id == "" || service.Of(asSent(r).URL.Path) != service.GSQL {
		return
	}
	policy, _ := choiceFor(r)
	if chosen := chosenFor(r); policy != nil && policy.app != nil && len(chosen) > 0 {
		policy.app.fleet.Sessions.Remember(id, chosen[0].Address)
	}
}
