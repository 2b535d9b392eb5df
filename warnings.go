package tigergraph

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
	"go.uber.org/zap"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/affinity"
	"github.com/caddy-tigergraph/caddy-tigergraph/internal/service"
	"github.com/caddy-tigergraph/caddy-tigergraph/internal/settings"
	"github.com/caddy-tigergraph/caddy-tigergraph/internal/where"
)

// written is the part of a policy's settings that loading modules takes away.
type written struct {
	policy, healthCheck json.RawMessage
	retryMatch          caddyhttp.RawMatcherSets
	dynamic             json.RawMessage
}

func (p *Policy) written(host *reverseproxy.Handler) (w written) {
	w.policy, _ = json.Marshal(p) // which cannot fail: it was read from JSON
	w.healthCheck = p.HealthCheckRaw
	if host != nil {
		w.dynamic = host.DynamicUpstreamsRaw
		if host.LoadBalancing != nil {
			w.retryMatch = host.LoadBalancing.RetryMatchRaw
		}
	}
	return w
}

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

// warn says which settings can hardly be meant.
func (p *Policy) warn(w written) {
	p.warnOfNodes()
	p.warnOfChecks(w)
	p.warnOfRepeating(w)
	p.warnOfNothing()
	if p.Cookie == nil {
		return
	}
	for i, key := range p.keys {
		if len(key) < settings.ShortestKey {
			p.warnOf("cookie secret", fmt.Sprintf("secret %d has %d characters: somebody might try them all; make one with 'openssl rand -hex 32'", i+1, len(key)))
		}
	}
}

// warnOf warns of an option.
func (p *Policy) warnOf(option, message string, fields ...zap.Field) {
	p.logger.Warn(message, append([]zap.Field{zap.String("site", p.site.name), zap.String("option", option)}, fields...)...)
}

// warnOfNodes warns if no node takes new clients while all is well.
func (p *Policy) warnOfNodes() {
	if p.dynamic || p.host == nil || len(p.host.Upstreams) == 0 {
		return
	}
	var drains, backups, all int
	for _, upstream := range p.host.Upstreams {
		weight, set := p.Weights[upstream.Dial]
		switch {
		case p.plain().ClusterOf(upstream.Dial) != p.clusters()[0]:
			continue
		case slices.Contains(p.Drain, upstream.Dial), set && weight == 0:
			drains++
		case slices.Contains(p.Backup, upstream.Dial):
			backups++
		}
		all++
	}
	switch {
	case drains == all:
		p.warnOf("drain", "all nodes are draining: none takes new clients until the pool fails open")
	case backups == all:
		p.warnOf("backup", "all nodes are backups: there is none that they could stand in for")
	case drains+backups == all:
		p.warnOf("drain", "all nodes are draining or backups: new clients go to the backups")
	}
}

// warnOfChecks warns of checks that cannot find what they are for.
func (p *Policy) warnOfChecks(w written) {
	if p.host == nil {
		return
	}
	if p.checker == nil {
		p.warnOf("health_check", "the nodes are not checked: a node that is down is noticed only by the requests that it fails")
		return
	}
	checked := false
	for s := range service.Count {
		_, on := p.checker.Plan(s.String())
		checked = checked || on
	}
	if !checked {
		p.warnOf("health_check", "all checks are off: a node that is down is noticed only by the requests that it fails")
	}
	if checks := p.host.HealthChecks; checks != nil && checks.Active != nil {
		p.warnOfActive(checks.Active)
	}
	var times struct {
		Interval caddy.Duration `json:"interval"`
		Timeout  caddy.Duration `json:"timeout"`
	}
	if json.Unmarshal(w.healthCheck, &times) == nil && times.Timeout > 0 {
		for s := range service.Count {
			if plan, on := p.checker.Plan(s.String()); on && plan.Timeout > plan.Interval {
				p.warnOf("health_check timeout", fmt.Sprintf("the timeout %s is longer than the interval %s: a node that falls silent is found late", plan.Timeout, plan.Interval))
				return
			}
		}
	}
}

// warnOfActive warns of Caddy's active checks. Without a path or a port they are off.
func (p *Policy) warnOfActive(checks *reverseproxy.ActiveHealthChecks) {
	var option string
	switch {
	case checks.URI != "":
		option = "health_uri"
	case checks.Path != "": //nolint:staticcheck // the deprecated path still works
		option = "health_path"
	case checks.Port != 0:
		option = "health_port"
	default:
		p.warnOf("health_*", "the options of Caddy's active checks have no effect without health_uri: those of the policy are in the block of health_check")
		return
	}
	p.warnOf(option, "Caddy's active checks are on beside those of the policy: a node is down if either finds it down, for all of its services; leave them out")
}

// warnOfRepeating warns if Caddy may send a request twice that does harm then.
func (p *Policy) warnOfRepeating(w written) {
	if p.host == nil || p.host.LoadBalancing == nil {
		return
	}
	if p.host.LoadBalancing.Retries == 0 && p.host.LoadBalancing.TryDuration == 0 {
		return
	}
	const advice = "write 'lb_retry_match { tigergraph_repeatable }'"
	if len(w.retryMatch) == 0 {
		p.warnOf("lb_retry_match", "a GET is sent again after it may have reached a node, and in TigerGraph a GET can drop all data: "+advice)
	}
	for _, set := range w.retryMatch {
		if set["tigergraph_repeatable"] == nil {
			p.warnOf("lb_retry_match", "requests are sent again after they may have reached a node, whether or not that does harm: "+advice)
			return
		}
	}
}

// warnOfNothing warns of options that have no effect.
func (p *Policy) warnOfNothing() {
	none := func(option, why string) { p.warnOf(option, "the option has no effect: "+why) }
	if p.Affinity == settings.ByNothing {
		for option, set := range map[string]bool{
			"ipv4_prefix": p.IPv4Prefix != 0, "ipv6_prefix": p.IPv6Prefix != 0, "failback": p.Failback != nil, "spread": p.Spread != nil,
		} {
			if set {
				none(option, "with the affinity 'none' every request is spread, and no client belongs to a node")
			}
		}
	}
	if p.host == nil {
		return
	}
	if p.checker == nil && p.SlowStart > 0 {
		none("slow_start", "without checks no node is found to be up again")
	}
	if p.checker == nil && p.FailClosed {
		none("fail_closed", "without checks no node is found to be down")
	}
	if len(p.host.Upstreams) == 1 && !p.dynamic {
		for option, set := range map[string]bool{"weight": p.Weights != nil && !p.isRetired(), "fallback": p.fallback != nil} {
			if set {
				none(option, "there is only one node")
			}
		}
	}
}

// warnOfSharedCookie warns if a browser can get cookies of one name from two policies
// that do not understand each other's: each costs it its session with the other.
func (p *Policy) warnOfSharedCookie(other *Policy) {
	if p.cookie == nil || other.cookie == nil || p.host == nil || other.host == nil || p.cookie.Name != other.cookie.Name ||
		!p.cookieScope().Meets(other.cookieScope()) {
		return
	}
	fields := []zap.Field{zap.String("cookie", p.cookie.Name), zap.String("other_site", other.site.name)}
	if p.pool != other.pool {
		p.warnOf("cookie name", "another policy with other nodes gives browsers a cookie of the same name, so that each costs the other's users their sessions: "+
			"write 'cluster <name>' in one of them, or give its cookie another name",
			append(fields, zap.String("nodes", p.pool), zap.String("other_nodes", other.pool))...)
		return
	}
	if p.cookie.Lifetime != other.cookie.Lifetime || !slices.EqualFunc(p.keys, other.keys, bytes.Equal) {
		p.warnOf("cookie secret", "another policy with the same nodes gives browsers a cookie of the same name, but made with another secret or lifetime, "+
			"so that each costs the other's users their sessions: write the same in both, or give one of the cookies another name", fields...)
	}
}

// cookieScope returns where browsers show the policy's cookie.
func (p *Policy) cookieScope() affinity.Scope {
	return affinity.Scope{Hosts: p.site.hosts, Domain: p.cookie.Plain.Domain, Path: p.cookie.Plain.Path}
}

// isRetired reports whether a node is given no weight, which has an effect on a single
// one too.
func (p *Policy) isRetired() bool {
	return slices.Contains(slices.Collect(maps.Values(p.Weights)), 0)
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
