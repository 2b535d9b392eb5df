package tigergraph

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/where"
)

// siteOf returns the site of a policy that is being provisioned. Caddy tells a module
// its server and what is above it, but not which route: it is the first one of the
// server that is not provisioned yet, and has this policy.
func siteOf(ctx caddy.Context, w written, dials []string) site {
	var app *caddyhttp.App
	for _, module := range ctx.Modules() {
		if is, ok := module.(*caddyhttp.App); ok {
			app = is
		}
	}
	if app == nil {
		return site{}
	}
	is := isProxyWith(w.policy, dials)
	for _, name := range slices.Sorted(maps.Keys(app.Servers)) {
		server := app.Servers[name]
		if own, known := ctx.Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server); known && own != server {
			continue
		}
		lists := []caddyhttp.RouteList{server.Routes}
		if server.Errors != nil {
			lists = append(lists, server.Errors.Routes)
		}
		for _, list := range lists {
			at := slices.IndexFunc(list, func(route caddyhttp.Route) bool { return route.HandlersRaw != nil })
			if at < 0 {
				continue
			}
			if found, hosts := where.Find(list[at].HandlersRaw, hostsOf(list[at]), is); found {
				return site{name: strings.Join(where.Or(hosts, server.Listen), ", "), hosts: hosts}
			}
		}
		for route, named := range server.NamedRoutes {
			if found, hosts := where.Find(named.HandlersRaw, nil, is); found {
				return site{name: "the named route " + route, hosts: hosts}
			}
		}
	}
	return site{}
}

// hostsOf returns the hosts that a route matches, none if these are all.
func hostsOf(route caddyhttp.Route) (hosts []string) {
	for _, set := range route.MatcherSets {
		for _, matcher := range set {
			switch matcher := matcher.(type) {
			case caddyhttp.MatchHost:
				hosts = append(hosts, matcher...)
			case *caddyhttp.MatchHost:
				hosts = append(hosts, *matcher...)
			}
		}
	}
	return hosts
}

// isProxyWith returns what tells whether the JSON of a handler is a proxy with this
// policy and these upstreams.
func isProxyWith(policy json.RawMessage, dials []string) func(handler map[string]any) bool {
	return func(handler map[string]any) bool {
		settings, upstreams := where.Proxy(handler)
		if settings["policy"] != "tigergraph" || !slices.Equal(upstreams, dials) {
			return false
		}
		own, err := json.Marshal(settings)
		other := new(Policy)
		if err != nil || json.Unmarshal(own, other) != nil {
			return false
		}
		read, err := json.Marshal(other)
		return err == nil && where.Same(read, policy)
	}
}

// dialsOf returns the addresses of a proxy's upstreams.
func dialsOf(host *reverseproxy.Handler) (dials []string) {
	if host == nil {
		return nil
	}
	for _, upstream := range host.Upstreams {
		dials = append(dials, upstream.Dial)
	}
	return dials
}

// poolText names the nodes of a proxy, whatever their order.
func poolText(host *reverseproxy.Handler, dynamic json.RawMessage) string {
	dials := dialsOf(host)
	slices.Sort(dials)
	if dynamic != nil {
		dials = append(dials, string(dynamic))
	}
	return strings.Join(dials, " ")
}
