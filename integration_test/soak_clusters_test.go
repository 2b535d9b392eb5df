package integration_test

import (
	"fmt"
	"slices"
	"time"
)

// soakSwitch is an edge's switch to the standby cluster and back: when each was ordered,
// and when this edge had done it.
type soakSwitch struct {
	edge                      string
	began, ready, back, ended time.Time
}

// anyEdge stands for every edge, where a switch of any matters.
const anyEdge = "any edge"

// switchedIn reports whether the standby cluster may have been the active one of this
// edge at a moment between these two.
func (r *soakRecords) switchedIn(edge string, from, to time.Time) bool {
	for _, s := range r.switches {
		if (edge == anyEdge || edge == s.edge) && !from.After(s.ended) && !to.Before(s.began) {
			return true
		}
	}
	return false
}

// switchedFor reports whether the standby cluster was the active one of this edge all
// the time between these two moments.
func (r *soakRecords) switchedFor(edge string, from, to time.Time) bool {
	for _, s := range r.switches {
		if edge == s.edge && from.After(s.ready) && to.Before(s.back) {
			return true
		}
	}
	return false
}

// isOff reports whether a node's cluster may not have been the active one of this edge
// at a moment between these two.
func (r *soakRecords) isOff(node, edge string, from, to time.Time) bool {
	if node == r.standby {
		return !r.switchedFor(edge, from, to)
	}
	return r.switchedIn(edge, from, to)
}

// active returns the nodes of the cluster that served at this edge in this time: of both,
// if both did.
func (r *soakRecords) active(edge string, from, to time.Time) []string {
	switch {
	case r.switchedFor(edge, from, to):
		return []string{r.standby}
	case r.switchedIn(edge, from, to):
		return append(slices.Clip(r.nodes), r.standby)
	}
	return r.nodes
}

// checkClusters: nothing reaches a cluster that is not the active one at any moment
// between the request's beginning and its arrival.
func (r *soakRecords) checkClusters() (breaches []string) {
	for _, a := range r.arrivals {
		request, found := r.request(a.Marker)
		if !found {
			continue
		}
		wrong := r.switchedFor(request.edge, request.start, a.Time)
		if a.node == r.standby {
			wrong = !r.switchedIn(request.edge, request.start, a.Time)
		}
		if wrong {
			breaches = append(breaches, fmt.Sprintf("%s: request %s (%s), begun at %s by %s, reached %s, whose cluster is not the active one there",
				a.Time.Format(soakTime), a.Marker, request.kind, request.start.Format(soakTime), request.edge, a.node))
		}
	}
	return breaches
}
