package integration_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/tgnode"
)

// movedClients has the clients of a node moved while its GSQL server is away, and
// returns where each of them is, and who they are.
func movedClients(t *testing.T, e *edge, a *admin, nodes []*tgnode.Node) (clients []*browser, at map[*browser]string) {
	t.Helper()
	at = make(map[*browser]string)
	home := nodes[0]
	for host := byte(2); host < 62; host++ {
		client := e.newBrowser(host)
		if client.where() == home.Name() {
			clients = append(clients, client)
		}
	}
	a.fail(home)
	found := make(map[string]bool)
	for _, client := range clients {
		at[client] = client.where()
		found[at[client]] = true
	}
	a.recover(home)
	if found[home.Name()] || len(found) != 2 {
		t.Fatalf("the %d clients of the node that failed are at %v", len(clients), found)
	}
	return clients, at
}

func TestMovedClientsStayWhenANodeIsAddedAndWhenOneIsRemoved(t *testing.T) {
	_, nodes := startCluster(t, 4)
	e, a := newAdminEdge(t)
	load := func(nodes []*tgnode.Node) {
		t.Helper()
		e.load(behind(nodes, "affinity client_ip\n"+quick))
		a.allUp()
	}
	load(nodes[:3])
	clients, at := movedClients(t, e, a, nodes)
	check := func(when, gone string) {
		t.Helper()
		for _, client := range clients {
			if node := client.where(); node != at[client] && at[client] != gone || node == gone {
				t.Errorf("%s a client was moved from %s to %s", when, at[client], node)
			}
		}
	}
	load(nodes)
	check("when a node was added", "")
	load([]*tgnode.Node{nodes[3], nodes[2], nodes[0]})
	check("when another was removed", nodes[1].Name())
	for _, client := range clients {
		at[client] = client.where()
	}
	load(nodes)
	check("when that was there again", "")
}

func TestTwoSitesOverTheSameNodesKnowTheSameMovedClients(t *testing.T) {
	_, nodes := startCluster(t, 3)
	e, a := newAdminEdge(t)
	site := behind(nodes, "affinity client_ip\n"+quick)
	second, third := freeAddress(t), freeAddress(t)
	if err := e.tryLoadCaddyfile(e.caddyfile("http://"+e.address, site) +
		"http://" + second + " {\n" + strings.Replace(site, "reverse_proxy", "reverse_proxy /gsqlserver/*", 1) + "\n}\n" +
		"http://" + third + " {\n" + behind(nodes[:2], "affinity client_ip\n"+quick) + "\n}\n"); err != nil {
		t.Fatal(err)
	}
	a.allUp()
	clients, at := movedClients(t, e, a, nodes)
	for _, client := range clients {
		client.base = "http://" + second
		if node := client.where(); node != at[client] {
			t.Errorf("another site over the same nodes sends a client that is at %s to %s", at[client], node)
		}
		client.base = "http://" + third
		if reply := client.get("/gsqlserver/__echo"); reply.StatusCode != http.StatusOK || reply.served(t) == nodes[2].Name() {
			t.Errorf("a site without the third node answers %d %s", reply.StatusCode, reply.body)
		}
		client.base = "http://" + e.address
		if node := client.where(); node != at[client] {
			t.Errorf("a request to a site over other nodes moved a client from %s to %s", at[client], node)
		}
	}
}
