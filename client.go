package tigergraph

import (
	"net/http"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/affinity"
	"github.com/caddy-tigergraph/caddy-tigergraph/internal/balance"
	"github.com/caddy-tigergraph/caddy-tigergraph/internal/service"
)

// clientKey returns the key that a client without a cookie is known by.
func (c *call) clientKey() uint64 {
	if c.policy.hashed == balance.Header {
		if value := c.request.Header.Get(c.policy.Header); value != "" {
			return affinity.ValueKey(value)
		}
	}
	client, _ := c.vars[caddyhttp.ClientIPVarKey].(string)
	return c.policy.prefixes.Key(client)
}

// hashedBy returns what a client without a node is hashed by: its address, also
// where the header of the affinity `header` is missing.
func (c *call) hashedBy() balance.Reason {
	if c.policy.hashed == balance.Header && c.request.Header.Get(c.policy.Header) == "" {
		return balance.ClientIP
	}
	return c.policy.hashed
}

// isKnownByKey reports whether the client gets no cookie with the answer.
func (c *call) isKnownByKey() bool {
	return c.policy.cookie == nil || c.service != service.GUI || c.writer == nil
}

// beginsSession reports whether a request begins a new session on a node that is
// draining, by a password: it may as well begin on another. So drains come to an
// end.
func (c *call) beginsSession(pinned int) bool {
	m := c.roster.byPool[pinned]
	return c.service == service.GUI && c.request.Method == http.MethodPost &&
		(m.isDraining() || m.cluster == c.roster.kept) && service.Clean(c.request.URL.Path) == "/api/auth/login"
}

func (c *call) isSecure() bool { return isSecure(c.request, c.vars, c.policy.proxyTrusts) }

// isSecure reports whether a client came over TLS: to us, or to a proxy in front
// of us that says so, if it is trusted by the server or, as given, by our proxy.
func isSecure(r *http.Request, vars map[string]any, proxyTrusts bool) bool {
	if r.TLS != nil {
		return true
	}
	if trusted, _ := vars[caddyhttp.TrustedProxyVarKey].(bool); !trusted && !proxyTrusts {
		return false
	}
	forwarded := r.Header["X-Forwarded-Proto"]
	return len(forwarded) > 0 && forwarded[len(forwarded)-1] == "https"
}
