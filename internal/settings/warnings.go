package settings

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/affinity"
	"github.com/caddy-tigergraph/caddy-tigergraph/internal/service"
)

// Warning says of an option that what it is set to can hardly be meant.
type Warning struct{ Option, Message string }

// Proxy is what the proxy of a policy is set to, as plain values.
type Proxy struct {
	Upstreams []string
	// Dynamic is whether there may be others.
	Dynamic     bool
	HasFallback bool // a policy for new clients
	HasChecker  bool
	// Plans are how the services are checked, nil for one that is not.
	Plans [service.Count]*Plan
	// IsTimeoutGiven is whether the user says how long a probe may take.
	IsTimeoutGiven bool
	// Active are Caddy's own checks, nil if nothing is said of them.
	Active *ActiveChecks
	// Repeats is whether requests are sent again, and Matched whether each of the sets of
	// matchers that say which has the one for what may be repeated.
	Repeats bool
	Matched []bool
}

// Plan is how often a service is checked.
type Plan struct{ Interval, Timeout time.Duration }

// ActiveChecks are Caddy's own checks.
type ActiveChecks struct {
	URI, Path string
	Port      int
}

// Warnings returns what can hardly be meant of a policy with these keys. Without a proxy,
// less can be said.
func (p *Policy) Warnings(proxy *Proxy, keys [][]byte) (warnings []Warning) {
	if proxy != nil {
		warnings = slices.Concat(p.ofNodes(proxy), p.ofStandbys(proxy.Upstreams), proxy.ofChecks(), proxy.ofRepeating())
	}
	warnings = append(warnings, p.ofNothing(proxy)...)
	if !p.HasCookie {
		return warnings
	}
	for i, key := range keys {
		if len(key) < ShortestKey {
			warnings = append(warnings, Warning{"cookie secret", fmt.Sprintf("secret %d has %d characters: somebody might try them all; make one with 'openssl rand -hex 32'", i+1, len(key))})
		}
	}
	return warnings
}

// ofNodes warns if no node takes new clients while all is well.
func (p *Policy) ofNodes(proxy *Proxy) []Warning {
	if proxy.Dynamic || len(proxy.Upstreams) == 0 {
		return nil
	}
	var drains, backups, all int
	for _, dial := range proxy.Upstreams {
		weight, set := p.Weights[dial]
		switch {
		case p.ClusterOf(dial) != p.Clusters()[0]:
			continue
		case slices.Contains(p.Drain, dial), set && weight == 0:
			drains++
		case slices.Contains(p.Backup, dial):
			backups++
		}
		all++
	}
	switch {
	case drains == all:
		return []Warning{{"drain", "all nodes are draining: none takes new clients by right, so they get them only because the pool fails open, or a 503 with fail_closed"}}
	case backups == all:
		return []Warning{{"backup", "all nodes are backups: there is none that they could stand in for"}}
	case drains+backups == all:
		return []Warning{{"drain", "all nodes are draining or backups: new clients go to the backups"}}
	}
	return nil
}

// ofChecks warns of checks that cannot find what they are for.
func (proxy *Proxy) ofChecks() (warnings []Warning) {
	if !proxy.HasChecker {
		return []Warning{{"health_check", "the nodes are not checked: a node that is down is noticed only by the requests that it fails"}}
	}
	if proxy.Plans == [service.Count]*Plan{} {
		warnings = append(warnings, Warning{"health_check", "all checks are off: a node that is down is noticed only by the requests that it fails"})
	}
	if proxy.Active != nil {
		warnings = append(warnings, proxy.Active.warning())
	}
	for _, plan := range proxy.Plans {
		if proxy.IsTimeoutGiven && plan != nil && plan.Timeout > plan.Interval {
			return append(warnings, Warning{"health_check timeout", fmt.Sprintf("the timeout %s is longer than the interval %s: a node that falls silent is found late", plan.Timeout, plan.Interval)})
		}
	}
	return warnings
}

// warning warns of Caddy's active checks. Without a path or a port they are off.
func (checks *ActiveChecks) warning() Warning {
	var option string
	switch {
	case checks.URI != "":
		option = "health_uri"
	case checks.Path != "":
		option = "health_path"
	case checks.Port != 0:
		option = "health_port"
	default:
		return Warning{"health_*", "the options of Caddy's active checks have no effect without health_uri: those of the policy are in the block of health_check"}
	}
	return Warning{option, "Caddy's active checks are on beside those of the policy: a node is down if either finds it down, for all of its services; leave them out"}
}

// ofRepeating warns if Caddy may send a request twice that does harm then.
func (proxy *Proxy) ofRepeating() []Warning {
	const advice = "write 'lb_retry_match { tigergraph_repeatable }'"
	switch {
	case !proxy.Repeats:
		return nil
	case len(proxy.Matched) == 0:
		return []Warning{{"lb_retry_match", "a GET is sent again after it may have reached a node, and in TigerGraph a GET can drop all data: " + advice}}
	case slices.Contains(proxy.Matched, false):
		return []Warning{{"lb_retry_match", "requests are sent again after they may have reached a node, whether or not that does harm: " + advice}}
	}
	return nil
}

// ofNothing warns of options that have no effect.
func (p *Policy) ofNothing(proxy *Proxy) (warnings []Warning) {
	none := func(set bool, option, why string) {
		if set {
			warnings = append(warnings, Warning{option, "the option has no effect: " + why})
		}
	}
	if p.Affinity == ByNothing {
		const why = "with the affinity 'none' every request is spread, and no client belongs to a node"
		none(p.IPv4Prefix != 0, "ipv4_prefix", why)
		none(p.IPv6Prefix != 0, "ipv6_prefix", why)
		none(p.Failback != nil, "failback", why)
		none(p.Spread != nil, "spread", why)
	}
	if proxy == nil {
		return warnings
	}
	none(!proxy.HasChecker && p.SlowStart > 0, "slow_start", "without checks no node is found to be up again")
	none(!proxy.HasChecker && p.FailClosed, "fail_closed", "without checks no node is found to be down")
	if len(proxy.Upstreams) == 1 && !proxy.Dynamic {
		none(p.Weights != nil && !p.isRetired(), "weight", "there is only one node")
		none(proxy.HasFallback, "fallback", "there is only one node")
	}
	return warnings
}

// isRetired reports whether a node is given no weight, which has an effect on a single
// one too.
func (p *Policy) isRetired() bool {
	return slices.Contains(slices.Collect(maps.Values(p.Weights)), 0)
}

// Shown is a cookie as browsers are shown it.
type Shown struct {
	*affinity.Form
	Scope affinity.Scope
	Keys  [][]byte
	// Pool names the nodes that it leads to.
	Pool string
}

// Clash warns, and reports that it does, if a browser can get cookies of one name from
// two policies that do not understand each other's: each costs it its session with the
// other.
func (s *Shown) Clash(other *Shown) (warning Warning, clash bool) {
	switch {
	case s.Name != other.Name || !s.Scope.Meets(other.Scope):
		return Warning{}, false
	case s.Pool != other.Pool:
		return Warning{"cookie name", "another policy with other nodes gives browsers a cookie of the same name, so that each costs the other's users their sessions: " +
			"write 'cluster <name>' in one of them, or give its cookie another name"}, true
	case s.Lifetime != other.Lifetime || !slices.EqualFunc(s.Keys, other.Keys, bytes.Equal):
		return Warning{"cookie secret", "another policy with the same nodes gives browsers a cookie of the same name, but made with another secret or lifetime, " +
			"so that each costs the other's users their sessions: write the same in both, or give one of the cookies another name"}, true
	}
	return Warning{}, false
}
