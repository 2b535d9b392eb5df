package tigergraph

import (
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/calls"
	"github.com/caddy-tigergraph/caddy-tigergraph/internal/fleet"
)

func init() {
	caddy.RegisterModule(new(Admin))
}

// Admin adds to Caddy's admin endpoint:
//
// Call | Does
// -----|-----
// `GET /tigergraph/nodes` | lists the nodes, their drains, load and health
// `GET /tigergraph/services` | says of each service whether requests go to nodes that are
// down, draining or out by Caddy's checks, because all are (`fail_open`), and whether no node takes a new client's request (`unavailable`)
// `POST /tigergraph/drain` | lets a node take no new clients: `{"node": "m1:14240", "for": "1h", "force": false}`
// `POST /tigergraph/ready` | ends the drain of a node: `{"node": "m1:14240"}`
// `GET /tigergraph/clusters` | lists the clusters, and which is the active one
// `POST /tigergraph/switch` | makes a cluster the active one: `{"cluster": "dr", "drain": "30m"}`
//
// It holds no state: Caddy may answer with the endpoint of a configuration that
// failed to load, while the one before goes on serving.
type Admin struct{}

// CaddyModule returns the Caddy module information.
func (*Admin) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "admin.api.tigergraph",
		New: func() caddy.Module { return new(Admin) },
	}
}

// Routes implements caddy.AdminRouter.
func (a *Admin) Routes() []caddy.AdminRoute {
	return []caddy.AdminRoute{{Pattern: calls.Prefix, Handler: caddy.AdminHandlerFunc(a.serve)}}
}

func (a *Admin) serve(w http.ResponseWriter, r *http.Request) error {
	app := liveApps.Newest()
	if app == nil {
		app = new(App) // one without nodes
	}
	err := calls.Answer[callDuration](w, r, &calls.Edge{
		Nodes: app.statuses, Services: app.serviceStates, Clusters: app.clusterStatuses,
		Drain: app.drain, Ready: app.ready, Switch: app.switchTo,
	})
	if refusal := (calls.RefusedError{}); errors.As(err, &refusal) {
		return caddy.APIError{HTTPStatus: refusal.Status, Err: refusal.Err}
	}
	return err
}

// callDuration is a duration in the body of a call.
type callDuration time.Duration

// UnmarshalJSON implements json.Unmarshaler.
func (d *callDuration) UnmarshalJSON(text []byte) error {
	// Of a bare number nobody knows what it counts; Caddy takes it for nanoseconds.
	if number, err := strconv.ParseFloat(string(text), 64); err == nil && number != 0 {
		return fmt.Errorf("expected a duration with its unit, such as \"30m\" or \"1h\", not %s", text)
	}
	var duration caddy.Duration
	if err := duration.UnmarshalJSON(text); err != nil {
		return fmt.Errorf("expected a duration such as 30m or 1h, at most %s", fleet.Brief(calls.LongestDrain))
	}
	*d = callDuration(duration)
	return nil
}

// Interface guards
var (
	_ caddy.AdminRouter = (*Admin)(nil)
	_ caddy.Module      = (*Admin)(nil)
)
