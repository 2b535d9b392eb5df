package tigergraph

import (
	"slices"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
)

// hostHandler returns the proxy that is being provisioned with a module of ours, nil
// in a bare context. A proxy within another's response routes has two above it.
func hostHandler(ctx caddy.Context) *reverseproxy.Handler {
	for _, module := range slices.Backward(ctx.Modules()) {
		if handler, ok := module.(*reverseproxy.Handler); ok {
			return handler
		}
	}
	return nil
}

// spareUpstreams is deferred by what a proxy is provisioned with. If that fails, core's
// clean-up takes the proxy's upstreams out of the pool that the running configuration
// uses, although it had not put them in yet. Without upstreams it takes out none.
func spareUpstreams(ctx caddy.Context, failure *error) {
	if host := hostHandler(ctx); host != nil && *failure != nil {
		host.Upstreams = nil
	}
}
