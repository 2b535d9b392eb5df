package tigergraph

import (
	"github.com/caddy-tigergraph/caddy-tigergraph/internal/affinity"
	"github.com/caddy-tigergraph/caddy-tigergraph/internal/balance"
	"github.com/caddy-tigergraph/caddy-tigergraph/internal/service"
)

// cutCookie removes our cookie from the request, for the node must not see it,
// and returns the place in the pool of the node that it names if it is valid,
// else NoPin.
func (c *call) cutCookie() (pin int, current bool) {
	values := c.request.Header["Cookie"]
	if len(values) == 0 {
		return balance.None, false
	}
	var pinned *member
	tokens := c.tokens()
	left := affinity.CutCookie(values, c.policy.cookie.name, func(value string) {
		if pinned != nil || tokens == nil {
			return
		}
		pin, valid := tokens.Lookup(value)
		if !valid {
			// A dynamic pool may hold nodes that no request has met yet; after a
			// reload these are all.
			c.align()
			if c.roster.tokens == tokens {
				return
			}
			tokens = c.tokens()
			pin, valid = tokens.Lookup(value)
		}
		if valid {
			pinned, current = c.roster.members[pin.Node], pin.Current
		}
	})
	if left == nil {
		delete(c.request.Header, "Cookie")
	} else {
		c.request.Header["Cookie"] = left
	}
	if pinned == nil {
		return balance.None, false
	}
	pin = c.position(pinned) // NoPin if it was removed from the pool
	return pin, current && pin != balance.None
}

// tokens returns the valid tokens. The server may get a request before the app
// has started and read their key; the request waits for that.
func (c *call) tokens() *affinity.Tokens {
	if c.roster.tokens == nil {
		if err := c.policy.readyCookies(); err != nil {
			return nil // the app's start fails with the same error
		}
		c.roster, c.aligned = c.policy.roster.Load(), false
	}
	return c.roster.tokens
}

// setCookie pins a browser to a node.
func (c *call) setCookie(m *member, secure bool) {
	p := c.policy
	if p.cookie == nil || c.service != service.GUI || c.writer == nil || c.tokens() == nil {
		return
	}
	header, line := c.writer.Header(), c.roster.cookies[m.index].line(secure)
	if values := header["Set-Cookie"]; values == nil {
		header["Set-Cookie"] = []string{line}
	} else {
		header["Set-Cookie"] = affinity.ReplaceCookie(values, p.cookie.name, line)
	}
}

// takeBackCookie removes the cookie that an earlier attempt left.
func (c *call) takeBackCookie() {
	p := c.policy
	if p.cookie == nil || c.writer == nil {
		return
	}
	header := c.writer.Header()
	if values, set := header["Set-Cookie"]; set {
		if values = affinity.ReplaceCookie(values, p.cookie.name, ""); len(values) > 0 {
			header["Set-Cookie"] = values
		} else {
			delete(header, "Set-Cookie")
		}
	}
}
