package tigergraph

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"golang.org/x/net/http/httpguts"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/environment"
	"github.com/caddy-tigergraph/caddy-tigergraph/internal/service"
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
	// expanded, and a value that holds one after that is refused.
	Headers http.Header `json:"headers,omitempty"`

	// What counts before the first probe of a service is answered: `healthy` (the
	// default), or `checking`, which sends no requests to it.
	Start string `json:"start,omitempty"`

	plan    ProbePlan
	targets [service.Count]*url.URL // nil where it is off
	header  http.Header             // expanded
	host    string
	// moved are the nodes, by their addresses, whose nginx knows the newer path of
	// GSQL alone.
	moved sync.Map
}

// olderGSQL is the default path at which GSQL is probed.
const olderGSQL = "/gsqlserver/gsql/version"

// newerGSQL is where GSQL is probed whose older path the node's nginx does not know.
var newerGSQL = &url.URL{Path: "/gsql/v1/version"}

// CaddyModule returns the Caddy module information.
func (*Services) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "tigergraph.health_checks.services",
		New: func() caddy.Module { return new(Services) },
	}
}

// Provision sets up the health check.
func (s *Services) Provision(caddy.Context) error {
	if err := s.check(); err != nil {
		return err
	}
	s.plan = ProbePlan{
		Interval:      orDefault(time.Duration(s.Interval), 2*time.Second),
		Timeout:       orDefault(time.Duration(s.Timeout), 2*time.Second),
		Jitter:        10,
		Passes:        orDefault(s.Passes, 2),
		Fails:         orDefault(s.Fails, 3),
		StartChecking: s.Start == "checking",
	}
	if s.Jitter != nil {
		s.plan.Jitter = *s.Jitter
	}
	for checked, path := range s.paths() {
		if path == off {
			continue
		}
		target, err := url.Parse(path)
		if err != nil {
			return fmt.Errorf("%s: %w", service.Service(checked), err)
		}
		s.targets[checked] = target
	}
	replacer := caddy.NewReplacer()
	s.header = make(http.Header, len(s.Headers))
	for field, values := range s.Headers {
		for _, value := range values {
			value = replacer.ReplaceKnown(value, "")
			if environment.HoldsPlaceholder(value) {
				return fmt.Errorf("the value of the header field '%s' has a placeholder that nothing expands", field)
			}
			s.header.Add(field, value)
		}
	}
	s.host = s.header.Get("Host")
	s.header.Del("Host")
	// The transport would undo a compression, and a bomb is not to go off here.
	s.header.Set("Accept-Encoding", "identity")
	return nil
}

// paths returns each service's path or its default.
func (s *Services) paths() [service.Count]string {
	return [service.Count]string{
		service.GUI:    orDefault(s.GUI, "/api/ping"),
		service.GSQL:   orDefault(s.GSQL, olderGSQL),
		service.RESTPP: orDefault(s.RESTPP, "/restpp/echo"),
	}
}

// shortestInterval keeps a slip of the pen from flooding the nodes.
const shortestInterval = 10 * time.Millisecond

// longInterval is from where on probes leave no connection open.
const longInterval = 30 * time.Second

// longestInterval is far from where the arithmetic of waits ends.
const longestInterval = 24 * time.Hour

// check refuses settings that cannot be meant.
func (s *Services) check() error {
	if interval := time.Duration(s.Interval); interval != 0 && interval < shortestInterval {
		return fmt.Errorf("interval must be at least %s, not %s", shortestInterval, interval)
	}
	if interval := time.Duration(s.Interval); interval > longestInterval {
		return fmt.Errorf("interval must be at most %s, not %s", longestInterval, interval)
	}
	if s.Timeout < 0 {
		return fmt.Errorf("timeout must be positive, not %s", time.Duration(s.Timeout))
	}
	if s.Jitter != nil && (*s.Jitter < 0 || *s.Jitter > 100) {
		return fmt.Errorf("jitter must be a percentage from 0 to 100, not %d", *s.Jitter)
	}
	if s.Passes < 0 {
		return fmt.Errorf("passes must be at least 1, not %d", s.Passes)
	}
	if s.Fails < 0 {
		return fmt.Errorf("fails must be at least 1, not %d", s.Fails)
	}
	for checked, path := range s.paths() {
		if path == off {
			continue
		}
		if _, err := url.ParseRequestURI(path); err != nil || !strings.HasPrefix(path, "/") {
			return fmt.Errorf("%s must be a path that begins with a slash or 'off', not '%s'", service.Service(checked), path)
		}
	}
	for field, values := range s.Headers {
		if !httpguts.ValidHeaderFieldName(field) {
			return fmt.Errorf("'%s' is not the name of a header field", field)
		}
		for _, value := range values {
			if !httpguts.ValidHeaderFieldValue(value) {
				return fmt.Errorf("the value of the header field '%s' has a character that is not allowed there", field)
			}
		}
	}
	switch s.Start {
	case "", "healthy", "checking":
		return nil
	}
	return fmt.Errorf("start must be 'healthy' or 'checking', not '%s'", s.Start)
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
	err := eachOption(d, make(given), []string{"header"}, func(option string) error {
		if err := s.unmarshalOption(d, option); err != nil {
			return err
		}
		return s.check()
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
		var text string
		if text, err = argument(d, option); err != nil {
			break
		}
		percent, parseErr := strconv.Atoi(strings.TrimSuffix(text, "%"))
		if parseErr != nil {
			return fmt.Errorf("jitter must be a percentage from 0 to 100, not '%s'", text)
		}
		s.Jitter = &percent
	case "passes":
		s.Passes, err = countArgument(d, option)
	case "fails":
		s.Fails, err = countArgument(d, option)
	case "gui":
		s.GUI, err = argument(d, option)
	case "restpp":
		s.RESTPP, err = argument(d, option)
	case "gsql":
		s.GSQL, err = argument(d, option)
	case "header":
		words := d.RemainingArgs()
		if len(words) != 2 {
			return errors.New("header needs a field and a value")
		}
		if s.Headers == nil {
			s.Headers = make(http.Header)
		}
		s.Headers.Add(words[0], words[1])
	case "start":
		s.Start, err = argument(d, option)
	default:
		err = fmt.Errorf("unrecognized option '%s'", option)
	}
	return err
}

// Interface guards
var (
	_ HealthChecker         = (*Services)(nil)
	_ caddy.Module          = (*Services)(nil)
	_ caddy.Provisioner     = (*Services)(nil)
	_ caddyfile.Unmarshaler = (*Services)(nil)
)
