package calls

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"reflect"
	"strings"
	"time"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/fleet"
	"github.com/caddy-tigergraph/caddy-tigergraph/internal/statuspage"
)

// LongestDrain is longer than any maintenance.
const LongestDrain = 365 * 24 * time.Hour

// Edge is what the calls show and change.
type Edge struct {
	Nodes    func() []statuspage.NodeStatus
	Services func() map[string]statuspage.ServiceState
	Clusters func() []statuspage.ClusterStatus
	// Drain lets a node take no new clients, for so long or, if that is 0, until Ready.
	Drain func(node string, duration time.Duration, force bool) (statuspage.NodeStatus, error)
	Ready func(node string) (statuspage.NodeStatus, error)
	// Switch makes a cluster the active one. The one before keeps its sessions for so long.
	Switch func(cluster string, drain time.Duration) ([]statuspage.ClusterStatus, error)
}

// RefusedError is the status and the message that a call is refused with.
type RefusedError struct {
	Status int
	Err    error
}

func (r RefusedError) Error() string { return r.Err.Error() }

func (r RefusedError) Unwrap() error { return r.Err }

// Refuse makes a refusal.
func Refuse(status int, format string, arguments ...any) error {
	return RefusedError{status, fmt.Errorf(format, arguments...)}
}

// Answer answers a call. Duration is how durations are written in the body of one.
func Answer[Duration ~int64](w http.ResponseWriter, r *http.Request, edge *Edge) error {
	var answer any
	var err error
	switch name := strings.TrimPrefix(r.URL.Path, Prefix); name {
	case "nodes":
		if err = expectMethod(w, r, http.MethodGet); err == nil {
			answer = edge.Nodes()
		}
	case "services":
		if err = expectMethod(w, r, http.MethodGet); err == nil {
			answer = edge.Services()
		}
	case "drain":
		var request struct {
			Node  string   `json:"node"`
			For   Duration `json:"for"`
			Force bool     `json:"force"`
		}
		const shape = `{"node": "m1:14240", "for": "1h", "force": false}`
		if err = decode(w, r, &request, shape); err == nil {
			err = expectNode(request.Node, shape)
		}
		if err == nil {
			err = expectDrain("'for' must be a duration from 0 (until the node is said to be ready) to %s, not %s", time.Duration(request.For))
		}
		if err == nil {
			answer, err = edge.Drain(request.Node, time.Duration(request.For), request.Force)
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
			answer, err = edge.Ready(request.Node)
		}
	case "clusters":
		if err = expectMethod(w, r, http.MethodGet); err == nil {
			answer = edge.Clusters()
		}
	case "switch":
		var request struct {
			Cluster string   `json:"cluster"`
			Drain   Duration `json:"drain"`
		}
		const shape = `{"cluster": "dr", "drain": "30m"}`
		if err = decode(w, r, &request, shape); err == nil && request.Cluster == "" {
			err = Refuse(http.StatusBadRequest, "the body must name a cluster, as in %s", shape)
		}
		if err == nil {
			err = expectDrain("'drain' must be a duration from 0 (sessions end at once) to %s, not %s", time.Duration(request.Drain))
		}
		if err == nil {
			answer, err = edge.Switch(request.Cluster, time.Duration(request.Drain))
		}
	default:
		err = Refuse(http.StatusNotFound, "there is no call %q; expected services, nodes, clusters, drain, ready or switch", name)
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

// mostBody is far more than any call needs.
const mostBody = 64 << 10

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
	return Refuse(http.StatusMethodNotAllowed, "the method of %s must be %s, not %s", r.URL.Path, allowed, r.Method)
}

// decode reads the body of a POST, which must be one JSON object of this shape.
func decode(w http.ResponseWriter, r *http.Request, request any, shape string) error {
	if err := expectMethod(w, r, http.MethodPost); err != nil {
		return err
	}
	decoder := json.NewDecoder(http.MaxBytesReader(w, r.Body, mostBody))
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
		return Refuse(http.StatusBadRequest, "the body must be JSON such as %s: %w", shape, err)
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
		return Refuse(http.StatusBadRequest, "the body must name a node, as in %s", shape)
	}
	return nil
}

// expectDrain refuses a drain that no maintenance lasts for.
func expectDrain(format string, duration time.Duration) error {
	if duration < 0 || duration > LongestDrain {
		return Refuse(http.StatusBadRequest, format, fleet.Brief(LongestDrain), fleet.Brief(duration))
	}
	return nil
}
