package tigergraph

import (
	"maps"
	"net/http"
	"slices"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/address"
	"github.com/caddy-tigergraph/caddy-tigergraph/internal/calls"
	"github.com/caddy-tigergraph/caddy-tigergraph/internal/fleet"
	"github.com/caddy-tigergraph/caddy-tigergraph/internal/health"
	"github.com/caddy-tigergraph/caddy-tigergraph/internal/service"
	"github.com/caddy-tigergraph/caddy-tigergraph/internal/statuspage"
)

// What is known of a node, as the admin endpoint and the status page show it.
type (
	nodeStatus    = statuspage.NodeStatus
	serviceStatus = statuspage.ServiceStatus
)

// observation is a node's status, and by whom the node is used in this way.
type observation struct {
	nodeStatus
	uses []use
}

// use is a node as one policy has it.
type use struct {
	policy *Policy
	*member
}

// statuses returns the nodes in the order of their addresses: one entry for each,
// or several where sites check it differently.
func (a *App) statuses() []nodeStatus {
	observations := a.observe()
	statuses := make([]nodeStatus, len(observations))
	for i, observation := range observations {
		statuses[i] = observation.nodeStatus
	}
	return statuses
}

// observe returns the statuses of the nodes, each with the policies that use the node
// in this way.
func (a *App) observe() []observation {
	type identity struct {
		address string
		prober  *fleet.Prober
	}
	found := make(map[identity]*observation)
	var order []identity
	for _, policy := range a.allPolicies() {
		roster := policy.roster.Load()
		for _, m := range roster.members {
			if m == nil {
				continue
			}
			id := identity{m.Address, m.prober}
			status := found[id]
			if status == nil {
				status = &observation{nodeStatus: nodeStatus{Address: m.Address, Cluster: policy.clusters()[m.cluster], Role: "standby", Services: m.serviceStatuses()}}
				status.DrainUntil = statuspage.Moment(m.DrainUntil())
				found[id], order = status, append(order, id)
			}
			status.uses = append(status.uses, use{policy, m})
			// Where sites use a node differently, what counts is that one does.
			switch {
			case m.cluster != roster.active:
			case !m.backup:
				status.Role = "primary"
			case status.Role != "primary":
				status.Role = "backup"
			}
			status.LastSession = statuspage.Moment(m.LastSession())
			status.Draining = status.Draining || m.isDraining()
			status.Weight = max(status.Weight, int(m.weight))
			if upstream := roster.upstream(m); upstream != nil && upstream.Host != nil {
				// Caddy counts by address, over all its proxies.
				status.Requests, status.Fails = upstream.NumRequests(), upstream.Fails()
			}
		}
	}
	observations := make([]observation, 0, len(order))
	for _, id := range order {
		observations = append(observations, *found[id])
	}
	slices.SortStableFunc(observations, func(a, b observation) int { return address.Compare(a.Address, b.Address) })
	return observations
}

// serviceStatuses returns what is known of the node's services.
func (m *member) serviceStatuses() map[string]serviceStatus {
	statuses := make(map[string]serviceStatus, service.Count)
	now := time.Now()
	for s := range service.Count {
		status := serviceStatus{Verdict: health.Off.String()}
		if m.prober != nil && m.prober.Checks(s) {
			status = statuspage.StatusOf(m.prober, s)
		}
		status.Traffic = m.requests.trafficOf(s, now)
		statuses[s.String()] = status
	}
	return statuses
}

// drain lets a node take no new clients, for so long or, if that is 0, until it
// is said to be ready.
func (a *App) drain(name string, duration time.Duration, force bool) (nodeStatus, error) {
	saying.Lock()
	defer saying.Unlock()
	n, err := a.find(name)
	if err != nil {
		return nodeStatus{}, err
	}
	err = a.say(func(w fleet.Word) (fleet.Word, error) {
		if last := a.lastOf(n); last != "" && !force {
			return w, calls.Refuse(http.StatusConflict, "%s is the last node that takes new clients%s; set 'force' to drain it all the same", n.Address, last)
		}
		return w.Drained(n.Address, duration, time.Now()), nil
	})
	if err != nil {
		return nodeStatus{}, err
	}
	a.logger.Info("node drains", zap.String("node", n.Address), zap.Duration("for", duration), zap.Bool("force", force))
	return a.status(n), nil
}

// ready ends the drain of a node.
func (a *App) ready(name string) (nodeStatus, error) {
	saying.Lock()
	defer saying.Unlock()
	n, err := a.find(name)
	if err != nil {
		return nodeStatus{}, err
	}
	err = a.say(func(w fleet.Word) (fleet.Word, error) { return w.Ready(n.Address, time.Now()), nil })
	if err != nil {
		return nodeStatus{}, err
	}
	a.logger.Info("node is ready", zap.String("node", n.Address))
	return a.status(n), nil
}

// status returns the status of one node.
func (a *App) status(n *fleet.Node) nodeStatus {
	for _, status := range a.statuses() {
		if status.Address == n.Address {
			return status
		}
	}
	return nodeStatus{Address: n.Address}
}

// find returns the node that people call by this name.
func (a *App) find(name string) (*fleet.Node, error) {
	nodes := make(map[string]*fleet.Node)
	for _, policy := range a.allPolicies() {
		for _, m := range policy.allMembers() {
			nodes[m.Address] = m.Node
		}
	}
	known := slices.SortedFunc(maps.Keys(nodes), address.Compare)
	found, err := calls.Find(name, known)
	return nodes[found], err
}

// lastOf says of what the node is the last one that takes new clients, if it is:
// " of gui", say, or " at all". It is "" otherwise.
func (a *App) lastOf(n *fleet.Node) string {
	for _, policy := range a.allPolicies() {
		members := policy.activeMembers()
		at := slices.IndexFunc(members, func(m *member) bool { return m.Node == n })
		if at < 0 || members[at].isDraining() {
			continue
		}
		others := slices.Concat(members[:at], members[at+1:])
		if !slices.ContainsFunc(others, func(m *member) bool { return !m.isDraining() }) {
			return " at all"
		}
		for s := range service.Count {
			takes := func(m *member) bool { return policy.takesClients(m, s) }
			if takes(members[at]) && !slices.ContainsFunc(others, takes) {
				return " of " + s.String()
			}
		}
	}
	return ""
}

// takesClients reports whether a node is sent new clients of a service.
func (p *Policy) takesClients(m *member, s service.Service) bool {
	upstream := p.roster.Load().upstream(m)
	return upstream != nil && upstream.Healthy() && !m.isDraining() && (m.prober == nil || m.prober.Verdict(s) != health.Down)
}
