package integration_test

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/tgnode"
)

// quick is a health check that decides within a fraction of a second.
const quick = `health_check {
	interval 100ms
	timeout 2s
}`

// calmTransport keeps no connections, so that a request always uses the one that
// is dialled for it. Otherwise Caddy up to v2.11.1 writes to a request's variables,
// at a retry, while a dial that nobody waits for any more may read them.
const calmTransport = "transport http {\nkeepalive off\n}"

// behind returns a proxy in front of these nodes, with this policy block.
func behind(nodes []*tgnode.Node, options string) string {
	return "reverse_proxy " + addresses(nodes) + " {\nlb_policy tigergraph {\n" + options + "\n}\n}"
}

func TestADeadServiceMovesItsOwnTrafficAndNothingElse(t *testing.T) {
	_, nodes := startCluster(t, 3)
	e := newEdge(t)
	e.load(behind(nodes, quick))
	b := e.newBrowser(2)
	home := b.login()
	var own *tgnode.Node
	for _, node := range nodes {
		if node.Name() == home {
			own = node
		}
	}
	own.SetFault(tgnode.GSQL, tgnode.Fault{Mode: tgnode.Dead})
	eventually(t, "GSQL requests leave the node", func() bool {
		return b.get("/gsqlserver/gsql/version").StatusCode == http.StatusOK
	})
	for range 50 {
		if a := b.get("/gsqlserver/gsql/version"); a.StatusCode != http.StatusOK {
			t.Fatalf("GSQL: %d", a.StatusCode)
		}
		if node, status := b.whoami(); node != home || status != http.StatusOK {
			t.Fatalf("the GUI's session is on %q: %d", node, status)
		}
		if node := b.get("/restpp/__echo").echo(t).Node; node != home {
			t.Fatalf("RESTPP moved to %s", node)
		}
	}
	own.ClearFaults()
	eventually(t, "GSQL requests are back", func() bool {
		return b.get("/gsqlserver/__echo").echo(t).Node == home
	})
	if up := e.logs("node is up"); len(up) == 0 {
		t.Error("no log line says that a node is up")
	}
	if down := e.logs("node is down"); len(down) != 1 {
		t.Errorf("%d log lines say that a node is down, want 1: %q", len(down), down)
	}
}

func TestANodeWithoutAnApplicationServerGetsNoBrowser(t *testing.T) {
	cluster, nodes := startCluster(t, 3)
	fourth, err := cluster.Start(tgnode.Options{NoGUI: true, NoGSQL: true})
	if err != nil {
		t.Fatal(err)
	}
	e := newEdge(t)
	e.load(withMetrics(behind(append(nodes, fourth), quick)))
	e.waitForVerdict(fourth, tgnode.GUI, 0)
	e.waitForVerdict(fourth, tgnode.GSQL, 0)
	e.waitForVerdict(fourth, tgnode.RESTPP, 1)
	queries := 0
	for host := byte(2); host < 42; host++ {
		b := e.newBrowser(host)
		if b.get("/restpp/__echo").echo(t).Node == fourth.Name() {
			queries++
		}
		if node := b.get("/gsqlserver/__echo").echo(t).Node; node == fourth.Name() {
			t.Fatalf("a GSQL client was sent to %s", node)
		}
		if node := b.login(); node == fourth.Name() {
			t.Fatalf("a browser was sent to %s", node)
		}
	}
	if queries == 0 {
		t.Errorf("none of 40 clients' queries went to %s", fourth.Name())
	}
}

func TestProbesUseTheProxysTransport(t *testing.T) {
	t.Setenv("TIGERGRAPH_NAME", "tigergraph.internal")
	nodes, authority := startTLSNodes(t, 2, "tigergraph.internal")
	for _, test := range []struct{ name, serverName string }{
		{"server name", "tigergraph.internal"},
		{"server name in a placeholder", "{env.TIGERGRAPH_NAME}"},
	} {
		t.Run(test.name, func(t *testing.T) {
			for _, node := range nodes {
				node.ResetRequests()
			}
			e := newEdge(t)
			e.load(withMetrics(fmt.Sprintf(`reverse_proxy %s {
				lb_policy tigergraph {
					%s
				}
				transport http {
					tls
					tls_trust_pool file %s
					tls_server_name %s
				}
			}`, addresses(nodes), quick, authority, test.serverName)))
			for _, node := range nodes {
				for service := range probeTargets {
					e.waitForVerdict(node, service, 1)
					for _, probe := range probesOf(node, service) {
						if probe.Method != http.MethodGet || probe.Protocol != "HTTP/1.1" {
							t.Errorf("a probe was %s %s", probe.Method, probe.Protocol)
						}
					}
				}
			}
			if a := e.newBrowser(2).get("/api/ping"); a.StatusCode != http.StatusOK {
				t.Errorf("%d %s", a.StatusCode, a.body)
			}
		})
	}
	t.Run("wrong server name", func(t *testing.T) {
		e := newEdge(t)
		e.load(withMetrics(fmt.Sprintf(`reverse_proxy %s {
			lb_policy tigergraph {
				%s
			}
			transport http {
				tls
				tls_trust_pool file %s
			}
		}`, addresses(nodes), quick, authority)))
		e.waitForVerdict(nodes[0], tgnode.GUI, 0)
	})
}

// Outside of doubt a service gets its next probe after the answer to the last,
// whatever asks for one; and in doubt not more at once than failures take it down.
func TestFewProbesInFlightPerNodeAndService(t *testing.T) {
	for _, test := range []struct {
		name     string
		interval time.Duration
		slow     time.Duration
		most     int
	}{
		{"not in doubt", time.Second, 150 * time.Millisecond, 1},
		{"in doubt", 40 * time.Millisecond, 150 * time.Millisecond, 3},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, nodes := startCluster(t, 1)
			for service := range probeTargets {
				nodes[0].SetFault(service, tgnode.Fault{Mode: tgnode.SlowHeader, Delay: test.slow})
			}
			e := newEdge(t)
			site := behind(nodes, fmt.Sprintf("health_check {\ninterval %s\ntimeout 5s\n}", test.interval))
			e.load(site)
			for range 3 { // a survivor of reloads is one, too
				e.load(site)
			}
			eventually(t, "a few probes", func() bool { return len(probesOf(nodes[0], tgnode.GSQL)) > 6 })
			for service := range probeTargets {
				probes := probesOf(nodes[0], service)
				for i := test.most; i < len(probes); i++ {
					if gap := probes[i].Time.Sub(probes[i-test.most].Time); gap < test.slow {
						t.Errorf("%s: probe %d came %s after that %d before, which took %s", service, i, gap, test.most, test.slow)
					}
				}
			}
		})
	}
}

func TestAServiceThatFailsNowAndThenStaysUp(t *testing.T) {
	_, nodes := startCluster(t, 1)
	e := newEdge(t)
	e.load(withMetrics(behind(nodes, "health_check {\ninterval 1200ms\n}")))
	e.waitForVerdict(nodes[0], tgnode.GUI, 1)
	// A probe that is slower than the next overtakes: the rhythm leaves a busy machine time.
	nodes[0].SetFault(tgnode.GUI, tgnode.Fault{Mode: tgnode.Dead, Path: "/api/ping", Sequence: "--.", Repeat: true})
	before := len(probesOf(nodes[0], tgnode.GUI))
	eventually(t, "many probes", func() bool { return len(probesOf(nodes[0], tgnode.GUI)) > before+15 })
	if !e.isVerdict(nodes[0], tgnode.GUI, 1) {
		t.Error("the service is not up")
	}
	if down := e.logs("node is down"); len(down) > 0 {
		t.Error(down)
	}
}

func TestAServiceInDoubtIsProbedFourTimesAsOften(t *testing.T) {
	_, nodes := startCluster(t, 1)
	nodes[0].SetFault(tgnode.GUI, deadPing)
	e := newEdge(t)
	e.load(behind(nodes, "health_check {\ninterval 200ms\njitter 0\nfails 1000\n}"))
	eventually(t, "twenty probes", func() bool { return len(probesOf(nodes[0], tgnode.GUI)) > 20 })
	probes := probesOf(nodes[0], tgnode.GUI)
	fastest := enough // on a busy machine some are late
	for i := range 15 {
		fastest = min(fastest, probes[i+5].Time.Sub(probes[i].Time))
	}
	if fastest > 450*time.Millisecond {
		t.Errorf("five waits took %s at least, want about a quarter of a second", fastest)
	}
}

func TestAFailedRequestAsksForAnEarlyProbe(t *testing.T) {
	_, nodes := startCluster(t, 2)
	e := newEdge(t)
	e.load(withMetrics("reverse_proxy " + addresses(nodes) + ` {
		lb_policy tigergraph client_ip {
			health_check {
				interval 1h
				jitter   0
			}
		}
		lb_retries 1
		` + calmTransport + `
	}`))
	for _, node := range nodes {
		e.waitForVerdict(node, tgnode.RESTPP, 1)
	}
	var b *browser
	for host := byte(2); b == nil; host++ { // a client whose home is the first node
		if c := e.stranger(host); c.get("/restpp/__echo").echo(t).Node == nodes[0].Name() {
			b = c
		}
	}
	count := func() int { return len(probesOf(nodes[0], tgnode.RESTPP)) }
	before := count()

	t.Run("a few at most", func(t *testing.T) {
		nodes[0].SetFault(tgnode.RESTPP, tgnode.Fault{Mode: tgnode.Close, Path: "/restpp/__echo"})
		began := time.Now()
		for count() < before+3 {
			if node := b.get("/restpp/__echo").echo(t).Node; node != nodes[1].Name() {
				t.Fatalf("answered by %s", node)
			}
			if time.Since(began) > enough {
				t.Fatal("no early probes")
			}
		}
		for range 500 {
			b.get("/restpp/__echo")
		}
		if most := int(time.Since(began)/(250*time.Millisecond)) + 2; count()-before > most {
			t.Errorf("%d early probes in %s, want at most %d", count()-before, time.Since(began), most)
		}
	})
	t.Run("of the service that failed", func(t *testing.T) {
		if gui := len(probesOf(nodes[0], tgnode.GUI)); gui != 1 {
			t.Errorf("%d probes of the GUI, which no request was for; want the first alone", gui)
		}
		if other := len(probesOf(nodes[1], tgnode.RESTPP)); other != 1 {
			t.Errorf("%d probes of the node that answers; want the first alone", other)
		}
	})
	t.Run("take a dead service down", func(t *testing.T) {
		nodes[0].SetFault(tgnode.RESTPP, tgnode.Fault{Mode: tgnode.Close})
		eventually(t, "the verdict is down", func() bool {
			b.get("/restpp/__echo")
			return e.isVerdict(nodes[0], tgnode.RESTPP, 0)
		})
	})
}

const (
	openGUI    = `caddy_tigergraph_fail_open{cluster="primary",service="gui"}`
	openRESTPP = `caddy_tigergraph_fail_open{cluster="primary",service="restpp"}`
)

func TestChecksThatAllFailDoNotEmptyThePool(t *testing.T) {
	_, nodes := startCluster(t, 3)
	e := newEdge(t)
	e.load(withMetrics(behind(nodes, quick)))
	var browsers []*browser
	var homes []string
	for host := byte(2); host < 10; host++ {
		b := e.newBrowser(host)
		browsers, homes = append(browsers, b), append(homes, b.login())
	}
	for episode := 1; episode <= 2; episode++ {
		for _, node := range nodes {
			e.waitForVerdict(node, tgnode.GUI, 1)
			node.SetFault(tgnode.GUI, deadPing)
		}
		for _, node := range nodes {
			e.waitForVerdict(node, tgnode.GUI, 0)
		}
		for range 5 {
			for i, b := range browsers {
				if node, status := b.whoami(); node != homes[i] || status != http.StatusOK {
					t.Fatalf("a session of %s was sent to %q: %d", homes[i], node, status)
				}
			}
		}
		if series := e.scrape(); series[openGUI] != 1 || series[openRESTPP] != 0 {
			t.Errorf("the GUI's pool fails open: %g, RESTPP's: %g; want 1 and 0", series[openGUI], series[openRESTPP])
		}
		for _, node := range nodes {
			node.ClearFaults()
		}
		eventually(t, "the pool does not fail open any more", func() bool { return e.scrape()[openGUI] == 0 })
		if warnings := e.logs("every node is down"); len(warnings) != episode {
			t.Fatalf("%d warnings after %d episodes: %q", len(warnings), episode, warnings)
		}
		eventually(t, "the end of the episode is in the log, once", func() bool {
			return len(e.logs("there are nodes to choose from again")) == episode
		})
	}
}

func TestAClosedPoolRefuses(t *testing.T) {
	_, nodes := startCluster(t, 2)
	e := newEdge(t)
	e.load(withMetrics(behind(nodes, "fail_closed\n"+quick)))
	for _, node := range nodes {
		node.SetFault(tgnode.GUI, deadPing)
	}
	for _, node := range nodes {
		e.waitForVerdict(node, tgnode.GUI, 0)
	}
	b := e.newBrowser(2)
	if a := b.get("/api/__echo"); a.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("%d, want 503", a.StatusCode)
	}
	if a := b.get("/restpp/__echo"); a.StatusCode != http.StatusOK {
		t.Errorf("RESTPP: %d", a.StatusCode)
	}
	if e.scrape()[openGUI] != 0 || len(e.logs("every node is down")) != 0 {
		t.Error("the pool claims to fail open")
	}
}

// A request that failed on a good node may be tried on one that is down, but
// that is not every node being down.
func TestARetryIsNoFailOpen(t *testing.T) {
	_, nodes := startCluster(t, 2)
	e := newEdge(t)
	e.load(withMetrics("reverse_proxy " + addresses(nodes) + ` {
		lb_policy tigergraph {
			` + quick + `
		}
		lb_retries 1
		` + calmTransport + `
	}`))
	e.waitForVerdict(nodes[0], tgnode.RESTPP, 1)
	nodes[1].SetFault(tgnode.RESTPP, tgnode.Fault{Mode: tgnode.Dead, Path: "/restpp/echo"})
	e.waitForVerdict(nodes[1], tgnode.RESTPP, 0)
	nodes[0].SetFault(tgnode.RESTPP, tgnode.Fault{Mode: tgnode.Close, Path: "/restpp/__echo"})
	if node := e.newBrowser(2).get("/restpp/__echo").echo(t).Node; node != nodes[1].Name() {
		t.Errorf("answered by %s", node)
	}
	if warnings := e.logs("every node is down"); len(warnings) > 0 {
		t.Errorf("one node is up, and yet: %q", warnings)
	}
}

func TestStartCheckingWaitsForTheFirstPass(t *testing.T) {
	_, nodes := startCluster(t, 2)
	for _, node := range nodes {
		node.SetFault(tgnode.GUI, tgnode.Fault{Mode: tgnode.Hang, Path: "/api/ping"})
	}
	// One node is found to be down; of the other nothing is known yet.
	nodes[0].SetFault(tgnode.GUI, deadPing)
	e := newEdge(t)
	e.load(withMetrics(behind(nodes, "health_check {\ninterval 100ms\ntimeout 20s\nstart checking\n}")))
	b := e.newBrowser(2)
	e.waitForVerdict(nodes[0], tgnode.GUI, 0)
	for range 20 {
		if a := b.get("/api/__echo"); a.StatusCode != http.StatusServiceUnavailable {
			t.Fatalf("%d before a probe has passed, want 503", a.StatusCode)
		}
	}
	eventually(t, "RESTPP, which has passed, is used", func() bool {
		return b.get("/restpp/__echo").StatusCode == http.StatusOK
	})
	if open := e.scrape()[openGUI]; open != 0 {
		t.Errorf("the pool fails open: %g", open)
	}
	for _, node := range nodes {
		for _, r := range visitsOf(node) {
			if r.Service == tgnode.GUI {
				t.Errorf("%s got %s", node.Name(), r.Target)
			}
		}
	}
	nodes[1].ClearFaults()
	nodes[1].ResetConnections() // ends the probe that hangs
	eventually(t, "the GUI is used after its first pass", func() bool {
		return b.get("/api/__echo").StatusCode == http.StatusOK
	})
}

func TestUpstreamsKnownOnlyDuringARequestAreNotProbed(t *testing.T) {
	_, nodes := startCluster(t, 2)
	e := newEdge(t)
	e.load("reverse_proxy {http.request.header.X-Node} {\nlb_policy tigergraph {\n" + quick + "\n}\n}")
	b := e.newBrowser(2)
	for range 10 {
		for _, node := range nodes {
			if answered := b.get("/api/__echo", "X-Node", node.Addr()).echo(t).Node; answered != node.Name() {
				t.Fatalf("asked for %s, answered by %s", node.Name(), answered)
			}
		}
	}
	for _, node := range nodes {
		for _, r := range node.Requests() {
			if isProbe(r) {
				t.Errorf("%s was probed: %s", node.Name(), r.Target)
			}
		}
	}
	if warnings := e.logs("node cannot be checked"); len(warnings) != 1 {
		t.Errorf("%d warnings, want 1: %q", len(warnings), warnings)
	}
}
