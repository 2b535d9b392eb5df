package integration_test

import (
	"testing"
	"time"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/tgnode"
)

// failbackEdge is an edge whose clients are known by their address.
func failbackEdge(t *testing.T, count int, options string) (nodes []*tgnode.Node, a *admin, client *browser, home *tgnode.Node) {
	t.Helper()
	_, nodes = startCluster(t, count)
	e, a := newAdminEdge(t)
	e.load(behind(nodes, "affinity client_ip\n"+options+"\n"+quick))
	a.allUp()
	client = e.newBrowser(2)
	return nodes, a, client, named(t, nodes, client.where())
}

// where returns the node that a request is sent to.
func (b *browser) where() string {
	b.t.Helper()
	return b.get("/gsqlserver/__echo").echo(b.t).Node
}

// fail makes the node's GSQL server go down.
func (a *admin) fail(node *tgnode.Node) {
	a.t.Helper()
	node.SetFault(tgnode.GSQL, tgnode.Fault{Mode: tgnode.Dead})
	a.awaitGSQL(node, "down")
}

// recover makes it well again.
func (a *admin) recover(node *tgnode.Node) {
	a.t.Helper()
	node.ClearFaults()
	a.awaitGSQL(node, "up")
}

func (a *admin) awaitGSQL(node *tgnode.Node, verdict string) {
	a.t.Helper()
	eventually(a.t, "the GSQL server of "+node.Name()+" is "+verdict, func() bool {
		return a.node(node.Addr()).Services["gsql"].Verdict == verdict
	})
}

func TestAMovedClientStaysWhereItIs(t *testing.T) {
	_, a, client, home := failbackEdge(t, 3, "")
	a.fail(home)
	away := client.where()
	if away == home.Name() {
		t.Fatal("the client is still at a node that is down")
	}
	a.recover(home)
	for range 20 {
		if node := client.where(); node != away {
			t.Fatalf("the client was moved from %s to %s", away, node)
		}
	}
	if node := client.get("/restpp/__echo").echo(t).Node; node != home.Name() {
		t.Errorf("its RESTPP requests, whose server was never down, are sent to %s", node)
	}
}

func TestAMovedClientStaysOverAReload(t *testing.T) {
	_, nodes := startCluster(t, 3)
	e, a := newAdminEdge(t)
	site := behind(nodes, "affinity client_ip\n"+quick)
	e.load(site)
	a.allUp()
	client := e.newBrowser(2)
	home := named(t, nodes, client.where())
	a.fail(home)
	away := client.where()
	a.recover(home)
	for range 3 {
		e.load(site)
		if node := client.where(); node != away {
			t.Fatalf("a reload moved the client from %s to %s", away, node)
		}
	}
}

func TestAMovedClientGoesHomeWhenIdle(t *testing.T) {
	_, a, client, home := failbackEdge(t, 3, "failback 100ms")
	a.fail(home)
	away := client.where()
	a.recover(home)
	for pause := 50 * time.Millisecond; ; pause *= 2 { // idle, for longer and longer
		if client.where() == home.Name() {
			break
		}
		if pause > enough {
			t.Fatalf("the client is still at %s", away)
		}
		time.Sleep(pause)
	}
}

func TestWithFailback0AMovedClientGoesHomeAtOnce(t *testing.T) {
	_, a, client, home := failbackEdge(t, 3, "failback 0")
	a.fail(home)
	if client.where() == home.Name() {
		t.Fatal("the client is still at a node that is down")
	}
	a.recover(home)
	if node := client.where(); node != home.Name() {
		t.Errorf("the client is still at %s", node)
	}
}

// A client that has gone home because its other node went down too stays there.
func TestAClientThatCameHomeIsNotMovedAgain(t *testing.T) {
	nodes, a, client, home := failbackEdge(t, 2, "")
	a.fail(home)
	away := named(t, nodes, client.where())
	a.recover(home)
	a.fail(away)
	if node := client.where(); node != home.Name() {
		t.Fatalf("the client is at %s", node)
	}
	a.recover(away)
	for range 5 {
		if node := client.where(); node != home.Name() {
			t.Fatalf("the client, at home again, was moved to %s", node)
		}
	}
}

// Nor does a node that is full for a moment, or a request that fails, move it for
// good.
func TestAClientOfAFullNodeComesBack(t *testing.T) {
	_, nodes := startCluster(t, 2)
	e, a := newAdminEdge(t)
	e.load("reverse_proxy " + addresses(nodes) + " {\nunhealthy_request_count 1\nlb_policy tigergraph client_ip {\n" + quick + "\n}\n}")
	a.allUp()
	client := e.newBrowser(2)
	home := named(t, nodes, client.where())
	release := occupy(t, home, client)
	if node := client.where(); node == home.Name() {
		t.Fatal("a full node got a request")
	}
	release()
	eventually(t, "the node is not full any more", func() bool { return a.node(home.Addr()).Requests == 0 })
	if node := client.where(); node != home.Name() {
		t.Errorf("the client is still at %s", node)
	}
}
