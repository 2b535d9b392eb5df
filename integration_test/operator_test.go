package integration_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/tgnode"
)

// loadSwitchable loads a site with a standby, and with a subscriber to switches.
func (e *edge) loadSwitchable(nodes []*tgnode.Node, options string) {
	e.t.Helper()
	subscriber := "events {\non cluster_switched collect_for_test switch\n}\n"
	if err := e.tryLoadCaddyfile(e.globals + subscriber + "}\nhttp://" + e.address + " {\n" + withStandby(nodes, options) + "\n}\n"); err != nil {
		e.t.Fatal(err)
	}
}

// switchTo makes a cluster the active one; the extra is more of the body.
func (a *admin) switchTo(cluster, extra string) {
	a.t.Helper()
	if got := a.call(http.MethodPost, "/tigergraph/switch", fmt.Sprintf(`{"cluster": %q%s}`, cluster, extra)); got.StatusCode != http.StatusOK {
		a.t.Fatalf("a switch to %s: %d %s", cluster, got.StatusCode, got.body)
	}
}

// switches returns how many events of a switch there were.
func switches() int {
	collected.Lock()
	defer collected.Unlock()
	return len(collected.events)
}

func TestASwitchIsMadeKnownOnce(t *testing.T) {
	_, nodes := startCluster(t, 4)
	e, a := newAdminEdge(t)
	takeEvents()
	e.loadSwitchable(nodes, "")
	a.switchTo("dr", "")
	eventually(t, "the switch is made known", func() bool { return switches() == 1 })
	for i := range 3 { // no reload is a switch
		e.loadSwitchable(nodes, fmt.Sprintf("failback %dm", i+1))
		if active := a.active(); active != "dr" {
			t.Fatalf("after a reload %s is active", active)
		}
	}
	a.switchTo("dr", "")
	a.switchTo("primary", "")
	eventually(t, "the switch back is made known", func() bool { return switches() > 1 })
	if got := takeEvents(); len(got) != 2 {
		t.Errorf("there were %d events of two switches", len(got))
	}
	if lines := e.logs("another cluster is the active one"); len(lines) != 2 {
		t.Errorf("two switches are logged as\n%s", strings.Join(lines, "\n"))
	}
}

// A switch to the cluster that is the active one already says anew how long the
// sessions of the other may stay.
func TestASecondSwitchToOneClusterChangesTheDrain(t *testing.T) {
	_, nodes := startCluster(t, 4)
	e, a := newAdminEdge(t)
	e.load(withStandby(nodes, ""))
	a.allUp()
	old := e.newBrowser(2)
	if old.login(); !old.isWelcome() {
		t.Fatal("the login was lost")
	}
	a.switchTo("dr", `, "drain": "1h"`)
	before := a.drainingUntil("primary")
	a.switchTo("dr", `, "drain": "2h"`)
	if after := a.drainingUntil("primary"); after.Sub(before) < 50*time.Minute || !old.isWelcome() {
		t.Errorf("the drain ends at %s, before at %s; the session is welcome: %t", after, before, old.isWelcome())
	}
	// Its end comes at the time that was said last.
	a.switchTo("dr", `, "drain": "50ms"`)
	eventually(t, "the old session ends", func() bool { return !old.isWelcome() })
	a.switchTo("dr", `, "drain": "1h"`)
	if after := a.drainingUntil("primary"); !after.IsZero() {
		t.Errorf("a drain that is over is on again until %s", after)
	}
	a.switchTo("primary", `, "drain": "1h"`)
	a.switchTo("primary", "")
	if after := a.drainingUntil("dr"); !after.IsZero() {
		t.Errorf("a drain that was ended goes on until %s", after)
	}
}

// isWelcome reports whether the session is known where the browser's requests go.
func (b *browser) isWelcome() bool {
	b.t.Helper()
	_, status := b.whoami()
	return status == http.StatusOK
}

// drainingUntil returns how long a cluster keeps its sessions, zero if it does not.
func (a *admin) drainingUntil(cluster string) (until time.Time) {
	a.t.Helper()
	var clusters []struct {
		Name          string    `json:"name"`
		DrainingUntil time.Time `json:"draining_until"`
	}
	if err := json.Unmarshal(a.call(http.MethodGet, "/tigergraph/clusters", "").body, &clusters); err != nil {
		a.t.Fatal(err)
	}
	for _, one := range clusters {
		if one.Name == cluster {
			until = one.DrainingUntil
		}
	}
	return until
}

// A configuration that calls the active cluster something else, or lacks it, sends
// everybody elsewhere, and says so.
func TestAnActiveClusterThatIsGoneIsWarnedOf(t *testing.T) {
	_, nodes := startCluster(t, 4)
	e, a := newAdminEdge(t)
	e.load(withStandby(nodes, ""))
	a.switchTo("dr", "")
	e.load(strings.Replace(withStandby(nodes, ""), "standby dr", "standby Dr", 1))
	warnings := e.logs("is gone from the configuration")
	if len(warnings) != 1 || !strings.Contains(warnings[0], `"cluster":"dr"`) || !strings.Contains(warnings[0], `"active":["primary"]`) {
		t.Errorf("the warnings are %v", warnings)
	}
	// The one that was the standby may become the cluster itself.
	e.load("tigergraph " + addresses(nodes[2:]) + " {\ncluster dr\nstandby primary " + addresses(nodes[:2]) + "\n" + quick + "\n}")
	if active := a.active(); active != "dr" {
		t.Errorf("%s is active", active)
	}
	if again := e.logs("is gone from the configuration"); len(again) != 1 {
		t.Errorf("the warnings are %v", again)
	}
}

// Two policies follow a switch each as far as they know the cluster.
func TestPoliciesFollowSwitchesToTheClustersThatTheyKnow(t *testing.T) {
	_, nodes := startCluster(t, 6)
	e, a := newAdminEdge(t)
	e.load("handle /restpp/* {\n" + withStandby(nodes[:4], "cluster main") + "\n}\nhandle {\ntigergraph " + addresses(nodes[4:5]) +
		" {\nstandby green " + addresses(nodes[5:]) + "\n" + quick + "\n}\n}")
	a.allUp()
	roles := func() (list string) {
		for _, node := range nodes {
			list += a.node(node.Addr()).Role[:1]
		}
		return list
	}
	for _, step := range []struct{ to, want string }{
		{"dr", "ssppps"}, {"green", "ssppsp"}, {"main", "ppsssp"}, {"primary", "ppssps"}, {"dr", "ssppps"},
	} {
		a.switchTo(step.to, "")
		if got := roles(); got != step.want {
			t.Errorf("after a switch to %s the roles are %s, want %s", step.to, got, step.want)
		}
	}
	if got := a.call(http.MethodPost, "/tigergraph/switch", `{"cluster": "blue"}`); got.StatusCode != http.StatusNotFound || !strings.Contains(string(got.body), "main, dr, primary, green") {
		t.Errorf("%d %s", got.StatusCode, got.body)
	}
}

// A file in the storage that makes no sense costs nothing that is known, and the
// command says what to do.
func TestAWordThatMakesNoSenseIsLeftAlone(t *testing.T) {
	_, nodes := startCluster(t, 4)
	e, a := newAdminEdge(t)
	e.load(withStandby(nodes, ""))
	a.switchTo("dr", "")
	a.drain(nodes[2])
	file := filepath.Join(e.storage, "tigergraph", "operator.json")
	for _, text := range []string{"", "{", "null", `{"format": 9, "version": 100, "drains": []}`, `{"format": 9, "version": 100}`} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		got := a.call(http.MethodPost, "/tigergraph/switch", `{"cluster": "primary"}`)
		want := "remove the file"
		if strings.HasSuffix(text, "100}") {
			want = "update this edge"
		}
		if got.StatusCode != http.StatusServiceUnavailable || !strings.Contains(string(got.body), want) {
			t.Errorf("with %q: %d %s", text, got.StatusCode, got.body)
		}
		e.load(withStandby(nodes, "")) // which reads it
		if active := a.active(); active != "dr" || !a.node(nodes[2].Addr()).Draining {
			t.Errorf("with %q %s is active", text, active)
		}
		if content, err := os.ReadFile(file); err != nil || string(content) != text {
			t.Errorf("%q was written over %q, %v", content, text, err)
		}
	}
	// What is known is written anew once the file is gone.
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	a.ready(nodes[2])
	e.restart(withStandby(nodes, ""))
	if active := a.active(); active != "dr" || a.node(nodes[2].Addr()).Draining {
		t.Errorf("after a restart %s is active", active)
	}
}

// A standby whose nodes are written gets the requests after a switch also where those
// of the cluster come from a dynamic source.
func TestASwitchFromDynamicNodes(t *testing.T) {
	nodes, port := startNeighbours(t, 3)
	names := startNameServer(t, port)
	names.point("tigergraph.test.", nodes[:2]...)
	e, a := newAdminEdge(t)
	e.load("tigergraph {\ndynamic a {\nname tigergraph.test\nport " + port + "\nversions ipv4\nresolvers " + names.conn.LocalAddr().String() +
		"\nrefresh 10ms\n}\nstandby dr " + nodes[2].Addr() + "\n" + quick + "\n}")
	eventually(t, "the standby is probed", func() bool {
		list := a.nodes()
		return len(list) > 0 && list[len(list)-1].Address == nodes[2].Addr() && list[len(list)-1].Services["gui"].Verdict == "up"
	})
	if seen := e.arrivals(20); seen[nodes[2].Name()] > 0 || len(seen) == 0 {
		t.Errorf("before the switch the arrivals are %v", seen)
	}
	a.switchTo("dr", "")
	if seen := e.arrivals(20); seen[nodes[2].Name()] != 20 {
		t.Errorf("after the switch the arrivals are %v", seen)
	}
	// Nor if the names of the first cluster are gone.
	names.point("tigergraph.test.")
	if seen := e.arrivals(20); seen[nodes[2].Name()] != 20 {
		t.Errorf("without the names the arrivals are %v", seen)
	}
	a.switchTo("primary", "")
	if seen := e.arrivals(20); seen[nodes[2].Name()] > 0 || len(seen) == 0 {
		t.Errorf("after the switch back the arrivals are %v", seen)
	}
}
