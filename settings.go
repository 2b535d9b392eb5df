package tigergraph

import (
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
	"go.uber.org/zap"
	"golang.org/x/net/http/httpguts"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/address"
	"github.com/caddy-tigergraph/caddy-tigergraph/internal/service"
	"github.com/caddy-tigergraph/caddy-tigergraph/internal/spelling"
)

// What the policy chooses where the user does not.
const (
	defaultCluster  = "primary"
	defaultFailback = 30 * time.Minute
	mostWeight      = 1<<16 - 1
	// shortestKey is the length of a secret below which somebody might try them all.
	shortestKey = 16
)

// The affinities.
const (
	byCookie   = "cookie"
	byClientIP = "client_ip"
	byHeader   = "header"
	byNothing  = "none"
)

// affinity returns the configured affinity or its default.
func (p *Policy) affinity() string { return orDefault(p.Affinity, byCookie) }

// clusters returns the names of the clusters, that of the nodes written plainly
// first.
func (p *Policy) clusters() []string {
	names := []string{orDefault(p.Cluster, defaultCluster)}
	for _, standby := range p.Standby {
		names = append(names, standby.Name)
	}
	return names
}

// clusterOf returns the name of the cluster that an upstream belongs to, by its
// address as configured.
func (p *Policy) clusterOf(dial string) string {
	for _, standby := range p.Standby {
		if slices.Contains(standby.Nodes, dial) {
			return standby.Name
		}
	}
	return p.clusters()[0]
}

// spreads reports whether independent requests to a service are spread over the
// nodes.
func (p *Policy) spreads(s service.Service) bool {
	if p.Spread == nil {
		return s == service.RESTPP && p.affinity() == byCookie
	}
	return slices.Contains(p.Spread, s.String())
}

// defaultCookieName returns the cookie's name where the user gives it none.
func (p *Policy) defaultCookieName() string {
	if name := p.clusters()[0]; name != defaultCluster {
		return defaultCookieName + "_" + name
	}
	return defaultCookieName
}

// namedNodes returns the nodes that options name, by the option.
func (p *Policy) namedNodes() map[string][]string {
	named := map[string][]string{
		"weight": slices.Sorted(maps.Keys(p.Weights)), "backup": p.Backup, "drain": p.Drain,
	}
	for _, standby := range p.Standby {
		named["standby"] = append(named["standby"], standby.Nodes...)
	}
	return named
}

// refusals are what settings are refused for, in this order.
var refusals = []func(*Policy) error{
	(*Policy).checkIdentity,
	(*Policy).checkPrefixes,
	(*Policy).checkDurations,
	(*Policy).checkWeights,
	(*Policy).checkNamedNodes,
	(*Policy).checkSpread,
	(*Policy).checkClusters,
	(*Policy).checkHealthCheck,
}

// check refuses settings that cannot be meant, whatever else will be set.
func (p *Policy) check() error {
	for _, refuse := range refusals {
		if err := refuse(p); err != nil {
			return err
		}
	}
	return nil
}

// checkWhole refuses also what lacks something.
func (p *Policy) checkWhole() error {
	if p.StandbyReads && len(p.Standby) == 0 {
		return errors.New("standby_reads needs a standby, as in 'standby dr m4 m5 m6'")
	}
	if err := p.checkNames(); err != nil {
		return err
	}
	return p.check()
}

// checkNames refuses a standby that is called like the cluster itself, whose name may
// be given behind it.
func (p *Policy) checkNames() error {
	for _, standby := range p.Standby {
		if standby.Name == p.clusters()[0] {
			return fmt.Errorf("the standby '%s' is called like the cluster itself: give one of them another name", standby.Name)
		}
	}
	return nil
}

// checkIdentity refuses what does not go with the affinity.
func (p *Policy) checkIdentity() error {
	affinity := p.affinity()
	if err := checkAffinity(affinity); err != nil {
		return err
	}
	if affinity == byHeader {
		if err := checkHeader(p.Header); err != nil {
			return err
		}
	} else if p.Header != "" {
		return fmt.Errorf("header '%s' needs the affinity 'header', not '%s'", p.Header, affinity)
	}
	if affinity != byCookie && p.Cookie != nil {
		return fmt.Errorf("the option 'cookie' needs the affinity 'cookie', not '%s'", affinity)
	}
	if affinity != byCookie && p.FallbackRaw != nil {
		return fmt.Errorf("the option 'fallback' needs the affinity 'cookie', not '%s'", affinity)
	}
	return nil
}

func checkAffinity(name string) error {
	switch name {
	case byCookie, byClientIP, byHeader, byNothing:
		return nil
	}
	return fmt.Errorf("unknown affinity '%s': expected 'cookie', 'client_ip', 'header <field>' or 'none'", name)
}

func checkHeader(field string) error {
	if field == "" {
		return errors.New("the affinity 'header' needs the name of a header field")
	}
	if !httpguts.ValidHeaderFieldName(field) {
		return fmt.Errorf("'%s' is not the name of a header field", field)
	}
	return nil
}

func (p *Policy) checkPrefixes() error {
	if p.IPv4Prefix != 0 {
		if err := checkPrefix("ipv4_prefix", p.IPv4Prefix, 32); err != nil {
			return err
		}
	}
	if p.IPv6Prefix != 0 {
		return checkPrefix("ipv6_prefix", p.IPv6Prefix, 128)
	}
	return nil
}

func checkPrefix(option string, bits, most int) error {
	if bits < 1 || bits > most {
		return fmt.Errorf("%s must be a number of bits from 1 to %d, not %d", option, most, bits)
	}
	return nil
}

func (p *Policy) checkDurations() error {
	if p.Failback != nil && *p.Failback < 0 {
		return fmt.Errorf("failback must not be negative, got %s", time.Duration(*p.Failback))
	}
	if p.SlowStart < 0 {
		return fmt.Errorf("slow_start must not be negative, got %s", time.Duration(p.SlowStart))
	}
	return nil
}

func (p *Policy) checkWeights() error {
	for _, node := range slices.Sorted(maps.Keys(p.Weights)) {
		if weight := p.Weights[node]; weight < 0 || weight > mostWeight {
			return fmt.Errorf("the weight of '%s' must be from 0 to %d, not %d", node, mostWeight, weight)
		}
	}
	return nil
}

// checkNamedNodes refuses what is no address, and a node that an option names twice.
func (p *Policy) checkNamedNodes() error {
	named := p.namedNodes()
	for _, option := range slices.Sorted(maps.Keys(named)) {
		index := address.NewIndex(nil)
		for _, node := range named[option] {
			if _, err := address.Parse(node); err != nil {
				return fmt.Errorf("%s: %w", option, err)
			}
			if index.Add(node) {
				continue
			}
			switch option {
			case "weight":
				return fmt.Errorf("the weight of '%s' is already specified", node)
			case "standby":
				return fmt.Errorf("standby names '%s' twice: a node is in one cluster", node)
			}
			return fmt.Errorf("%s names '%s' twice", option, node)
		}
	}
	return nil
}

func (p *Policy) checkSpread() error {
	for i, name := range p.Spread {
		if name != service.RESTPP.String() || i > 0 {
			return fmt.Errorf("spread must be 'restpp' or 'off', not '%s'", strings.Join(p.Spread, " "))
		}
	}
	return nil
}

// clusterName keeps the names of clusters fit for cookies, labels and commands.
var clusterName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`)

func (p *Policy) checkClusters() error {
	names := p.clusters()
	for i, name := range names {
		if !clusterName.MatchString(name) {
			return fmt.Errorf("'%s' cannot be the name of a cluster: expected letters, digits, dots, hyphens and underscores, 64 at most", name)
		}
		if slices.Contains(names[min(1, i):i], name) {
			return fmt.Errorf("there is a standby '%s' already: name all of its nodes in one line, or give it another name", name)
		}
	}
	for _, standby := range p.Standby {
		if len(standby.Nodes) == 0 {
			return fmt.Errorf("the standby '%s' needs nodes", standby.Name)
		}
	}
	return nil
}

func (p *Policy) checkHealthCheck() error {
	if p.HealthCheckOff && p.HealthCheckRaw != nil {
		return errors.New("health_check is both off and configured")
	}
	return nil
}

// completeNodes completes the addresses of upstreams that come from the environment,
// gives nodes in options the names that they have as upstreams, and refuses those
// that are none. Dynamic upstreams are not known yet, so that there is only a
// warning.
func (p *Policy) completeNodes(upstreams reverseproxy.UpstreamPool) error {
	written, known := address.NewIndex(nil), address.NewIndex(nil)
	dials := make(map[string]string) // by what was written
	for _, upstream := range upstreams {
		dial, err := completeUpstream(upstream.Dial)
		if err != nil {
			return err
		}
		dials[upstream.Dial] = dial
		written.Add(upstream.Dial)
		known.Add(dial)
		upstream.Dial = dial
	}
	find := func(option, node string) ([]string, error) {
		found, err := written.Find(node)
		for i, dial := range found {
			found[i] = dials[dial]
		}
		if err != nil {
			found, err = known.Find(node)
		}
		unknown := address.UnknownError{}
		if p.dynamic && errors.As(err, &unknown) {
			p.logger.Warn("option for a node that is not a static upstream", zap.String("option", option), zap.String("node", node))
			return []string{unknown.Node}, nil
		}
		if errors.As(err, &unknown) {
			return nil, fmt.Errorf("%s: '%s' is not an upstream; the upstreams are %s", option, node, spelling.List(unknown.Nodes))
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", option, err)
		}
		return found, nil
	}
	if err := p.nameNodes(find); err != nil {
		return err
	}
	if len(upstreams) > 0 && !p.dynamic && !slices.ContainsFunc(upstreams, func(u *reverseproxy.Upstream) bool { return p.clusterOf(u.Dial) == p.clusters()[0] }) {
		return fmt.Errorf("every upstream is a standby's: none is left for the cluster '%s'", p.clusters()[0])
	}
	return nil
}

// nameNodes replaces the nodes that options name by what a function finds.
func (p *Policy) nameNodes(find func(option, node string) ([]string, error)) error {
	weights := make(map[string]int, len(p.Weights))
	for _, node := range slices.Sorted(maps.Keys(p.Weights)) {
		found, err := find("weight", node)
		if err != nil {
			return err
		}
		for _, dial := range found {
			if _, twice := weights[dial]; twice {
				return fmt.Errorf("the weight of '%s' is already specified", dial)
			}
			weights[dial] = p.Weights[node]
		}
	}
	if p.Weights != nil {
		p.Weights = weights
	}
	replace := func(option string, nodes []string) ([]string, error) {
		var all []string
		for _, node := range nodes {
			found, err := find(option, node)
			if err != nil {
				return nil, err
			}
			for _, dial := range found {
				if slices.Contains(all, dial) {
					return nil, fmt.Errorf("%s names '%s' twice", option, dial)
				}
				all = append(all, dial)
			}
		}
		return all, nil
	}
	var err error
	if p.Backup, err = replace("backup", p.Backup); err != nil {
		return err
	}
	if p.Drain, err = replace("drain", p.Drain); err != nil {
		return err
	}
	p.Standby = slices.Clone(p.Standby)
	for i := range p.Standby {
		if p.Standby[i].Nodes, err = replace("standby", p.Standby[i].Nodes); err != nil {
			return err
		}
	}
	return p.checkNamedNodes()
}

// completeUpstream expands an upstream's address where it has placeholders whose
// value is known already, as those of the environment, and gives it the port that it
// then lacks. Others are known with each request only.
func completeUpstream(dial string) (string, error) {
	if !strings.Contains(dial, "{") {
		return dial, nil
	}
	expanded := caddy.NewReplacer().ReplaceKnown(dial, "")
	if strings.Contains(expanded, "{") {
		return dial, nil
	}
	if expanded == "" {
		return "", fmt.Errorf("the upstream '%s' is empty: is its variable set?", dial)
	}
	a, err := address.Parse(expanded)
	if err != nil {
		return "", fmt.Errorf("the upstream '%s': %w", dial, err)
	}
	if a.Scheme != "" || a.Last != "" {
		return "", fmt.Errorf("the upstream '%s' is '%s': write a scheme or a range of ports into the Caddyfile itself", dial, expanded)
	}
	return a.Dial(), nil
}
