package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
)

// An application without a login is not bound to a node.
func TestTheQueriesOfOneClientAreSpread(t *testing.T) {
	p := startDemo(t)
	p.command("queries")
	p.awaitSaid("60 queries of one client were answered by: m1 ")
	var counts [nodeCount]int
	_, told, _ := strings.Cut(p.said(), "were answered by: ")
	if _, err := fmt.Sscanf(told, "m1 %d, m2 %d, m3 %d", &counts[0], &counts[1], &counts[2]); err != nil {
		t.Fatalf("%v: %s", err, told)
	}
	total := 0
	for i, count := range counts {
		total += count
		if count < queryCount/nodeCount/4 {
			t.Errorf("m%d answered %d of %d queries", i+1, count, queryCount)
		}
	}
	if total != queryCount {
		t.Errorf("%d queries were answered, want %d", total, queryCount)
	}
}

func TestEverybodyIsSwitchedToTheOtherClusterAndBack(t *testing.T) {
	p := startDemo(t)
	b := p.browser()
	home := b.logIn()
	if !strings.HasPrefix(home, "m") {
		t.Fatalf("the first login is on %s", home)
	}

	p.command("switch elsewhere")
	p.awaitSaid("switch: ")
	if status, node := b.whoAmI(); status != http.StatusOK || node != home {
		t.Fatalf("after a switch that was refused, %s answers %d", node, status)
	}

	p.command("switch dr")
	p.awaitSaid("dr is the active cluster")
	if status, node := b.whoAmI(); status != http.StatusUnauthorized || !strings.HasPrefix(node, standby) {
		t.Errorf("after the switch, %s answers %d", node, status)
	}
	if node := b.logIn(); !strings.HasPrefix(node, standby) {
		t.Errorf("the login is on %s", node)
	}
	for _, n := range b.allNodes() {
		if n.Active != (n.Cluster == standby) {
			t.Errorf("%+v", n)
		}
	}
	p.command("queries")
	p.awaitSaid("were answered by: dr1 ")

	// The page's button.
	status, _, answer := b.do("POST", "/demo/clusters/primary/switch", "", "Origin", p.url, "Sec-Fetch-Site", "same-origin")
	var nodes []nodeStatus
	if err := json.Unmarshal(answer, &nodes); status != http.StatusOK || err != nil || !nodes[0].Active {
		t.Fatalf("switching back: %d %s", status, answer)
	}
	if _, node := b.whoAmI(); !strings.HasPrefix(node, "m") {
		t.Errorf("after the switch back, %s answers", node)
	}
}
