package tigergraph

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/options"
	"github.com/caddy-tigergraph/caddy-tigergraph/internal/settings"
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
	seen := make(options.Given)
	if d.NextArg() {
		seen["affinity"] = true
		if err := p.unmarshalAffinity(d); err != nil {
			return d.WrapErr(err)
		}
	}
	var reads, clash caddyfile.Token // options that only others, or their lack, make wrong
	err := options.Each(d, seen, []string{"weight", "standby"}, func(option string) error {
		at := d.Token()
		if err := p.unmarshalOption(d, option); err != nil {
			return err
		}
		switch {
		case option == "standby_reads":
			reads = at
		case p.plain().CheckNames() == nil:
			clash = caddyfile.Token{}
		case clash.Line == 0:
			clash = at
		}
		return p.plain().Check()
	})
	if located := (locatedError{}); errors.As(err, &located) {
		return err
	}
	if err != nil {
		return d.WrapErr(err)
	}
	if err := p.plain().CheckWhole(); err != nil {
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
		p.Cluster, err = options.Argument(d, option)
	case "standby":
		err = p.unmarshalStandby(d)
	case "standby_reads":
		p.StandbyReads = true
		err = options.NoArgument(d, option)
	case "backup":
		p.Backup, err = options.Nodes(d, option)
	case "drain":
		p.Drain, err = options.Nodes(d, option)
	case "slow_start":
		p.SlowStart, err = durationArgument(d, option)
	case "fail_closed":
		p.FailClosed = true
		err = options.NoArgument(d, option)
	case "health_check":
		err = p.unmarshalHealthCheck(d)
	default:
		err = options.UnknownError(option)
	}
	return err
}

// unmarshalAffinity reads the affinity, at whose first word d stands.
func (p *Policy) unmarshalAffinity(d *caddyfile.Dispenser) error {
	p.Affinity = d.Val()
	if err := settings.CheckAffinity(p.Affinity); err != nil {
		return err
	}
	if p.Affinity == settings.ByHeader && d.NextArg() {
		p.Header = d.Val()
	}
	if d.NextArg() {
		return fmt.Errorf("unexpected argument '%s' after the affinity '%s'", d.Val(), p.Affinity)
	}
	return p.plain().Check()
}

// unmarshalCaddyfile reads the block of the option 'cookie'.
func (c *Cookie) unmarshalCaddyfile(d *caddyfile.Dispenser) error {
	if d.NextArg() {
		return fmt.Errorf("cookie takes a block of options, not the argument '%s'", d.Val())
	}
	err := options.Each(d, make(options.Given), nil, func(option string) error {
		if err := c.unmarshalOption(d, option); err != nil {
			return err
		}
		return c.plain().Check()
	})
	if err != nil {
		return fmt.Errorf("cookie: %w", err)
	}
	return nil
}

func (c *Cookie) unmarshalOption(d *caddyfile.Dispenser, option string) (err error) {
	switch option {
	case "name":
		c.Name, err = options.Argument(d, option)
	case "secret":
		c.Secrets, err = options.Secrets(d)
	case "lifetime":
		c.Lifetime, err = durationArgument(d, option)
		if err == nil {
			err = settings.CheckLifetime(time.Duration(c.Lifetime))
		}
	case "persistent":
		c.Persistent = true
		err = options.NoArgument(d, option)
	case "domain":
		c.Domain, err = options.Argument(d, option)
	case "path":
		c.Path, err = options.Argument(d, option)
	case "same_site":
		c.SameSite, err = options.Argument(d, option)
	default:
		err = options.UnknownError(option)
	}
	return err
}

// unmarshalFallback reads the option 'fallback', a policy with its own syntax.
func unmarshalFallback(d *caddyfile.Dispenser) (json.RawMessage, error) {
	name, err := options.Fallback(d)
	if err != nil {
		return nil, err
	}
	id := "http.reverse_proxy.selection_policies." + name
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
	node, weight, err := options.Weight(d, p.Weights, settings.MostWeight)
	if err != nil {
		return err
	}
	if p.Weights == nil {
		p.Weights = make(map[string]int)
	}
	p.Weights[node] = weight
	return nil
}

// spreadArgument reads the services whose requests are spread.
func spreadArgument(d *caddyfile.Dispenser) ([]string, error) {
	value, err := options.Argument(d, "spread")
	switch {
	case err != nil:
		return nil, err
	case value == settings.Off:
		return []string{}, nil
	}
	return []string{value}, nil
}

// unmarshalStandby reads another cluster.
func (p *Policy) unmarshalStandby(d *caddyfile.Dispenser) error {
	name, nodes, err := options.Standby(d)
	if err == nil {
		p.Standby = append(p.Standby, Standby{Name: name, Nodes: nodes})
	}
	return err
}

// unmarshalHealthCheck reads the option 'health_check', a module with its own
// syntax or 'off'.
func (p *Policy) unmarshalHealthCheck(d *caddyfile.Dispenser) error {
	var names []string
	for _, module := range caddy.GetModules("tigergraph.health_checks") {
		names = append(names, module.ID.Name())
	}
	name, err := options.Check(d, names)
	if err != nil {
		return err
	}
	if name == settings.Off {
		p.HealthCheckOff = true
		if err := options.NoArgument(d, "health_check off"); err != nil {
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

// durationArgument reads a duration as Caddy writes it.
func durationArgument(d *caddyfile.Dispenser, option string) (caddy.Duration, error) {
	duration, err := options.Duration(d, option, caddy.ParseDuration)
	return caddy.Duration(duration), err
}

// prefixArgument reads a number of leading bits.
func prefixArgument(d *caddyfile.Dispenser, option string, most int) (int, error) {
	bits, err := options.Bits(d, option, most)
	if err != nil {
		return 0, err
	}
	return bits, settings.CheckPrefix(option, bits, most)
}

// locatedError is an error that names its line already, as those of other
// modules' parsers do.
type locatedError struct{ error }
