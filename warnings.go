package tigergraph

import (
	"encoding/json"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
	"go.uber.org/zap"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/affinity"
	"github.com/caddy-tigergraph/caddy-tigergraph/internal/service"
	"github.com/caddy-tigergraph/caddy-tigergraph/internal/settings"
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

// warn says which settings can hardly be meant.
func (p *Policy) warn(w written) {
	for _, warning := range p.plain().Warnings(p.plainProxy(w), p.keys) {
		p.warnOf(warning)
	}
}

// warnOf warns of an option.
func (p *Policy) warnOf(warning settings.Warning, fields ...zap.Field) {
	p.logger.Warn(warning.Message, append([]zap.Field{zap.String("site", p.site.name), zap.String("option", warning.Option)}, fields...)...)
}

// plainProxy returns what the policy's proxy is set to, as plain values; nil if there is
// none.
func (p *Policy) plainProxy(w written) *settings.Proxy {
	if p.host == nil {
		return nil
	}
	proxy := &settings.Proxy{Upstreams: dialsOf(p.host), Dynamic: p.dynamic, HasFallback: p.fallback != nil, HasChecker: p.checker != nil}
	for s := range service.Count {
		if p.checker == nil {
			break
		}
		if plan, on := p.checker.Plan(s.String()); on {
			proxy.Plans[s] = &settings.Plan{Interval: plan.Interval, Timeout: plan.Timeout}
		}
	}
	var given struct {
		Interval caddy.Duration `json:"interval"`
		Timeout  caddy.Duration `json:"timeout"`
	}
	proxy.IsTimeoutGiven = json.Unmarshal(w.healthCheck, &given) == nil && given.Timeout > 0
	if checks := p.host.HealthChecks; checks != nil && checks.Active != nil {
		proxy.Active = &settings.ActiveChecks{URI: checks.Active.URI, Path: checks.Active.Path, Port: checks.Active.Port} //nolint:staticcheck // the deprecated path still works
	}
	if balancing := p.host.LoadBalancing; balancing != nil {
		proxy.Repeats = balancing.Retries != 0 || balancing.TryDuration != 0
	}
	for _, set := range w.retryMatch {
		proxy.Matched = append(proxy.Matched, set["tigergraph_repeatable"] != nil)
	}
	return proxy
}

// warnOfSharedCookie warns if a browser can get cookies of one name from two policies
// that do not understand each other's.
func (p *Policy) warnOfSharedCookie(other *Policy) {
	if p.cookie == nil || other.cookie == nil || p.host == nil || other.host == nil {
		return
	}
	warning, clash := p.shown().Clash(other.shown())
	if !clash {
		return
	}
	fields := []zap.Field{zap.String("cookie", p.cookie.Name), zap.String("other_site", other.site.name)}
	if p.pool != other.pool {
		fields = append(fields, zap.String("nodes", p.pool), zap.String("other_nodes", other.pool))
	}
	p.warnOf(warning, fields...)
}

// shown returns the policy's cookie as browsers are shown it.
func (p *Policy) shown() *settings.Shown {
	return &settings.Shown{
		Form: p.cookie, Scope: affinity.Scope{Hosts: p.site.hosts, Domain: p.cookie.Plain.Domain, Path: p.cookie.Plain.Path},
		Keys: p.keys, Pool: p.pool,
	}
}
