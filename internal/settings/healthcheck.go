package settings

import (
	"cmp"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"

	"golang.org/x/net/http/httpguts"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/service"
)

// Off is the path of a service that is not checked.
const Off = "off"

// olderGSQL is the default path at which GSQL is probed.
const olderGSQL = "/gsqlserver/gsql/version"

// newerGSQL is where GSQL is probed whose older path the node's nginx does not know.
var newerGSQL = &url.URL{Path: "/gsql/v1/version"}

const (
	// shortestInterval keeps a slip of the pen from flooding the nodes.
	shortestInterval = 10 * time.Millisecond
	// longestInterval is far from where the arithmetic of waits ends.
	longestInterval = 24 * time.Hour
)

// HealthCheck is what the health check of services is set to, as plain values.
type HealthCheck struct {
	Interval, Timeout time.Duration
	Jitter            *int // in percent
	Passes, Fails     int
	GUI, RESTPP, GSQL string // the path, or Off
	Headers           http.Header
	Start             string
}

// WithDefaults returns the check with what the user left open.
func (c HealthCheck) WithDefaults() HealthCheck {
	c.Interval, c.Timeout = cmp.Or(c.Interval, 2*time.Second), cmp.Or(c.Timeout, 2*time.Second)
	c.Passes, c.Fails = cmp.Or(c.Passes, 2), cmp.Or(c.Fails, 3)
	if c.Jitter == nil {
		percent := 10
		c.Jitter = &percent
	}
	return c
}

// paths returns each service's path or its default.
func (c *HealthCheck) paths() [service.Count]string {
	return [service.Count]string{
		service.GUI:    cmp.Or(c.GUI, "/api/ping"),
		service.GSQL:   cmp.Or(c.GSQL, olderGSQL),
		service.RESTPP: cmp.Or(c.RESTPP, "/restpp/echo"),
	}
}

// Targets are where a service is probed: nowhere, at one path, or at the second one where
// the node's nginx does not know the first.
type Targets []*url.URL

// Targets returns those of each service.
func (c *HealthCheck) Targets() (targets [service.Count]Targets, err error) {
	for checked, path := range c.paths() {
		if path == Off {
			continue
		}
		target, err := url.Parse(path)
		if err != nil {
			return targets, fmt.Errorf("%s: %w", service.Service(checked), err)
		}
		targets[checked] = Targets{target}
		if service.Service(checked) == service.GSQL && path == olderGSQL {
			targets[checked] = append(targets[checked], newerGSQL)
		}
	}
	return targets, nil
}

// Header returns the header of the probes and their host, "" if it is the node's. The
// placeholders are expanded by a function.
func (c *HealthCheck) Header(expand func(string) string) (header http.Header, host string, err error) {
	header = make(http.Header, len(c.Headers))
	for field, values := range c.Headers {
		for _, value := range values {
			value = expand(value)
			if HoldsPlaceholder(value) {
				return nil, "", fmt.Errorf("the value of the header field '%s' has a placeholder that nothing expands", field)
			}
			header.Add(field, value)
		}
	}
	host = header.Get("Host")
	header.Del("Host")
	// The transport would undo a compression, and a bomb is not to go off here.
	header.Set("Accept-Encoding", "identity")
	return header, host, nil
}

// Refuse refuses settings that cannot be meant.
func (c *HealthCheck) Refuse() error {
	if c.Interval != 0 && c.Interval < shortestInterval {
		return fmt.Errorf("interval must be at least %s, not %s", shortestInterval, c.Interval)
	}
	if c.Interval > longestInterval {
		return fmt.Errorf("interval must be at most %s, not %s", longestInterval, c.Interval)
	}
	if c.Timeout < 0 {
		return fmt.Errorf("timeout must be positive, not %s", c.Timeout)
	}
	if c.Jitter != nil && (*c.Jitter < 0 || *c.Jitter > 100) {
		return fmt.Errorf("jitter must be a percentage from 0 to 100, not %d", *c.Jitter)
	}
	if c.Passes < 0 {
		return fmt.Errorf("passes must be at least 1, not %d", c.Passes)
	}
	if c.Fails < 0 {
		return fmt.Errorf("fails must be at least 1, not %d", c.Fails)
	}
	for checked, path := range c.paths() {
		if path == Off {
			continue
		}
		if _, err := url.ParseRequestURI(path); err != nil || !strings.HasPrefix(path, "/") {
			return fmt.Errorf("%s must be a path that begins with a slash or 'off', not '%s'", service.Service(checked), path)
		}
	}
	for field, values := range c.Headers {
		if !httpguts.ValidHeaderFieldName(field) {
			return fmt.Errorf("'%s' is not the name of a header field", field)
		}
		for _, value := range values {
			if !httpguts.ValidHeaderFieldValue(value) {
				return fmt.Errorf("the value of the header field '%s' has a character that is not allowed there", field)
			}
		}
	}
	switch c.Start {
	case "", "healthy", "checking":
		return nil
	}
	return fmt.Errorf("start must be 'healthy' or 'checking', not '%s'", c.Start)
}
