// Package statuspage is the status page but for Caddy: what it shows, how that is
// sent to those who look, and the page itself.
package statuspage

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/health"
	"github.com/caddy-tigergraph/caddy-tigergraph/internal/history"
)

// NodeStatus is what is known of a node, as the admin endpoint shows it.
type NodeStatus struct {
	Address    string     `json:"address"`
	Cluster    string     `json:"cluster"`
	Role       string     `json:"role"` // primary, backup or standby
	Draining   bool       `json:"draining"`
	DrainUntil *time.Time `json:"drain_until,omitempty"`
	// LastSession is when a session was last used on the node while it drained.
	LastSession *time.Time               `json:"last_session,omitempty"`
	Weight      int                      `json:"weight"`
	Requests    int                      `json:"requests"` // in flight
	Fails       int                      `json:"fails"`    // by Caddy's passive checks
	Services    map[string]ServiceStatus `json:"services"`
}

// ClusterStatus is what is known of a cluster, as the admin endpoint shows it.
type ClusterStatus struct {
	Name   string   `json:"name"`
	Active bool     `json:"active"`
	Nodes  []string `json:"nodes"`
	// Since is when an operator made the cluster the active one; nil if nobody has.
	Since *time.Time `json:"since,omitempty"`
	// DrainingUntil is how long sessions stay in a cluster that is not the active one
	// any more; nil if none do.
	DrainingUntil *time.Time `json:"draining_until,omitempty"`
}

// ServiceStatus is what is known of one service of a node.
type ServiceStatus struct {
	Verdict   string     `json:"verdict"` // up, down, unknown or off
	Since     *time.Time `json:"since,omitempty"`
	Streak    int        `json:"streak"`
	LastProbe *time.Time `json:"last_probe,omitempty"`
	LatencyMS float64    `json:"latency_ms"`
	LastError string     `json:"last_error,omitempty"`
	// Advice is what to do about a service that is down or cannot be checked.
	Advice string `json:"advice,omitempty"`
	// Evidence is what live requests met, nil if they have met no failure.
	Evidence *Evidence `json:"evidence,omitempty"`
	// Traffic is of the last minutes' requests, nil where nobody counts them.
	Traffic *Traffic `json:"traffic,omitempty"`
}

// Traffic is how the requests to a service of a node went in the last minutes.
type Traffic struct {
	// PerSecond is how many attempts there were a second, and ErrorsPerSecond how many
	// of them ended in an error: no answer, or a status of 500 and above.
	PerSecond       float64 `json:"per_second"`
	ErrorsPerSecond float64 `json:"errors_per_second"`
	// P95MS is within how many milliseconds the first byte of 95 % of the answers came;
	// nil if there were none.
	P95MS *float64 `json:"p95_ms,omitempty"`
}

// Evidence is what live requests met of a service.
type Evidence struct {
	Last string    `json:"last"` // the last failure
	At   time.Time `json:"at"`
	// Count is how many failures there were in the last five minutes.
	Count int `json:"count_5m"`
}

// Snapshot is all that the page shows.
type Snapshot struct {
	Time          time.Time `json:"time"`
	Version       string    `json:"version"`
	CaddyVersion  string    `json:"caddy_version"`
	Started       time.Time `json:"started"`
	UptimeSeconds int64     `json:"uptime_seconds"`
	// LatencyStep is the number of the step that has not ended yet; the latency of
	// probes is shown up to it.
	LatencyStep        int64                   `json:"latency_step"`
	LatencyStepSeconds int                     `json:"latency_step_seconds"`
	Services           map[string]ServiceState `json:"services"`
	Nodes              []Node                  `json:"nodes"`
	// Clusters are those of the nodes, if there are several.
	Clusters []ClusterStatus `json:"clusters,omitempty"`
	// History is of the transitions, the newest first.
	History     []history.Transition `json:"history"`
	HistorySeen uint64               `json:"-"` // how many there have been
}

// ServiceState is how a service fares as a whole.
type ServiceState struct {
	// FailOpen: requests go to nodes that are down, draining or out by Caddy's checks, because all are.
	FailOpen bool `json:"fail_open"`
	// Unavailable: no node takes a new client's request.
	Unavailable bool `json:"unavailable"`
}

// Node is a node with what the admin endpoint does not show.
type Node struct {
	NodeStatus
	// DrainedBy says what lets the node take no new clients: configuration or call.
	DrainedBy        string             `json:"drained_by,omitempty"`
	DrainSecondsLeft *int64             `json:"drain_seconds_left,omitempty"`
	Services         map[string]Service `json:"services"`
}

// Service is a service with what the admin endpoint does not show.
type Service struct {
	ServiceStatus
	// Share is which part of the new clients is sent here, from 0 to 1.
	Share  float64  `json:"share_of_new_clients"`
	Probes *Latency `json:"probes,omitempty"`
}

// Latency is how long the probes of the last minutes took, one point for each step.
type Latency struct {
	// SlowestMS is that of the slowest that passed; null where none did.
	SlowestMS []*float64 `json:"slowest_ms"`
	// Failed is how many failed; missing if none did.
	Failed []int `json:"failed,omitempty"`
}

// last returns the last points.
func (l *Latency) last(points int) *Latency {
	if l == nil {
		return nil
	}
	tail := &Latency{SlowestMS: l.SlowestMS[len(l.SlowestMS)-points:]}
	if l.Failed != nil {
		if failed := l.Failed[len(l.Failed)-points:]; slices.ContainsFunc(failed, func(count int) bool { return count > 0 }) {
			tail.Failed = failed
		}
	}
	return tail
}

// update is what has changed from one snapshot to the next. What changes with
// every probe is not in there, but for the points of the latency.
type update struct {
	Time     time.Time               `json:"time"`
	Services map[string]ServiceState `json:"services,omitempty"`
	// Nodes are those that changed, by their place in the snapshot.
	Nodes map[int]json.RawMessage `json:"nodes,omitempty"`
	// Requests is how many are in flight at each node.
	Requests []int `json:"requests,omitempty"`
	// Traffic is that of each node's services, where it has changed.
	Traffic  map[int]map[string]*Traffic `json:"traffic,omitempty"`
	Clusters []ClusterStatus             `json:"clusters,omitempty"`
	// LatencyStep and Points are there when a step has ended: for each node and
	// service the points to append.
	LatencyStep int64                 `json:"latency_step,omitempty"`
	Points      []map[string]*Latency `json:"points,omitempty"`
	// History holds new transitions, the newest first.
	History []history.Transition `json:"history,omitempty"`
}

// nodeChange is what an update says of a node.
type nodeChange struct {
	Cluster    string                   `json:"cluster"`
	Role       string                   `json:"role"`
	Draining   bool                     `json:"draining"`
	DrainUntil *time.Time               `json:"drain_until"`
	DrainedBy  string                   `json:"drained_by"`
	Weight     int                      `json:"weight"`
	Fails      int                      `json:"fails"`
	Services   map[string]serviceChange `json:"services"`
}

type serviceChange struct {
	Verdict   string     `json:"verdict"`
	Since     *time.Time `json:"since"`
	LastError string     `json:"last_error"`
	Advice    string     `json:"advice"`
	Evidence  *Evidence  `json:"evidence"`
	Share     float64    `json:"share_of_new_clients"`
}

// frame is a snapshot with what the next one is compared with.
type frame struct {
	*Snapshot
	changes  []json.RawMessage // a nodeChange for each node
	services []byte
	clusters []byte
	encoded  []byte // the whole snapshot, once somebody wants it
}

func newFrame(s *Snapshot) (*frame, error) {
	f := &frame{Snapshot: s, changes: make([]json.RawMessage, len(s.Nodes))}
	var err error
	for i, node := range s.Nodes {
		change := nodeChange{
			Cluster: node.Cluster, Role: node.Role, Draining: node.Draining, DrainUntil: node.DrainUntil, DrainedBy: node.DrainedBy,
			Weight: node.Weight, Fails: node.Fails, Services: make(map[string]serviceChange, len(node.Services)),
		}
		for name, service := range node.Services {
			change.Services[name] = serviceChange{service.Verdict, service.Since, service.LastError, service.Advice, service.Evidence, service.Share}
		}
		if f.changes[i], err = json.Marshal(change); err != nil {
			return nil, fmt.Errorf("encoding the state of %s: %w", node.Address, err)
		}
	}
	if f.services, err = json.Marshal(s.Services); err != nil {
		return nil, fmt.Errorf("encoding the state of the services: %w", err)
	}
	if f.clusters, err = json.Marshal(s.Clusters); err != nil {
		return nil, fmt.Errorf("encoding the clusters: %w", err)
	}
	return f, nil
}

// encode returns the whole snapshot as JSON.
func (f *frame) encode() ([]byte, error) {
	if f.encoded == nil {
		var err error
		if f.encoded, err = json.Marshal(f.Snapshot); err != nil {
			return nil, fmt.Errorf("encoding the state: %w", err)
		}
	}
	return f.encoded, nil
}

// since returns how an earlier frame becomes this one, and whether that is more
// than the passing of time. It is nil if one has to begin anew.
func (f *frame) since(earlier *frame) (*update, bool) {
	sameNode := func(a, b Node) bool { return a.Address == b.Address && len(a.Services) == len(b.Services) }
	steps := f.LatencyStep - earlier.LatencyStep
	news := f.HistorySeen - earlier.HistorySeen
	if !slices.EqualFunc(f.Nodes, earlier.Nodes, sameNode) || steps < 0 || steps > health.LatencyPoints || news > uint64(len(f.History)) {
		return nil, true
	}
	u := &update{Time: f.Time, History: f.History[:news]}
	changed := news > 0
	if string(f.services) != string(earlier.services) {
		u.Services, changed = f.Services, true
	}
	if string(f.clusters) != string(earlier.clusters) {
		u.Clusters, changed = f.Clusters, true
	}
	u.Traffic = f.trafficSince(earlier)
	changed = changed || u.Traffic != nil
	for i := range f.Nodes {
		if string(f.changes[i]) != string(earlier.changes[i]) {
			if u.Nodes == nil {
				u.Nodes = make(map[int]json.RawMessage)
			}
			u.Nodes[i], changed = f.changes[i], true
		}
	}
	if sameRequests := func(a, b Node) bool { return a.Requests == b.Requests }; !slices.EqualFunc(f.Nodes, earlier.Nodes, sameRequests) {
		changed = true
		for _, node := range f.Nodes {
			u.Requests = append(u.Requests, node.Requests)
		}
	}
	if steps > 0 {
		u.LatencyStep, changed = f.LatencyStep, true
		for _, node := range f.Nodes {
			points := make(map[string]*Latency, len(node.Services))
			for name, service := range node.Services {
				if tail := service.Probes.last(int(steps)); tail != nil {
					points[name] = tail
				}
			}
			u.Points = append(u.Points, points)
		}
	}
	return u, changed
}

// trafficSince returns the traffic of each node's services where it has changed.
func (f *frame) trafficSince(earlier *frame) (changed map[int]map[string]*Traffic) {
	for i, node := range f.Nodes {
		for name, service := range node.Services {
			if service.Traffic.equals(earlier.Nodes[i].Services[name].Traffic) {
				continue
			}
			if changed == nil {
				changed = make(map[int]map[string]*Traffic)
			}
			if changed[i] == nil {
				changed[i] = make(map[string]*Traffic)
			}
			changed[i][name] = service.Traffic
		}
	}
	return changed
}

// equals reports whether both say the same, or nothing.
func (t *Traffic) equals(other *Traffic) bool {
	if t == nil || other == nil {
		return t == other
	}
	sameP95 := t.P95MS == other.P95MS || t.P95MS != nil && other.P95MS != nil && *t.P95MS == *other.P95MS
	return t.PerSecond == other.PerSecond && t.ErrorsPerSecond == other.ErrorsPerSecond && sameP95
}
