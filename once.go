package tigergraph

import (
	"net/http"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp/headers"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/once"
	"github.com/caddy-tigergraph/caddy-tigergraph/internal/response"
	"github.com/caddy-tigergraph/caddy-tigergraph/internal/service"
)

// sendOnce readies the proxy's copy of a request so that its transport cannot repeat
// it once it may have left, unless it may be repeated. It is not ok if another proxy may
// have had it carried out. Our transport sees to this itself, with the header as sent.
func (p *Policy) sendOnce(r *http.Request, w http.ResponseWriter) (ok bool) {
	repeatable := service.Repeatable(r)
	switch response.TakeBackFrom(w, "Retry-After", retryAfter); { // which the first proxy has left
	case p.ourTransport:
		return true
	case !repeatable && isAgain(r):
		response.Forget(w)
		return false
	}
	once.Settle(r)
	once.Ready(r, p.rekeys)
	if !repeatable || p.rekeys {
		once.Watch(r, func(sent *http.Request, left any) { note(sent, leftKey, left) })
	}
	return true
}

// rekeys reports whether header operations of a proxy, which come after the choice
// of a node, may make a request look idempotent or different from what it was
// judged by.
func rekeys(operations *headers.Handler) bool {
	return operations != nil && operations.Request != nil && once.Rekeys(operations.Request.Add, operations.Request.Set)
}
