package integration_test

import (
	"fmt"
	"time"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/tgnode"
)

// soakHolder is the node that alone knows what a request began: an asynchronous query,
// or a GSQL session.
type soakHolder struct {
	node  string
	since time.Time // when the request arrived
	edge  string    // that it went through
}

// holder returns the node that carried out the request with this marker.
func (r *soakRecords) holder(marker string) (h soakHolder, found bool) {
	for _, a := range r.executions[marker] {
		request, _ := r.request(marker)
		return soakHolder{a.node, a.Time, request.edge}, true
	}
	return soakHolder{}, false
}

// checkHolders: what only one node knows is asked of that node. It may go elsewhere, or
// be unknown, where that node failed, or lost what it knew since, or is not of the active
// cluster. An edge finds an asynchronous query wherever that was begun; a GSQL session
// it knows only if it began there, and until it is restarted.
func (r *soakRecords) checkHolders(failures soakFailures) (breaches []string) {
	reached := make(map[string][]string)
	for _, a := range r.arrivals {
		reached[a.Marker] = append(reached[a.Marker], a.node)
	}
	for _, request := range r.requests {
		if request.of == "" || request.failure != "" {
			continue
		}
		home, found := r.holder(request.of)
		if !found {
			breaches = append(breaches, fmt.Sprintf("request %s was answered, but no node carried it out", request.of))
			continue
		}
		strayed := request.forgot
		for _, node := range reached[request.marker] {
			strayed = strayed || node != home.node
		}
		if !strayed || r.mayStray(request, home, failures) {
			continue
		}
		breaches = append(breaches, fmt.Sprintf("request %s (%s), from %s to %s by %s, reached %v (unknown there: %t), and %s alone knows since %s what it is about",
			request.marker, request.kind, request.start.Format(soakTime), request.end.Format(soakTime), request.edge, reached[request.marker], request.forgot,
			home.node, home.since.Format(soakTime)))
	}
	return breaches
}

// mayStray reports whether a request need not reach the node that knows what it is about,
// or need not be known there.
func (r *soakRecords) mayStray(request soakRequest, home soakHolder, failures soakFailures) bool {
	switch {
	case failures.fails([]string{home.node}, request.service, request.start.Add(-soakRecovery), request.end),
		failures.forgets[home.node][request.service].overlaps(home.since, request.end),
		r.isOff(home.node, request.edge, request.start, request.end):
		return true
	case request.service == tgnode.GSQL:
		return request.edge != home.edge || failures.down[request.edge].overlaps(home.since, request.end)
	}
	return false
}

// holderFailed reports whether the node that alone knows what a request is about could
// not be asked since a moment before it.
func (r *soakRecords) holderFailed(request soakRequest, from time.Time, failures soakFailures) bool {
	home, found := r.holder(request.of)
	return found && request.of != "" && (failures.fails([]string{home.node}, request.service, from, request.end) ||
		r.isOff(home.node, request.edge, request.start, request.end))
}
