package tigergraph

import (
	"net/http"
	"strings"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/affinity"
	"github.com/caddy-tigergraph/caddy-tigergraph/internal/service"
)

// sessionHolder returns the node that the client's GSQL session was begun on, nil if
// the request belongs to none that is known.
func (c *call) sessionHolder() *member {
	if c.service != service.GSQL || c.policy.app == nil {
		return nil
	}
	for address := range c.policy.app.fleet.Sessions.Nodes(sessionOf(c.request.Header)) {
		if m := c.memberAt(address); m != nil {
			return m
		}
	}
	return nil
}

// sessionOf returns the id of the GSQL session that a request belongs to. Clients up
// to 3.6.1 send its raw JSON as a cookie.
func sessionOf(header http.Header) string {
	for _, field := range [...]string{"Gsql-Cookie", "Cookie"} {
		for _, value := range header[field] {
			if strings.IndexByte(value, '{') < 0 {
				continue
			}
			if id := affinity.SessionID(value); id != "" {
				return id
			}
		}
	}
	return ""
}

// rememberSession notes which node begins a GSQL session by its answer.
func rememberSession(r *http.Request, answer http.Header) {
	if service.Of(r.URL.Path) != service.GSQL {
		return
	}
	id := ""
	for _, field := range [...]string{"Set-Gsql-Cookie", "Set-Cookie"} {
		for _, value := range answer[field] {
			if id == "" && strings.IndexByte(value, '{') >= 0 {
				id = affinity.SessionID(value)
			}
		}
	}
	if id == "" {
		return
	}
	policy, _ := choiceFor(r)
	if chosen := chosenFor(r); policy != nil && policy.app != nil && len(chosen) > 0 {
		policy.app.fleet.Sessions.Remember(id, chosen[0].Address)
	}
}
