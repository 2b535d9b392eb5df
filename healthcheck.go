package tigergraph

import (
	"fmt"
	"net/http"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/health"
	"github.com/caddy-tigergraph/caddy-tigergraph/internal/options"
	"github.com/caddy-tigergraph/caddy-tigergraph/internal/service"
	"github.com/caddy-tigergraph/caddy-tigergraph/internal/settings"
)

func init() {
	caddy.RegisterModule(new(Services))
}

// Services is a health check that knows what each of TigerGraph's services
// answers while it lives. Each service has a verdict of its own, so that a node
// whose GSQL server is down keeps its GraphStudio sessions.
//
// The probes go through the proxy's own transport: with the same TLS settings,
// authorities and server name. They are GET requests over HTTP/1.1, follow no
// redirect, and read at most 64 KiB of the answer.
type Services struct {
	// How long to wait between two probes of a service. While its verdict is in
	// doubt (a failure while up, a pass while down) it is a quarter of that. At
	// least 10ms, at most 24h. From 30s on, a probe leaves no connection open.
	// Default: 2s.
	Interval caddy.Duration `json:"interval,omitempty"`

	// How long a probe may take, the answer's body included. Default: 2s.
	Timeout caddy.Duration `json:"timeout,omitempty"`

	// By how many percent a wait may be shorter or longer, 0 to 100. Default: 10.
	Jitter *int `json:"jitter,omitempty"`

	// How many consecutive passes make a service up that was down. Default: 2.
	Passes int `json:"passes,omitempty"`

	// How many consecutive failures make a service down. Default: 3.
	Fails int `json:"fails,omitempty"`

	// The path at which the application server is probed, or `off`. It passes with
	// status 200 and JSON whose `message` is `pong` and whose `error` is false,
	// "false" or missing. Default: `/api/ping`.
	GUI string `json:"gui,omitempty"`

	// The path at which RESTPP is probed, or `off`. Any answer of the server itself
	// passes: a 401 or a 503 proves that it lives. The statuses 502 and 504, and the
	// error pages of the node's own nginx, do not. Default: `/restpp/echo`.
	RESTPP string `json:"restpp,omitempty"`

	// The path at which the GSQL server is probed, or `off`. It passes as RESTPP
	// does. If the node's nginx does not know the path, the verdict is unknown, which
	// then counts as up. Default: `/gsqlserver/gsql/version`, or `/gsql/v1/version`
	// where the node's nginx does not know that.
	GSQL string `json:"gsql,omitempty"`

	// Header fields of the probes. Global placeholders such as `{env.TOKEN}` are
	// expanded, and a value that holds one of a variable or a file after that is refused.
	Headers http.Header `json:"headers,omitempty"`

	// What counts before the first probe of a service is answered: `healthy` (the
	// default), or `checking`, which sends no requests to it.
	Start string `json:"start,omitempty"`

	plan    ProbePlan
	targets [service.Count]settings.Targets
	header  http.Header // expanded
	host    string
	// moved are the nodes, by their addresses, whose nginx knows the newer path of
	// GSQL alone.
	moved health.Moved
}

// CaddyModule returns the Caddy module information.
func (*Services) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "tigergraph.health_checks.services",
		New: func() caddy.Module { return new(Services) },
	}
}

// Provision sets up the health check.
func (s *Services) Provision(caddy.Context) error {
	plain := s.plain()
	if err := plain.Refuse(); err != nil {
		return err
	}
	var err error
	if s.targets, err = plain.Targets(); err != nil {
		return err
	}
	expand := func(value string) string { return caddy.NewReplacer().ReplaceKnown(value, "") }
	if s.header, s.host, err = plain.Header(expand); err != nil {
		return err
	}
	full := plain.WithDefaults()
	s.plan = ProbePlan{
		Interval: full.Interval, Timeout: full.Timeout, Jitter: *full.Jitter, Passes: full.Passes, Fails: full.Fails,
		StartChecking: full.Start == "checking",
	}
	return nil
}

// plain returns what the health check is set to, as plain values.
func (s *Services) plain() *settings.HealthCheck {
	return &settings.HealthCheck{
		Interval: time.Duration(s.Interval), Timeout: time.Duration(s.Timeout), Jitter: s.Jitter, Passes: s.Passes, Fails: s.Fails,
		GUI: s.GUI, RESTPP: s.RESTPP, GSQL: s.GSQL, Headers: s.Headers, Start: s.Start,
	}
}

// Plan implements HealthChecker.
func (s *Services) Plan(name string) (ProbePlan, bool) {
	checked, known := service.Parse(name)
	return s.plan, known && s.targets[checked] != nil
}

// UnmarshalCaddyfile sets up the health check from Caddyfile tokens. Syntax:
//
//	health_check [services] {
//		interval <duration>
//		timeout  <duration>
//		jitter   <percent>
//		passes   <n>
//		fails    <n>
//		gui      <path>|off
//		restpp   <path>|off
//		gsql     <path>|off
//		header   <field> <value>
//		start    healthy|checking
//	}
func (s *Services) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // consume the name
	if d.NextArg() {
		return d.Errf("unexpected argument '%s' after '%s'", d.Val(), "health_check services")
	}
	err := options.Each(d, make(options.Given), []string{"header"}, func(option string) error {
		if err := s.unmarshalOption(d, option); err != nil {
			return err
		}
		return s.plain().Refuse()
	})
	if err != nil {
		return d.WrapErr(fmt.Errorf("health_check: %w", err))
	}
	return nil
}

func (s *Services) unmarshalOption(d *caddyfile.Dispenser, option string) (err error) {
	switch option {
	case "interval":
		s.Interval, err = positiveDurationArgument(d, option)
	case "timeout":
		s.Timeout, err = positiveDurationArgument(d, option)
	case "jitter":
		var percent int
		if percent, err = options.Percent(d, option); err == nil {
			s.Jitter = &percent
		}
	case "passes":
		s.Passes, err = options.Count(d, option)
	case "fails":
		s.Fails, err = options.Count(d, option)
	case "gui":
		s.GUI, err = options.Argument(d, option)
	case "restpp":
		s.RESTPP, err = options.Argument(d, option)
	case "gsql":
		s.GSQL, err = options.Argument(d, option)
	case "header":
		var field, value string
		if field, value, err = options.Header(d); err != nil {
			return err
		}
		if s.Headers == nil {
			s.Headers = make(http.Header)
		}
		s.Headers.Add(field, value)
	case "start":
		s.Start, err = options.Argument(d, option)
	default:
		err = options.UnknownError(option)
	}
	return err
}

// positiveDurationArgument reads a duration that is more than 0.
func positiveDurationArgument(d *caddyfile.Dispenser, option string) (caddy.Duration, error) {
	duration, err := options.PositiveDuration(d, option, caddy.ParseDuration)
	return caddy.Duration(duration), err
}

// Interface guards
var (
	_ HealthChecker         = (*Services)(nil)
	_ caddy.Module          = (*Services)(nil)
	_ caddy.Provisioner     = (*Services)(nil)
	_ caddyfile.Unmarshaler = (*Services)(nil)
)
