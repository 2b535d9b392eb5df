package tigergraph

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
)

// UnmarshalCaddyfile sets up the policy from Caddyfile tokens. Syntax:
//
//	lb_policy tigergraph [cookie | client_ip | header <field> | none] {
//		affinity   cookie|client_ip|header <field>|none
//		cookie {
//			name       <name>
//			secret     <secret> [<previous...>]
//			lifetime   <duration>
//			persistent
//			domain     <domain>
//			path       <path>
//			same_site  lax|strict|none
//		}
//		ipv4_prefix <bits>
//		ipv6_prefix <bits>
//		fallback    <policy> [<options...>]
//		failback    <idle duration>
//		weight      <node> <n>
//		spread      restpp|off
//		cluster     <name>
//		standby     <name> <nodes...>
//		standby_reads
//		backup      <nodes...>
//		drain       <nodes...>
//		slow_start  <duration>
//		fail_closed
//		health_check off
//		health_check [services] {
//			...
//		}
//	}
//
// The affinity is given as an argument or as an option, not both.
func (p *Policy) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // consume the policy's name
	seen := make(given)
	if d.NextArg() {
		seen["affinity"] = true
		if err := p.unmarshalAffinity(d); err != nil {
			return d.WrapErr(err)
		}
	}
	var reads, clash caddyfile.Token // options that only others, or their lack, make wrong
	err := eachOption(d, seen, []string{"weight", "standby"}, func(option string) error {
		at := d.Token()
		if err := p.unmarshalOption(d, option); err != nil {
			return err
		}
		switch {
		case option == "standby_reads":
			reads = at
		case p.checkNames() == nil:
			clash = caddyfile.Token{}
		case clash.Line == 0:
			clash = at
		}
		return p.check()
	})
	if located := (locatedError{}); errors.As(err, &located) {
		return err
	}
	if err != nil {
		return d.WrapErr(err)
	}
	if err := p.checkWhole(); err != nil {
		if clash.Line == 0 {
			clash = reads
		}
		at := caddyfile.NewDispenser([]caddyfile.Token{clash})
		at.Next()
		return at.WrapErr(err)
	}
	return nil
}

// unmarshalOption reads one option, at whose name d stands. Its errors lack a
// line, for the caller adds it.
func (p *Policy) unmarshalOption(d *caddyfile.Dispenser, option string) (err error) {
	switch option {
	case "affinity":
		if !d.NextArg() {
			return errors.New("affinity needs a value: 'cookie', 'client_ip', 'header <field>' or 'none'")
		}
		err = p.unmarshalAffinity(d)
	case "cookie":
		p.Cookie = new(Cookie)
		err = p.Cookie.unmarshalCaddyfile(d)
	case "ipv4_prefix":
		p.IPv4Prefix, err = prefixArgument(d, option, 32)
	case "ipv6_prefix":
		p.IPv6Prefix, err = prefixArgument(d, option, 128)
	case "fallback":
		p.FallbackRaw, err = unmarshalFallback(d)
	case "failback":
		var idle caddy.Duration
		idle, err = durationArgument(d, option)
		p.Failback = &idle
	case "weight":
		err = p.unmarshalWeight(d)
	case "spread":
		p.Spread, err = spreadArgument(d)
	case "cluster":
		p.Cluster, err = argument(d, option)
	case "standby":
		err = p.unmarshalStandby(d)
	case "standby_reads":
		p.StandbyReads = true
		err = noArgument(d, option)
	case "backup":
		p.Backup, err = nodeArguments(d, option)
	case "drain":
		p.Drain, err = nodeArguments(d, option)
	case "slow_start":
		p.SlowStart, err = durationArgument(d, option)
	case "fail_closed":
		p.FailClosed = true
		err = noArgument(d, option)
	case "health_check":
		err = p.unmarshalHealthCheck(d)
	default:
		err = unknownOptionError(option)
	}
	return err
}

// unmarshalAffinity reads the affinity, at whose first word d stands.
func (p *Policy) unmarshalAffinity(d *caddyfile.Dispenser) error {
	p.Affinity = d.Val()
	if err := checkAffinity(p.Affinity); err != nil {
		return err
	}
	if p.Affinity == byHeader && d.NextArg() {
		p.Header = d.Val()
	}
	if d.NextArg() {
		return fmt.Errorf("unexpected argument '%s' after the affinity '%s'", d.Val(), p.Affinity)
	}
	return p.check()
}

// unmarshalCaddyfile reads the block of the option 'cookie'.
func (c *Cookie) unmarshalCaddyfile(d *caddyfile.Dispenser) error {
	if d.NextArg() {
		return fmt.Errorf("cookie takes a block of options, not the argument '%s'", d.Val())
	}
	err := eachOption(d, make(given), nil, func(option string) error {
		if err := c.unmarshalOption(d, option); err != nil {
			return err
		}
		return c.check()
	})
	if err != nil {
		return fmt.Errorf("cookie: %w", err)
	}
	return nil
}

func (c *Cookie) unmarshalOption(d *caddyfile.Dispenser, option string) (err error) {
	switch option {
	case "name":
		c.Name, err = argument(d, option)
	case "secret":
		if c.Secrets = d.RemainingArgs(); len(c.Secrets) == 0 {
			err = errors.New("secret needs a value")
		}
	case "lifetime":
		c.Lifetime, err = durationArgument(d, option)
		if err == nil {
			err = checkLifetime(time.Duration(c.Lifetime))
		}
	case "persistent":
		c.Persistent = true
		err = noArgument(d, option)
	case "domain":
		c.Domain, err = argument(d, option)
	case "path":
		c.Path, err = argument(d, option)
	case "same_site":
		c.SameSite, err = argument(d, option)
	default:
		err = fmt.Errorf("unrecognized option '%s'", option)
	}
	return err
}

// unmarshalFallback reads the option 'fallback', a policy with its own syntax.
func unmarshalFallback(d *caddyfile.Dispenser) (json.RawMessage, error) {
	if !d.NextArg() {
		return nil, errors.New("fallback needs the name of a selection policy")
	}
	name := d.Val()
	id := "http.reverse_proxy.selection_policies." + name
	if name == "tigergraph" {
		return nil, errors.New("fallback: it is for another policy than 'tigergraph', such as 'least_conn'")
	}
	module, err := caddyfile.UnmarshalModule(d, id)
	if err != nil {
		return nil, locatedError{fmt.Errorf("fallback: %w", err)}
	}
	selector, ok := module.(reverseproxy.Selector)
	if !ok {
		return nil, fmt.Errorf("fallback: module %s (%T) is not a selection policy", id, module)
	}
	return caddyconfig.JSONModuleObject(selector, "policy", name, nil), nil
}

// unmarshalWeight reads the weight of one node.
func (p *Policy) unmarshalWeight(d *caddyfile.Dispenser) error {
	words := d.RemainingArgs()
	if len(words) != 2 {
		return errors.New("weight needs a node and a number")
	}
	node := words[0]
	weight, err := strconv.Atoi(words[1])
	if err != nil {
		return fmt.Errorf("the weight of '%s' must be from 0 to %d, not '%s'", node, mostWeight, words[1])
	}
	if _, twice := p.Weights[node]; twice {
		return fmt.Errorf("the weight of '%s' is already specified", node)
	}
	if p.Weights == nil {
		p.Weights = make(map[string]int)
	}
	p.Weights[node] = weight
	return nil
}

// spreadArgument reads the services whose requests are spread.
func spreadArgument(d *caddyfile.Dispenser) ([]string, error) {
	value, err := argument(d, "spread")
	switch {
	case err != nil:
		return nil, err
	case value == off:
		return []string{}, nil
	}
	return []string{value}, nil
}

// unmarshalStandby reads another cluster.
func (p *Policy) unmarshalStandby(d *caddyfile.Dispenser) error {
	words := d.RemainingArgs()
	if len(words) < 2 {
		return errors.New("standby needs the name of a cluster and its nodes, as in 'standby dr m4 m5 m6'")
	}
	p.Standby = append(p.Standby, Standby{Name: words[0], Nodes: words[1:]})
	return nil
}

// nodeArguments reads the nodes of an option.
func nodeArguments(d *caddyfile.Dispenser, option string) ([]string, error) {
	nodes := d.RemainingArgs()
	if len(nodes) == 0 {
		return nil, fmt.Errorf("%s needs at least one node", option)
	}
	return nodes, nil
}

// unmarshalHealthCheck reads the option 'health_check', a module with its own
// syntax or 'off'.
func (p *Policy) unmarshalHealthCheck(d *caddyfile.Dispenser) error {
	name := "services"
	if d.NextArg() {
		name = d.Val()
	}
	if name == off {
		p.HealthCheckOff = true
		if err := noArgument(d, "health_check off"); err != nil {
			return err
		}
		if d.NextBlock(d.Nesting()) {
			return errors.New("health_check off takes no options")
		}
		return nil
	}
	id := "tigergraph.health_checks." + name
	module, err := caddyfile.UnmarshalModule(d, id)
	if err != nil {
		return locatedError{err}
	}
	checker, ok := module.(HealthChecker)
	if !ok {
		return fmt.Errorf("health_check: module %s (%T) is not a health checker", id, module)
	}
	p.HealthCheckRaw = caddyconfig.JSONModuleObject(checker, "checker", name, nil)
	return nil
}

// prefixArgument reads a number of leading bits.
func prefixArgument(d *caddyfile.Dispenser, option string, most int) (int, error) {
	text, err := argument(d, option)
	if err != nil {
		return 0, err
	}
	bits, err := strconv.Atoi(text)
	if err != nil {
		return 0, fmt.Errorf("%s must be a number of bits from 1 to %d, not '%s'", option, most, text)
	}
	return bits, checkPrefix(option, bits, most)
}
