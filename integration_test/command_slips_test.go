package integration_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// What a command cannot mean changes nothing, and is said in words of the command.
func (c command) testSlips(t *testing.T) {
	_, nodes := startCluster(t, 3)
	e, a := newAdminEdge(t)
	e.load(behind(nodes, quick+"\nstandby dr "+nodes[2].Addr()))
	run, node := c.ask(t, a), nodes[0].Addr()
	for _, test := range []struct {
		arguments []string
		status    int
		says      string
	}{
		{[]string{"drain"}, 2, "drain needs the name of one node, as in 'caddy tigergraph drain m1', and got 0"},
		{[]string{"drain", ""}, 2, "drain needs the name of a node, as in 'caddy tigergraph drain m1', and not an empty one"},
		{[]string{"drain", node, nodes[1].Addr()}, 2, "drain needs the name of one node"},
		{[]string{"drain", node + "," + nodes[1].Addr()}, 2, "drain takes one node at a time, and not '" + node + "," + nodes[1].Addr() + "'"},
		{[]string{"statu"}, 2, "unknown command 'statu': did you mean 'status'?"},
		{[]string{"undrain", node}, 2, "unknown command 'undrain': did you mean 'ready'?"},
		{[]string{"list", "--json"}, 2, "unknown command 'list': expected one of check, drain, ready, status, switch"},
		{[]string{"--json", "status"}, 2, "caddy tigergraph needs a command before its flags: expected one of check"},
		{[]string{"help", "drain"}, 0, "Lets a node take no new clients"},
		{[]string{"drain", node + ","}, 1, "write '" + node + "'"},
		{[]string{"drain", node, "--for", ""}, 1, "--for must be a duration such as 30m or 1h, not ''"},
		{[]string{"drain", node, "--for", "30"}, 1, "--for must be a duration such as 30m or 1h, not '30'"},
		{[]string{"drain", node, "--for", "-1h"}, 1, "--for must be a duration from 0 (until the node is said to be ready) to 365d, not -1h"},
		{[]string{"drain", node, "--for", "400d"}, 1, "to 365d, not 400d"},
		{[]string{"drain", node, "--wait", ""}, 2, "--wait must be a duration such as 30s or 10m, not ''"},
		{[]string{"drain", node, "--wait", "0"}, 2, "--wait must be more than 0, not 0"},
		{[]string{"drain", node, "--wait", "-1m"}, 2, "--wait must be more than 0, not -1m"},
		{[]string{"drain", node, "--wait", "1m", "--idle", ""}, 2, "--idle must be a duration such as 30s or 10m, not ''"},
		{[]string{"drain", node, "--idle", "1m"}, 2, "--idle needs --wait"},
		{[]string{"ready", " "}, 2, "ready needs the name of a node, as in 'caddy tigergraph ready m1', and not an empty one"},
		{[]string{"ready", node, "--wait", ""}, 2, "--wait must be a duration"},
		{[]string{"switch"}, 2, "switch needs the name of one cluster, as in 'caddy tigergraph switch dr', and got 0"},
		{[]string{"switch", ""}, 2, "switch needs the name of a cluster, as in 'caddy tigergraph switch dr', and not an empty one"},
		{[]string{"switch", "DR"}, 1, `there is no cluster "DR"; expected one of primary, dr`},
		{[]string{"switch", "dr", "--drain", "soon"}, 1, "--drain must be a duration such as 30m or 1h, not 'soon'"},
		{[]string{"switch", "dr", "--drain", ""}, 1, "--drain must be a duration such as 30m or 1h, not ''"},
		{[]string{"switch", "dr", "--drain", "-5m"}, 1, "--drain must be a duration from 0 (sessions end at once) to 365d, not -5m"},
	} {
		got := run(test.arguments...)
		got.expect(t, strings.Join(test.arguments, " "), test.status, test.says)
		if strings.Contains(got.out+got.error, "JSON") {
			t.Errorf("%v speaks of what a command does not have:\n%s", test.arguments, got.error)
		}
	}
	for _, node := range a.nodes() {
		if node.Draining || node.Role == "standby" != (node.Address == nodes[2].Addr()) {
			t.Errorf("something has changed: %+v", node)
		}
	}
}

// The commands say what is true afterwards, also if it was before.
func (c command) testSwitching(t *testing.T) {
	_, nodes := startCluster(t, 2)
	e, a := newAdminEdge(t)
	e.load(behind(nodes, quick+"\nstandby dr "+nodes[1].Addr()))
	run := c.ask(t, a)
	stays := func(got said) bool { return strings.Contains(got.out, "Sessions with a cookie stay in ") }
	got := run("switch", "dr", "--drain", "1h")
	got.expect(t, "switch", 0, "dr is the active cluster.", "Sessions with a cookie stay in primary until 2")
	got = run("switch", "dr", "--drain", "0")
	if got.expect(t, "switch that ends the drain", 0, "dr is the active cluster."); stays(got) {
		t.Errorf("after the end of the drain: %s", got.out)
	}
	got = run("switch", "dr", "--drain", "1h")
	if got.expect(t, "switch that was made before", 0, "dr is the active cluster.", "so no sessions are left to drain in another cluster"); stays(got) {
		t.Errorf("without a drain: %s", got.out)
	}
	run("status").expect(t, "status", 0, "Cluster primary: standby", "Cluster dr: active")

	// A storage that cannot be written: nothing changes, and everybody is told.
	file := filepath.Join(e.storage, "tigergraph", "operator.json")
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Join(file, "in the way"), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, arguments := range [][]string{{"switch", "primary"}, {"drain", nodes[0].Addr()}, {"ready", nodes[0].Addr()}} {
		run(arguments...).expect(t, arguments[0]+" without a storage", 1, "Error: nothing has changed: ", "tigergraph/operator.json in Caddy's storage failed")
	}
	run("status").expect(t, "status without a storage", 0, "Cluster dr: active")
}
