package integration_test

import (
	"testing"
	"time"
)

// The browsers of a node that dies are shared out as new ones are, not all given to the
// node that their one address hashes to.
func TestBrowsersThatLostTheirNodeArePlacedAsNewOnes(t *testing.T) {
	const office, browsers = 2, 30
	machines, nodes := startCluster(t, 3)
	e, a := newAdminEdge(t)
	e.load(cluster(nodes, "fallback round_robin\nhealth_check {\ninterval 500ms\n}"))
	a.allUp()
	homes := make(map[string][]*browser)
	for range browsers {
		b := e.newBrowser(office)
		home := b.login()
		homes[home] = append(homes[home], b)
	}
	lost, others := homes["m2"], make(map[string]int)
	if len(lost) != browsers/3 {
		t.Fatalf("%d of %d browsers are on m2", len(lost), browsers)
	}
	machines.Node("m2").Stop()
	a.awaitDown(nodes[1], time.Now(), "gui")
	for _, b := range lost {
		others[b.login()]++
	}
	if others["m1"] != len(lost)/2 || others["m3"] != len(lost)/2 {
		t.Errorf("the browsers of m2 went to %v", others)
	}
	for _, home := range []string{"m1", "m3"} {
		for _, b := range homes[home] {
			if node, _ := b.whoami(); node != home {
				t.Errorf("a browser of %s was moved to %s", home, node)
			}
		}
	}
}
