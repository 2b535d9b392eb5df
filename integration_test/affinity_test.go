package integration_test

import (
	"net/http"
	"testing"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/tgnode"
)

func TestALoginStaysOnItsNode(t *testing.T) {
	_, nodes := startCluster(t, 3)
	e := newEdge(t)
	e.load("reverse_proxy " + addresses(nodes) + " {\nlb_policy tigergraph\n}")
	seen := make(map[string]bool)
	for host := byte(2); host < 22; host++ {
		b := e.newBrowser(host)
		node := b.login()
		seen[node] = true
		for range 10 {
			if now, status := b.whoami(); now != node || status != http.StatusOK {
				t.Fatalf("a session of %s was sent to %q: %d", node, now, status)
			}
		}
	}
	if len(seen) != 3 {
		t.Errorf("twenty clients use the nodes %v, want all three", seen)
	}
}

func TestADeadNodesClientsMoveOnceAndStay(t *testing.T) {
	_, nodes := startCluster(t, 3)
	e := newEdge(t)
	e.load("reverse_proxy " + addresses(nodes) + " {\nlb_policy tigergraph\nlb_retries 2\n}")
	b := e.newBrowser(2)
	first := b.login()
	cookie := b.ourCookie()
	for _, node := range nodes {
		if node.Name() == first {
			node.Stop()
			defer func(node *tgnode.Node) { _ = node }(node)
		}
	}
	a := b.get("/api/ping")
	if a.StatusCode != http.StatusOK {
		t.Fatalf("%d", a.StatusCode)
	}
	if value, times := a.cookie("TigerGraphNode"); times != 1 || value == cookie {
		t.Errorf("the cookie was set %d times, to %q (before: %q)", times, value, cookie)
	}
}
