package integration_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/tgnode"
)

// What nginx answers by itself says nothing of the services behind it.
func TestANginxThatRefusesEverythingIsDownWithAdvice(t *testing.T) {
	refusals := tgnode.Refusals()
	_, nodes := startCluster(t, len(refusals)+1)
	for i, refusal := range refusals {
		for service := range probeTargets {
			nodes[i].SetFault(service, refusal.Fault)
		}
	}
	e, a := newAdminEdge(t)
	e.load(withMetrics(behind(nodes, quick)))
	for i, refusal := range refusals {
		for service := range probeTargets {
			e.waitForVerdict(nodes[i], service, 0)
			if status := a.node(nodes[i].Addr()).Services[service.String()]; status.Advice == "" || status.LastError == "" {
				t.Errorf("%s: %s has the error %q and the advice %q", refusal.Name, service, status.LastError, status.Advice)
			}
		}
	}
	well := nodes[len(refusals)]
	b := e.newBrowser(2)
	for _, path := range []string{"/api/__echo", "/restpp/__echo", "/gsqlserver/__echo"} {
		if got := b.get(path); got.StatusCode != http.StatusOK || got.echo(t).Node != well.Name() {
			t.Errorf("%s: %d %s", path, got.StatusCode, got.body)
		}
	}
}

func TestWhatTheServicesAnswerThemselvesProvesThatTheyLive(t *testing.T) {
	statuses := []int{401, 403, 404, 500, 503}
	_, nodes := startCluster(t, len(statuses))
	for i, status := range statuses {
		nodes[i].SetFault(tgnode.GSQL, tgnode.StatusFault(status))
		nodes[i].SetFault(tgnode.RESTPP, tgnode.StatusFault(status))
	}
	e := newEdge(t)
	e.load(withMetrics(behind(nodes, quick)))
	for _, node := range nodes {
		e.waitForVerdict(node, tgnode.GSQL, 1)
		e.waitForVerdict(node, tgnode.RESTPP, 1)
	}
}

func TestGSQLIsProbedWhereTheNodesNginxKnowsIt(t *testing.T) {
	_, nodes := startCluster(t, 2)
	gone := tgnode.Refusal(http.StatusNotFound, "")
	gone.Path = "/gsqlserver/"
	nodes[0].SetFault(tgnode.GSQL, gone)
	e := newEdge(t)
	e.load(withMetrics(behind(nodes, quick)))
	e.waitForVerdict(nodes[0], tgnode.GSQL, 1)
	e.waitForVerdict(nodes[1], tgnode.GSQL, 1)
	asked := func(node *tgnode.Node, path string) (count int) {
		for _, r := range node.Requests() {
			if strings.HasPrefix(r.Target, path) {
				count++
			}
		}
		return count
	}
	eventually(t, "a few probes", func() bool { return asked(nodes[0], "/gsql/v1/version") > 3 })
	// More than once only where the next probe was due before the first was answered.
	const fails = 3
	if older := asked(nodes[0], "/gsqlserver/"); older < 1 || older > fails {
		t.Errorf("the path that is gone was asked for %d times, want once", older)
	}
	if newer := asked(nodes[1], "/gsql/v1/"); newer != 0 {
		t.Errorf("the newer path was asked for %d times where the older is known", newer)
	}
	nodes[0].SetFault(tgnode.GSQL, gone, tgnode.Fault{Mode: tgnode.Dead})
	e.waitForVerdict(nodes[0], tgnode.GSQL, 0)
	nodes[0].ClearFaults()
	e.waitForVerdict(nodes[0], tgnode.GSQL, 1)
}

func TestARouteThatExistsNowhereIsUnknownAndCountsAsUp(t *testing.T) {
	cluster := tgnode.NewCluster()
	t.Cleanup(cluster.Close)
	node, err := cluster.Start(tgnode.Options{NoGSQLRoutes: true})
	if err != nil {
		t.Fatal(err)
	}
	gone := tgnode.Refusal(http.StatusNotFound, "")
	gone.Path = "/gsqlserver/gsql/version"
	node.SetFault(tgnode.GSQL, gone)
	e, a := newAdminEdge(t)
	e.load(withMetrics(behind([]*tgnode.Node{node}, "fail_closed\nhealth_check {\ninterval 100ms\nstart checking\n}")))
	e.waitForVerdict(node, tgnode.GUI, 1)
	eventually(t, "a warning", func() bool { return len(e.logs("does not know the path")) > 0 })
	b := e.newBrowser(2)
	for range 20 {
		if got := b.get("/gsqlserver/__echo"); got.StatusCode != http.StatusOK {
			t.Fatalf("%d", got.StatusCode)
		}
	}
	if status := a.node(node.Addr()).Services["gsql"]; status.Verdict != "unknown" || !strings.Contains(status.Advice, "gsql <path>") {
		t.Errorf("the verdict is %s, with the advice %q", status.Verdict, status.Advice)
	}
	if warnings := e.logs("does not know the path"); len(warnings) != 1 || !strings.Contains(warnings[0], node.Addr()) {
		t.Errorf("%q", warnings)
	}
}
