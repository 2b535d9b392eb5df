package integration_test

import (
	"net/http"
	"testing"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/tgnode"
)

func TestAStandbyNodeServesOnlyWhileNoPrimaryCan(t *testing.T) {
	_, nodes := startCluster(t, 3)
	e, a := newAdminEdge(t)
	standby := nodes[2]
	e.load(behind(nodes, "backup "+standby.Addr()+"\n"+quick))
	a.allUp()
	verdict := func(node *tgnode.Node, s string) string { return a.node(node.Addr()).Services[s].Verdict }
	if seen := e.arrivals(60); seen["m3"] != 0 || len(seen) != 2 {
		t.Fatalf("with all primaries up new clients get %v", seen)
	}

	// One primary is enough.
	nodes[0].SetFault(tgnode.GUI, tgnode.Fault{Mode: tgnode.Dead})
	eventually(t, "the first primary is down", func() bool { return verdict(nodes[0], "gui") == "down" })
	if seen := e.arrivals(30); seen["m2"] != 30 {
		t.Errorf("with one primary left new clients get %v", seen)
	}

	// Without any the backup serves the service that they lack, and no other.
	nodes[1].SetFault(tgnode.GUI, tgnode.Fault{Mode: tgnode.Dead})
	eventually(t, "the second primary is down", func() bool { return verdict(nodes[1], "gui") == "down" })
	if seen := e.arrivals(30); seen["m3"] != 30 {
		t.Errorf("without a primary new clients get %v", seen)
	}
	b := e.newBrowser(2)
	if home := b.login(); home != "m3" {
		t.Fatalf("without a primary the login went to %s", home)
	}
	cookie := b.ourCookie()
	if node, status := b.whoami(); node != "m3" || status != http.StatusOK {
		t.Errorf("the session on the backup is answered %d by %q", status, node)
	}
	if node := e.newBrowser(3).get("/restpp/__echo").echo(t).Node; node == "m3" {
		t.Error("RESTPP requests are sent to the backup although the primaries have the service")
	}
	if node := b.get("/restpp/__echo").echo(t).Node; node == "m3" {
		t.Error("a cookie for the backup is honoured for a service that primaries have")
	}
	if b.ourCookie() != cookie {
		t.Error("a RESTPP request changed the cookie")
	}

	// Its cookie is worth nothing once a primary is back, and is replaced.
	nodes[0].ClearFaults()
	eventually(t, "a primary is back", func() bool { return verdict(nodes[0], "gui") == "up" })
	if node := b.get("/api/__echo").echo(t).Node; node != "m1" {
		t.Errorf("with a primary back the client of the backup is sent to %s", node)
	}
	if b.ourCookie() == cookie {
		t.Error("the cookie still names the backup")
	}
}

// A primary that fails now and then, or comes up for a moment, does not move
// clients to and fro: that takes fails and passes in a row.
func TestASingleResultDoesNotMoveClientsToOrFromTheBackup(t *testing.T) {
	_, nodes := startCluster(t, 2)
	e, a := newAdminEdge(t)
	e.load(behind(nodes, "backup "+nodes[1].Addr()+"\nhealth_check {\ninterval 1200ms\nfails 3\npasses 3\n}"))
	a.allUp()
	transitions := func() string {
		return a.metric(`caddy_tigergraph_transitions_total{node="` + nodes[0].Addr() + `",service="gui",to="down"}`)
	}
	pings := func() int {
		count := 0
		for _, request := range nodes[0].Requests() {
			if request.Target == "/api/ping" {
				count++
			}
		}
		return count
	}
	flap := func(sequence string) {
		nodes[0].ResetRequests()
		nodes[0].SetFault(tgnode.GUI, tgnode.Fault{Mode: tgnode.Dead, Path: "/api/ping", Sequence: sequence, Repeat: true})
		eventually(t, "the node was probed often", func() bool { return pings() >= 12 })
	}
	flap("--.")
	if got := transitions(); got != "0" {
		t.Errorf("two failures of three made the primary down %s times", got)
	}
	if seen := e.arrivals(10); seen["m1"] != 10 {
		t.Errorf("new clients get %v", seen)
	}
	nodes[0].SetFault(tgnode.GUI, tgnode.Fault{Mode: tgnode.Dead, Path: "/api/ping"})
	eventually(t, "the primary is down", func() bool { return transitions() == "1" })
	flap("..-")
	if got := a.node(nodes[0].Addr()).Services["gui"].Verdict; got != "down" {
		t.Errorf("two passes of three made the primary %s", got)
	}
	if seen := e.arrivals(10); seen["m2"] != 10 {
		t.Errorf("new clients get %v", seen)
	}
}
