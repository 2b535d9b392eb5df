package tigergraph

import (
	"cmp"
	"encoding/json"
	"fmt"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/balance"
	"github.com/caddy-tigergraph/caddy-tigergraph/internal/service"
	"github.com/caddy-tigergraph/caddy-tigergraph/internal/settings"
)

// Provision sets up the policy.
func (p *Policy) Provision(ctx caddy.Context) error {
	host := hostHandler(ctx)
	w, dials := p.written(host), dialsOf(host)
	err := p.provision(ctx, host)
	p.site = siteOf(ctx, w, dials)
	if err != nil {
		spareUpstreams(ctx, &err)
		if p.site.name != "" {
			err = fmt.Errorf("site %s: %w", p.site.name, err)
		}
		return err
	}
	p.pool = poolText(host, w.dynamic)
	p.warn(w)
	p.app.adopt(p)
	return nil
}

func (p *Policy) provision(ctx caddy.Context, host *reverseproxy.Handler) error {
	if err := p.plain().CheckWhole(); err != nil {
		return err
	}
	app, err := ctx.App("tigergraph")
	if err != nil {
		return fmt.Errorf("getting the tigergraph app: %w", err)
	}
	p.app = app.(*App)
	p.logger = ctx.Logger()
	if p.Affinity == "" {
		p.Affinity = settings.ByCookie
	}
	p.hashed = balance.ClientIP
	if p.Affinity == settings.ByHeader {
		p.hashed = balance.Header
	}
	plain := p.plain()
	p.spreadRESTPP, p.prefixes = plain.Spreads(service.RESTPP), plain.Prefixes()
	if p.FallbackRaw != nil {
		fallback, err := ctx.LoadModule(p, "FallbackRaw")
		if err != nil {
			return fmt.Errorf("fallback: %w", err)
		}
		p.fallback = fallback.(reverseproxy.Selector)
	}
	if p.Affinity == settings.ByCookie {
		cookie := Cookie{}
		if p.Cookie != nil {
			cookie = *p.Cookie
		}
		cookie.Name = cmp.Or(cookie.Name, plain.CookieName())
		if p.cookie, p.keys, err = cookie.form(); err != nil {
			return fmt.Errorf("cookie: %w", err)
		}
	}

	if idle := plain.Idle(); idle > 0 {
		p.joinMoved(host, idle)
	}

	word := p.app.operator.Known()
	active, kept, _ := word.Active(p.clusters(), time.Now())
	p.followed = word.Version
	p.roster.Store(&roster{active: active, kept: kept})
	if host != nil {
		p.host = host
		p.dynamic = host.DynamicUpstreamsRaw != nil
		if err := p.completeNodes(host.Upstreams); err != nil {
			return err
		}
		p.proxyTrusts = len(host.TrustedProxies) > 0
		p.rekeys, p.rewrites = rekeys(host.Headers), host.Rewrite != nil
		if transport, ours := host.Transport.(*Transport); ours {
			p.ourTransport, transport.observe = true, p.observe
		}
		if err := p.provisionHealthCheck(ctx); err != nil {
			return err
		}
		if len(host.Upstreams) > 0 {
			p.rosterFor(host.Upstreams)
		}
	}
	if p.keys != nil {
		p.renewTokens(time.Now())
	}
	return nil
}

// provisionHealthCheck loads the health check. Without a proxy there is no
// transport to probe through, and no check.
func (p *Policy) provisionHealthCheck(ctx caddy.Context) error {
	if p.HealthCheckOff {
		return nil
	}
	if p.HealthCheckRaw == nil {
		p.HealthCheckRaw = caddyconfig.JSONModuleObject(new(Services), "checker", "services", nil)
	}
	module, err := ctx.LoadModule(p, "HealthCheckRaw")
	if err != nil {
		return fmt.Errorf("health_check: %w", err)
	}
	checker, ok := module.(HealthChecker)
	if !ok {
		return fmt.Errorf("health_check: %T is not a health checker", module)
	}
	settings, err := json.Marshal(checker)
	if err != nil {
		return fmt.Errorf("health_check: encoding its settings: %w", err)
	}
	if p.proberSettings, err = newProberSettings(p.app.fleet, p.host.Transport, checker, settings); err != nil {
		return fmt.Errorf("health_check: %w", err)
	}
	for s := range service.Count {
		plan, _ := checker.Plan(s.String())
		p.startChecking[s] = plan.StartChecking
	}
	p.checker, p.transport = checker, p.host.Transport
	return nil
}

// Cleanup gives up the nodes, the probers and the memory of moved clients.
func (p *Policy) Cleanup() error {
	p.stopProbes()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.released {
		return nil
	}
	p.released = true
	p.stopKeeping()
	if p.moved != nil {
		p.moved.Leave()
	}
	if current := p.roster.Load(); current != nil {
		for _, m := range current.members {
			if m != nil {
				m.release(p.app.fleet)
			}
		}
	}
	return nil
}
