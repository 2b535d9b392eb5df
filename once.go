package tigergraph

import (
	"net/http"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp/headers"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/once"
)

// sendOnce readies the proxy's copy of a request so that its transport cannot repeat
// it once it may have left, unless it may be repeated. Our transport sees to this
// itself, when the header is as it will be sent.
func (p *Policy) sendOnce(r *http.Request) {
	if !p.ourTransport {
		once.Settle(r)
		once.Ready(r, p.rekeys)
	}
}

// isOurs reports whether a transport is ours.
func isOurs(transport http.RoundTripper) bool {
	_, ours := transport.(*Transport)
	return ours
}

// rekeys reports whether header operations of a proxy, which come after the choice
// of a node, may make a request look idempotent or different from what it was
// judged by.
func rekeys(operations *headers.Handler) bool {
	if operations == nil || operations.Request == nil {
		return false
	}
	return once.Rekeys(operations.Request.Add, operations.Request.Set)
}
