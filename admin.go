package tigergraph

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"reflect"
	"strconv"
	"strings"
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
// `GET /tigergraph/services` | says of each service whether requests go to nodes that are down, because all are (`fail_open`), and whether no node takes a new client's request (`unavailable`)
// `POST /tigergraph/drain` | lets a node take no new clients: `{"node": "m1:14240", "for": "1h", "force": false}`
// `POST /tigergraph/ready` | ends that: `{"node": "m1:14240"}`
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

// mostAdminBody is far more than any call needs.
const mostAdminBody = 64 << 10

// Routes implements caddy.AdminRouter.
func (a *Admin) Routes() []caddy.AdminRoute {
	return []caddy.AdminRoute{{Pattern: calls.Prefix, Handler: caddy.AdminHandlerFunc(a.serve)}}
}

func (a *Admin) serve(w http.ResponseWriter, r *http.Request) error {
	app := liveApps.newest()
	if app == nil {
		app = new(App) // one without nodes
	}
	var answer any
	var err error
	switch name := strings.TrimPrefix(r.URL.Path, calls.Prefix); name {
	case "nodes":
		if err = expectMethod(w, r, http.MethodGet); err == nil {
			answer = app.statuses()
		}
	case "services":
		if err = expectMethod(w, r, http.MethodGet); err == nil {
			answer = app.serviceStates()
		}
	case "drain":
		var request struct {
			Node  string       `json:"node"`
			For   callDuration `json:"for"`
			Force bool         `json:"force"`
		}
		const shape = `{"node": "m1:14240", "for": "1h", "force": false}`
		if err = decode(w, r, &request, shape); err == nil {
			err = expectNode(request.Node, shape)
		}
		if err == nil {
			answer, err = app.drain(request.Node, time.Duration(request.For), request.Force)
		}
	case "ready":
		var request struct {
			Node string `json:"node"`
		}
		const shape = `{"node": "m1:14240"}`
		if err = decode(w, r, &request, shape); err == nil {
			err = expectNode(request.Node, shape)
		}
		if err == nil {
			answer, err = app.ready(request.Node)
		}
	case "clusters":
		if err = expectMethod(w, r, http.MethodGet); err == nil {
			answer = app.clusterStatuses()
		}
	case "switch":
		var request struct {
			Cluster string       `json:"cluster"`
			Drain   callDuration `json:"drain"`
		}
		const shape = `{"cluster": "dr", "drain": "30m"}`
		if err = decode(w, r, &request, shape); err == nil && request.Cluster == "" {
			err = refuse(http.StatusBadRequest, "the body must name a cluster, as in %s", shape)
		}
		if err == nil {
			answer, err = app.switchTo(request.Cluster, time.Duration(request.Drain))
		}
	default:
		err = refuse(http.StatusNotFound, "there is no call %q; expected services, nodes, clusters, drain, ready or switch", name)
	}
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json")
	if err := json.NewEncoder(w).Encode(answer); err != nil {
		return fmt.Errorf("writing the answer: %w", err)
	}
	return nil
}

// expectMethod refuses another method. What can be got may be asked about by HEAD.
func expectMethod(w http.ResponseWriter, r *http.Request, method string) error {
	if r.Method == method || method == http.MethodGet && r.Method == http.MethodHead {
		return nil
	}
	allowed := method
	if method == http.MethodGet {
		allowed = "GET, HEAD"
	}
	w.Header().Set("Allow", allowed)
	return refuse(http.StatusMethodNotAllowed, "the method of %s must be %s, not %s", r.URL.Path, allowed, r.Method)
}

// decode reads the body of a POST, which must be one JSON object of this shape.
func decode(w http.ResponseWriter, r *http.Request, request any, shape string) error {
	if err := expectMethod(w, r, http.MethodPost); err != nil {
		return err
	}
	decoder := json.NewDecoder(http.MaxBytesReader(w, r.Body, mostAdminBody))
	decoder.DisallowUnknownFields()
	err := decoder.Decode(request)
	if err == nil {
		if _, extra := decoder.Token(); !errors.Is(extra, io.EOF) {
			err = errors.New("there is more after the object")
		}
	}
	wrong := (*json.UnmarshalTypeError)(nil)
	if errors.As(err, &wrong) {
		err = wrongType(wrong)
	}
	if err != nil {
		return refuse(http.StatusBadRequest, "the body must be JSON such as %s: %w", shape, err)
	}
	return nil
}

// wrongType says without words of Go what is of the wrong type.
func wrongType(wrong *json.UnmarshalTypeError) error {
	if wrong.Field == "" {
		return fmt.Errorf("expected an object, not %s", wrong.Value)
	}
	expected := "a string"
	if wrong.Type.Kind() == reflect.Bool {
		expected = "true or false"
	}
	return fmt.Errorf("'%s' must be %s, not %s", wrong.Field, expected, wrong.Value)
}

// expectNode refuses a body that names no node.
func expectNode(node, shape string) error {
	if node == "" {
		return refuse(http.StatusBadRequest, "the body must name a node, as in %s", shape)
	}
	return nil
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
		return fmt.Errorf("expected a duration such as 30m or 1h, at most %s", fleet.Brief(longestDrain))
	}
	*d = callDuration(duration)
	return nil
}

// Interface guards
var (
	_ caddy.AdminRouter = (*Admin)(nil)
	_ caddy.Module      = (*Admin)(nil)
)
