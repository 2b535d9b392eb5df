package settings

import (
	"errors"
	"fmt"
	"maps"
	"net/http"
	"regexp"
	"slices"
	"strings"

	"golang.org/x/net/http/httpguts"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/address"
	"github.com/caddy-tigergraph/caddy-tigergraph/internal/service"
)

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

// Check refuses settings that cannot be meant, whatever else will be set.
func (p *Policy) Check() error {
	for _, refuse := range refusals {
		if err := refuse(p); err != nil {
			return err
		}
	}
	return nil
}

// CheckWhole refuses also what lacks something.
func (p *Policy) CheckWhole() error {
	if p.StandbyReads && len(p.Standby) == 0 {
		return errors.New("standby_reads needs a standby, as in 'standby dr m4 m5 m6'")
	}
	if err := p.CheckNames(); err != nil {
		return err
	}
	return p.Check()
}

// CheckNames refuses a standby that is called like the cluster itself, whose name may
// be given behind it.
func (p *Policy) CheckNames() error {
	for _, standby := range p.Standby {
		if standby.Name == p.Clusters()[0] {
			return fmt.Errorf("the standby '%s' is called like the cluster itself: give one of them another name", standby.Name)
		}
	}
	return nil
}

// checkIdentity refuses what does not go with the affinity.
func (p *Policy) checkIdentity() error {
	affinity := p.By()
	if err := CheckAffinity(affinity); err != nil {
		return err
	}
	if affinity == ByHeader {
		if err := checkHeader(p.Header); err != nil {
			return err
		}
	} else if p.Header != "" {
		return fmt.Errorf("header '%s' needs the affinity 'header', not '%s'", p.Header, affinity)
	}
	if affinity != ByCookie && p.HasCookie {
		return fmt.Errorf("the option 'cookie' needs the affinity 'cookie', not '%s'", affinity)
	}
	if affinity != ByCookie && p.HasFallback {
		return fmt.Errorf("the option 'fallback' needs the affinity 'cookie', not '%s'", affinity)
	}
	return nil
}

// CheckAffinity refuses what is no affinity.
func CheckAffinity(name string) error {
	switch name {
	case ByCookie, ByClientIP, ByHeader, ByNothing:
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
		if err := CheckPrefix("ipv4_prefix", p.IPv4Prefix, 32); err != nil {
			return err
		}
	}
	if p.IPv6Prefix != 0 {
		return CheckPrefix("ipv6_prefix", p.IPv6Prefix, 128)
	}
	return nil
}

// CheckPrefix refuses a number of bits that no address has.
func CheckPrefix(option string, bits, most int) error {
	if bits < 1 || bits > most {
		return fmt.Errorf("%s must be a number of bits from 1 to %d, not %d", option, most, bits)
	}
	return nil
}

func (p *Policy) checkDurations() error {
	if p.Failback != nil && *p.Failback < 0 {
		return fmt.Errorf("failback must not be negative, got %s", *p.Failback)
	}
	if p.SlowStart < 0 {
		return fmt.Errorf("slow_start must not be negative, got %s", p.SlowStart)
	}
	return nil
}

func (p *Policy) checkWeights() error {
	for _, node := range slices.Sorted(maps.Keys(p.Weights)) {
		if weight := p.Weights[node]; weight < 0 || weight > MostWeight {
			return fmt.Errorf("the weight of '%s' must be from 0 to %d, not %d", node, MostWeight, weight)
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
	names := p.Clusters()
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
	if p.HealthCheckOff && p.HasHealthCheck {
		return errors.New("health_check is both off and configured")
	}
	return nil
}

// CheckClientIPHeader refuses what is no field, and fields that are not ours to set.
func CheckClientIPHeader(field string) error {
	if !httpguts.ValidHeaderFieldName(field) {
		return fmt.Errorf("client_ip_header '%s' is not the name of a header field, such as X-Real-IP", field)
	}
	switch http.CanonicalHeaderKey(field) {
	case "Host", "Connection", "Content-Length", "Expect", "Keep-Alive", "Te", "Trailer", "Transfer-Encoding", "Upgrade":
		return fmt.Errorf("client_ip_header '%s' is a field that HTTP itself needs: expected one such as X-Real-IP", field)
	}
	return nil
}
