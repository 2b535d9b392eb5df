package tigergraph

import (
	"context"
	"net/http"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
)

// HealthChecker says how the services of a node are checked. Modules in the
// namespace tigergraph.health_checks implement it. The verdicts, the timing and
// the life cycle of the probes are the plugin's.
type HealthChecker interface {
	// Plan returns how a service ("gui", "gsql" or "restpp") is probed, and false
	// if it is not.
	Plan(service string) (ProbePlan, bool)

	// Probe asks a service of a node, through the proxy's transport, whether it
	// can serve. The error says in plain words why not, without a word of what
	// the node sent. The context ends with the plan's timeout.
	Probe(ctx context.Context, transport http.RoundTripper, node reverseproxy.DialInfo, service string) error
}

// ProbePlan says when a service is probed and what the results are worth.
type ProbePlan struct {
	Interval, Timeout time.Duration
	Jitter            int // in percent of the interval
	Passes, Fails     int // consecutive ones that change the verdict
	// StartChecking keeps requests from a node until its first probe has passed.
	StartChecking bool
}
