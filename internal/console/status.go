package console

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/address"
	"github.com/caddy-tigergraph/caddy-tigergraph/internal/statuspage"
)

// services are TigerGraph's, in the order in which they are shown.
var services = []string{"gui", "gsql", "restpp"}

// Cluster is all that a running Caddy says of its nodes.
type Cluster struct {
	Nodes []statuspage.NodeStatus
	// Clusters are those that the nodes belong to, empty if Caddy does not tell.
	Clusters []statuspage.ClusterStatus
	// Services is how each service fares as a whole, empty if Caddy does not tell.
	Services map[string]statuspage.ServiceState
}

// IsWell reports whether no service of a node is down.
func (c *Cluster) IsWell() bool {
	return !slices.ContainsFunc(c.Nodes, func(node statuspage.NodeStatus) bool {
		return slices.ContainsFunc(services, func(name string) bool { return node.Services[name].Verdict == "down" })
	})
}

// Status prints how the nodes are: first in a line for each service that is not well,
// then in a table, and then why, and what to do about it.
func (p *Printer) Status(c *Cluster, now time.Time) {
	if len(c.Nodes) == 0 {
		p.Print("Caddy has no TigerGraph nodes.\n")
		return
	}
	if p.alarms(c) {
		p.Print("\n")
	}
	p.nodes(c)
	p.traffic(c, now)
	p.clusters(c, now)
	for _, node := range c.Nodes {
		if node.Draining && node.DrainUntil != nil {
			p.paragraph(fmt.Sprintf("%s is draining for another %s.", Printable(node.Address), since(now, *node.DrainUntil)))
		}
	}
	p.troubles(c, now)
}

// alarms says what matters most, and reports whether there was anything to say.
func (p *Printer) alarms(c *Cluster) (any bool) {
	for _, name := range services {
		var text string
		switch state := c.Services[name]; {
		case state.FailOpen:
			text = "FAILING OPEN: " + name + ": every node is down, draining, or out by Caddy's own checks; requests are sent to them all the same"
		case state.Unavailable:
			text = "NOBODY SERVES " + name + ": no node takes a new client's request; it is answered with 503"
		default:
			continue
		}
		p.Print("%s\n", p.in("31", wrap(text, "")))
		any = true
	}
	return any
}

// nodes prints the table of the nodes.
func (p *Printer) nodes(c *Cluster) {
	head := []string{"NODE", p.paint("STATE"), p.paint("GUI"), p.paint("GSQL"), p.paint("RESTPP"), "REQUESTS", "WEIGHT"}
	several := len(c.Clusters) > 1
	if several {
		head = append(head, "CLUSTER")
	}
	rows := [][]string{head}
	for _, node := range c.Nodes {
		state := "ready"
		switch {
		case node.Draining:
			state = "draining"
		case node.Role == "backup", node.Role == "standby":
			state = node.Role
		}
		row := []string{Printable(node.Address), p.paint(state)}
		for _, name := range services {
			row = append(row, p.paint(node.Services[name].Verdict))
		}
		row = append(row, strconv.Itoa(node.Requests), strconv.Itoa(node.Weight))
		if several {
			row = append(row, Printable(node.Cluster))
		}
		rows = append(rows, row)
	}
	p.table(rows)
}

// traffic prints how the requests of the last minutes went, where they are counted.
func (p *Printer) traffic(c *Cluster, now time.Time) {
	rows := [][]string{{"NODE", "SERVICE", "REQUESTS/S", p.in("39", "ERRORS/S"), "95 % WITHIN"}}
	for _, node := range c.Nodes {
		for _, name := range services {
			t := node.Services[name].Traffic
			if t == nil || t.PerSecond == 0 {
				continue
			}
			errors, within := p.in("39", "0"), "-"
			if t.ErrorsPerSecond > 0 {
				errors = p.in("31", rate(t.ErrorsPerSecond))
			}
			if t.P95MS != nil {
				within = fmt.Sprintf("%.1f ms", *t.P95MS)
			}
			rows = append(rows, []string{Printable(node.Address), name, rate(t.PerSecond), errors, within})
		}
	}
	if len(rows) > 1 {
		p.Print("\nRequests of the last three minutes:\n")
		p.table(rows)
	}
	for _, name := range services {
		p.refused(c, name, now)
	}
}

// Of the requests that a service was asked, so many must fail before it is said, and so
// many a second.
const (
	worthTelling = 0.1
	oftenEnough  = 0.1
	// remembered is how long the traffic that is shown may go back.
	remembered = 3*time.Minute + 20*time.Second
)

// refused says that a service which passes its probes fails its requests. The table shows
// it as well, but not that it matters more than what else there is to read.
func (p *Printer) refused(c *Cluster, name string, now time.Time) {
	var nodes []string
	var asked, failed float64
	for _, node := range c.Nodes {
		s := node.Services[name]
		if slices.Contains(nodes, Printable(node.Address)) { // listed once for each way in which sites check it
			continue
		}
		if s.Since != nil && now.Sub(*s.Since) < remembered { // these are the errors of an outage that is over
			continue
		}
		if t := s.Traffic; s.Verdict == "up" && t != nil && t.ErrorsPerSecond >= oftenEnough && t.ErrorsPerSecond >= worthTelling*t.PerSecond {
			nodes = append(nodes, Printable(node.Address))
			asked, failed = asked+t.PerSecond, failed+t.ErrorsPerSecond
		}
	}
	if len(nodes) == 0 {
		return
	}
	where := and(nodes)
	if len(nodes) > mostAlike {
		where = fmt.Sprintf("%s to %s (%d nodes)", nodes[0], nodes[len(nodes)-1], len(nodes))
	}
	p.paragraph(fmt.Sprintf("%s fails %.0f %% of its requests on %s:", name, min(100*failed/asked, 100), where),
		"no answer, or a status of 500 and above. It passes its probes, so it is not out: look at its log (gadmin log "+name+"), at gadmin status -v and at the licence (gadmin license status)")
}

// rate prints how often something happens a second. Once in three minutes is not never.
func rate(perSecond float64) string {
	if perSecond > 0 && perSecond < 0.05 {
		return "<0.1"
	}
	return fmt.Sprintf("%.1f", perSecond)
}

// clusters says which cluster is the active one, where there are several.
func (p *Printer) clusters(c *Cluster, now time.Time) {
	if len(c.Clusters) < 2 {
		return
	}
	p.Print("\n")
	for _, cluster := range c.Clusters {
		text := "standby"
		if cluster.Active {
			text = "active"
		}
		if cluster.Since != nil {
			text += ", for " + since(*cluster.Since, now)
		}
		if cluster.DrainingUntil != nil && cluster.DrainingUntil.After(now) {
			text += "; its sessions stay for another " + since(now, *cluster.DrainingUntil)
		}
		p.Print("Cluster %s: %s (%s).\n", Printable(cluster.Name), text, count(len(cluster.Nodes), "node", "nodes"))
	}
}

// trouble is something that is wrong with services of nodes, for the same reason.
type trouble struct {
	services, verdict, reason, advice string
	nodes                             []statuspage.NodeStatus
	reasons                           []string // as each node says it
	since                             *time.Time
}

// mostAlike is how many nodes with the same trouble are each told of.
const mostAlike = 3

// troubles says why services are down, and what requests met on those that are up.
func (p *Printer) troubles(c *Cluster, now time.Time) {
	for _, t := range findTroubles(c.Nodes) {
		verb := "is"
		if strings.Contains(t.services, ", ") {
			verb = "are"
		}
		lasted := ""
		if t.since != nil {
			lasted = " for " + since(*t.since, now)
		}
		if len(t.nodes) > mostAlike {
			p.paragraph(fmt.Sprintf("%s to %s (%d nodes) %s %s %s%s:", Printable(t.nodes[0].Address),
				Printable(t.nodes[len(t.nodes)-1].Address), len(t.nodes), t.services, verb, t.verdict, lasted), Printable(t.reason), Printable(t.advice))
			continue
		}
		for i, node := range t.nodes {
			p.paragraph(fmt.Sprintf("%s %s %s %s%s:", Printable(node.Address), t.services, verb, t.verdict, lasted), Printable(t.reasons[i]), Printable(t.advice))
		}
	}
	for _, node := range c.Nodes {
		p.met(node, now)
	}
}

// met says what requests met on a node: once where it was the same for several services,
// as it is when nobody listens there, and not at all where that is why they are down.
func (p *Printer) met(node statuspage.NodeStatus, now time.Time) {
	type failure struct {
		last  string
		count int
		ago   string
	}
	failed := make(map[failure][]string)
	var order []failure
	for _, name := range services {
		s := node.Services[name]
		met := s.Evidence
		if met == nil || met.Count == 0 || s.Verdict == "down" && strings.HasSuffix(s.LastError, strings.TrimPrefix(met.Last, "dialling: ")) {
			continue
		}
		f := failure{met.Last, met.Count, since(met.At, now)}
		if failed[f] == nil {
			order = append(order, f)
		}
		failed[f] = append(failed[f], name)
	}
	for _, f := range order {
		p.paragraph(fmt.Sprintf("%s %s failed %s in the last five minutes, the last one %s ago:", Printable(node.Address),
			strings.Join(failed[f], ", "), count(f.count, "request", "requests"), f.ago), Printable(f.last))
	}
}

// findTroubles returns what is wrong: one for the services of a node, and for the
// nodes of an outage, that are so for the same reason.
func findTroubles(nodes []statuspage.NodeStatus) (troubles []*trouble) {
	for _, node := range nodes {
		var own []*trouble // of this node
		for _, name := range services {
			s := node.Services[name]
			if s.Verdict != "down" && s.Advice == "" {
				continue
			}
			alike := func(t *trouble) bool {
				return t.verdict == s.Verdict && essence(t.reasons[0]) == essence(s.LastError) && t.advice == s.Advice
			}
			if i := slices.IndexFunc(own, alike); i >= 0 {
				t := own[i]
				t.services += ", " + name
				t.since = earliest(t.since, s.Since)
				continue
			}
			own = append(own, &trouble{
				services: name, verdict: s.Verdict, advice: s.Advice, since: s.Since, nodes: []statuspage.NodeStatus{node},
				reasons: []string{s.LastError}, reason: address.Without(s.LastError, node.Address),
			})
		}
		for _, t := range own {
			alike := func(known *trouble) bool {
				return known.services == t.services && known.verdict == t.verdict && known.reason == t.reason && known.advice == t.advice
			}
			if i := slices.IndexFunc(troubles, alike); i >= 0 {
				known := troubles[i]
				known.nodes, known.reasons = append(known.nodes, node), append(known.reasons, t.reasons...)
				known.since = earliest(known.since, t.since)
			} else {
				troubles = append(troubles, t)
			}
		}
	}
	return troubles
}

// essence returns what is the same in a failure whether a probe or a request met it.
func essence(failure string) string {
	if _, system, found := strings.Cut(failure, ": connect: "); found && strings.HasPrefix(failure, "dial ") {
		return system
	}
	return strings.TrimPrefix(strings.TrimPrefix(failure, "a request met this: "), "dialling: ")
}

func earliest(a, b *time.Time) *time.Time {
	if a == nil || b != nil && b.Before(*a) {
		return b
	}
	return a
}
