// Package settings has what the settings of a policy, its cookie and its health check
// mean: their defaults, what is refused, and what can hardly be meant.
package settings

import (
	"cmp"
	"slices"
	"time"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/affinity"
	"github.com/caddy-tigergraph/caddy-tigergraph/internal/service"
)

// What the policy chooses where the user does not.
const (
	DefaultCluster  = "primary"
	DefaultFailback = 30 * time.Minute
	// MostWeight is the greatest weight of a node.
	MostWeight = 1<<16 - 1
	// ShortestKey is the length of a secret below which somebody might try them all.
	ShortestKey = 16
)

// The affinities.
const (
	ByCookie   = "cookie"
	ByClientIP = "client_ip"
	ByHeader   = "header"
	ByNothing  = "none"
)

// Policy is what a policy is set to, as plain values. The policy itself says what each of
// them is for.
type Policy struct {
	Affinity, Header       string
	HasCookie, HasFallback bool
	IPv4Prefix, IPv6Prefix int
	Failback               *time.Duration
	Weights                map[string]int
	Backup, Drain          []string
	SlowStart              time.Duration
	// Spread is nil where nothing is said of it.
	Spread                         []string
	Cluster                        string
	Standby                        []Standby
	StandbyReads, FailClosed       bool
	HealthCheckOff, HasHealthCheck bool
}

// Standby is another cluster than that of the nodes written plainly.
type Standby struct {
	Name  string
	Nodes []string
}

// By returns the configured affinity or its default.
func (p *Policy) By() string { return cmp.Or(p.Affinity, ByCookie) }

// Clusters returns the names of the clusters, that of the nodes written plainly first.
func (p *Policy) Clusters() []string {
	names := []string{cmp.Or(p.Cluster, DefaultCluster)}
	for _, standby := range p.Standby {
		names = append(names, standby.Name)
	}
	return names
}

// ClusterOf returns the name of the cluster that an upstream belongs to, by its address
// as configured.
func (p *Policy) ClusterOf(dial string) string {
	for _, standby := range p.Standby {
		if slices.Contains(standby.Nodes, dial) {
			return standby.Name
		}
	}
	return p.Clusters()[0]
}

// IndexOf returns which of the clusters an upstream belongs to.
func (p *Policy) IndexOf(dial string) int { return slices.Index(p.Clusters(), p.ClusterOf(dial)) }

// Spreads reports whether independent requests to a service are spread over the nodes.
func (p *Policy) Spreads(s service.Service) bool {
	if p.Spread == nil {
		return s == service.RESTPP && p.By() == ByCookie
	}
	return slices.Contains(p.Spread, s.String())
}

// CookieName returns the cookie's name where the user gives it none.
func (p *Policy) CookieName() string {
	if name := p.Clusters()[0]; name != DefaultCluster {
		return defaultCookieName + "_" + name
	}
	return defaultCookieName
}

// Prefixes returns how much of its address identifies a client.
func (p *Policy) Prefixes() affinity.Prefixes {
	return affinity.Prefixes{IPv4: cmp.Or(p.IPv4Prefix, 32), IPv6: cmp.Or(p.IPv6Prefix, 64)}
}

// Idle returns how long a client that was moved has to be idle before it goes back.
func (p *Policy) Idle() time.Duration {
	if p.Failback != nil {
		return *p.Failback
	}
	return DefaultFailback
}
