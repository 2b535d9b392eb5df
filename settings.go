package tigergraph

import (
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
	"go.uber.org/zap"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/settings"
)

// plain returns what the policy is set to, as plain values.
func (p *Policy) plain() *settings.Policy {
	plain := &settings.Policy{
		Affinity: p.Affinity, Header: p.Header, HasCookie: p.Cookie != nil, HasFallback: p.FallbackRaw != nil,
		IPv4Prefix: p.IPv4Prefix, IPv6Prefix: p.IPv6Prefix, Failback: (*time.Duration)(p.Failback),
		Weights: p.Weights, Backup: p.Backup, Drain: p.Drain, SlowStart: time.Duration(p.SlowStart), Spread: p.Spread,
		Cluster: p.Cluster, StandbyReads: p.StandbyReads, FailClosed: p.FailClosed,
		HealthCheckOff: p.HealthCheckOff, HasHealthCheck: p.HealthCheckRaw != nil,
	}
	for _, standby := range p.Standby {
		plain.Standby = append(plain.Standby, settings.Standby(standby))
	}
	return plain
}

// clusters returns the names of the clusters, that of the nodes written plainly
// first.
func (p *Policy) clusters() []string { return p.plain().Clusters() }

// completeNodes completes the addresses of upstreams that come from the environment,
// gives nodes in options the names that they have as upstreams, and refuses those
// that are none. Dynamic upstreams are not known yet, so that there is only a
// warning.
func (p *Policy) completeNodes(upstreams reverseproxy.UpstreamPool) error {
	expand := func(dial string) string { return caddy.NewReplacer().ReplaceKnown(dial, "") }
	var written, complete []string
	for _, upstream := range upstreams {
		dial, err := settings.CompleteUpstream(upstream.Dial, expand)
		if err != nil {
			return err
		}
		written, complete = append(written, upstream.Dial), append(complete, dial)
		upstream.Dial = dial
	}
	nodes := settings.NewNodes(written, complete)
	nodes.Dynamic = p.dynamic
	nodes.Unknown = func(option, node string) {
		p.logger.Warn("option for a node that is not a static upstream", zap.String("option", option), zap.String("node", node))
	}
	if err := p.nameNodes(nodes.Find); err != nil {
		return err
	}
	return p.plain().CheckActive(nodes)
}

// nameNodes replaces the nodes that options name by what a function finds.
func (p *Policy) nameNodes(find func(option, node string) ([]string, error)) error {
	plain := p.plain()
	if err := plain.NameNodes(find); err != nil {
		return err
	}
	p.Weights, p.Backup, p.Drain = plain.Weights, plain.Backup, plain.Drain
	p.Standby = nil
	for _, standby := range plain.Standby {
		p.Standby = append(p.Standby, Standby(standby))
	}
	return nil
}
