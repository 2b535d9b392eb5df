package integration_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/tgnode"
)

// share returns how many of so many new clients, known by a header, a node gets.
func share(b *browser, round string, clients int, node *tgnode.Node) (count int) {
	b.t.Helper()
	for i := range clients {
		if b.get("/api/__echo", "X-User", fmt.Sprintf("%s-%d", round, i)).echo(b.t).Node == node.Name() {
			count++
		}
	}
	return count
}

func TestANodeOfWeight0KeepsItsClientsAndGetsNoNewOnes(t *testing.T) {
	_, nodes := startCluster(t, 3)
	e, a := newAdminEdge(t)
	e.load(behind(nodes, quick))
	a.allUp()
	b := e.newBrowser(2)
	home := named(t, nodes, b.login())
	e.load(behind(nodes, quick+"\nweight "+home.Addr()+" 0"))
	if node, status := b.whoami(); node != home.Name() || status != 200 {
		t.Errorf("its session is answered %d by %q", status, node)
	}
	if seen := e.arrivals(60); seen[home.Name()] != 0 || len(seen) != 2 {
		t.Errorf("new clients get %v", seen)
	}
	if node := a.node(home.Addr()); node.Weight != 0 || !node.Draining {
		t.Errorf("the node is shown as %+v", node)
	}
}

func TestSlowStart(t *testing.T) {
	_, nodes := startCluster(t, 3)
	e, a := newAdminEdge(t)
	slow := nodes[0]
	config := func(slowStart string) string {
		options := "slow_start " + slowStart + "\nfailback 0\n" + quick
		return strings.Replace(behind(nodes, options), "lb_policy tigergraph", "lb_policy tigergraph header X-User", 1)
	}
	verdict := func() string { return a.node(slow.Addr()).Services["gui"].Verdict }
	e.load(config("1h"))
	a.allUp()
	b := e.newBrowser(2)
	if count := share(b, "first", 300, slow); count < 70 || count > 130 {
		t.Errorf("after the start of the process the node has %d of 300 clients, want about 100", count)
	}
	slow.SetFault(tgnode.GUI, tgnode.Fault{Mode: tgnode.Dead})
	eventually(t, "the node is down", func() bool { return verdict() == "down" })
	slow.ClearFaults()
	eventually(t, "the node is up", func() bool { return verdict() == "up" })
	// A tenth of its weight: 0.1 of 2.1.
	if count := share(b, "second", 600, slow); count < 8 || count > 60 {
		t.Errorf("after it came up the node has %d of 600 clients, want about 29", count)
	}
	// GSQL was up all the time.
	if node := b.get("/gsqlserver/__echo", "X-User", "first-0").echo(t).Node; node == "" {
		t.Error("no node answered")
	}
	e.load(config("2h")) // the verdict, and when it changed, survive
	if count := share(b, "third", 300, slow); count > 40 {
		t.Errorf("after a reload the node has %d of 300 clients, want about 14", count)
	}
	e.load(config("1ms"))
	if count := share(b, "fourth", 300, slow); count < 70 || count > 130 {
		t.Errorf("when the slow start is over the node has %d of 300 clients, want about 100", count)
	}
}

func TestSlowStartDoesNotKeepAClientFromItsCookie(t *testing.T) {
	_, nodes := startCluster(t, 2)
	e, a := newAdminEdge(t)
	e.load(behind(nodes, "slow_start 1h\nhealth_check {\ninterval 50ms\nfails 1\npasses 1\n}"))
	a.allUp()
	b := e.newBrowser(2)
	home := named(t, nodes, b.login())
	// Its GUI is down for a moment in which the client is away.
	home.SetFault(tgnode.GUI, tgnode.Fault{Mode: tgnode.Dead, Path: "/api/ping"})
	eventually(t, "the node is down", func() bool { return a.node(home.Addr()).Services["gui"].Verdict == "down" })
	home.ClearFaults()
	eventually(t, "the node is up", func() bool { return a.node(home.Addr()).Services["gui"].Verdict == "up" })
	for range 20 {
		if node, status := b.whoami(); node != home.Name() || status != 200 {
			t.Fatalf("the session is answered %d by %q", status, node)
		}
	}
}
