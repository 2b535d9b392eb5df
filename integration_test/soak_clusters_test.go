package integration_test

import (
	"fmt"
	"slices"
	"time"
)

// soakSwitch is a switch to the standby cluster and back: when each was ordered, and
// when it was done.
type soakSwitch struct{ began, ready, back, ended time.Time }

// switchedIn reports whether the standby cluster may have been the active one at a
// moment between these two.
func (r *soakRecords) switchedIn(from, to time.Time) bool {
	for _, s := range r.switches {
		if !from.After(s.ended) && !to.Before(s.began) {
			return true
		}
	}
	return false
}

// switchedFor reports whether the standby cluster was the active one all the time
// between these two moments.
func (r *soakRecords) switchedFor(from, to time.Time) bool {
	for _, s := range r.switches {
		if from.After(s.ready) && to.Before(s.back) {
			return true
		}
	}
	return false
}

// active returns the nodes of the cluster that served in this time: of both, if both
// did.
func (r *soakRecords) active(from, to time.Time) []string {
	switch {
	case r.switchedFor(from, to):
		return []string{r.standby}
	case r.switchedIn(from, to):
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
		wrong := r.switchedFor(request.start, a.Time)
		if a.node == r.standby {
			wrong = !r.switchedIn(request.start, a.Time)
		}
		if wrong {
			breaches = append(breaches, fmt.Sprintf("%s: request %s (%s), begun at %s, reached %s, whose cluster is not the active one",
				a.Time.Format(soakTime), a.Marker, request.kind, request.start.Format(soakTime), a.node))
		}
	}
	return breaches
}
