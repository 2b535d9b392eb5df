package integration_test

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/tgnode"
)

// slowly is a check that probes once, and then not for the time of a test unless
// in doubt.
const slowly = `health_check {
	interval 10m
	jitter   0
	timeout  20s
	%s
}`

func TestVerdictsSurviveAReload(t *testing.T) {
	_, nodes := startCluster(t, 3)
	down := nodes[0]
	down.SetFault(tgnode.GUI, deadPing)
	e := newEdge(t)
	e.load(withMetrics(behind(nodes, quick)))
	for _, node := range nodes[1:] {
		e.waitForVerdict(node, tgnode.GUI, 1)
	}
	e.waitForVerdict(down, tgnode.GUI, 0)
	probes := e.scrape()[probesSeries(down, "gui", "fail")]

	var clients []*browser
	for host := byte(2); host < 22; host++ {
		clients = append(clients, e.stranger(host))
	}
	for reload := range 3 {
		// The rest of the configuration changes.
		e.load(fmt.Sprintf("header X-Reload %d\n", reload) + withMetrics(behind(nodes, quick)))
		for began := time.Now(); time.Since(began) < time.Second/3; {
			for _, client := range clients {
				if node := client.insist("/api/__echo").echo(t).Node; node == down.Name() {
					t.Fatalf("reload %d sent a request to a node that is down", reload)
				}
			}
		}
	}
	if warnings := e.logs("node is down"); len(warnings) != 1 {
		t.Errorf("%d lines say that a node is down, want 1: %q", len(warnings), warnings)
	}
	if now := e.scrape()[probesSeries(down, "gui", "fail")]; now <= probes {
		t.Errorf("%g failures counted after the reloads, %g before", now, probes)
	}
	down.ClearFaults()
	e.waitForVerdict(down, tgnode.GUI, 1) // the probes go on
}

func probesSeries(node *tgnode.Node, service, result string) string {
	return fmt.Sprintf(`caddy_tigergraph_probes_total{node=%q,result=%q,service=%q}`, node.Addr(), result, service)
}

// How often is probed, and what the results are worth, changes nothing of what is
// known.
func TestAVerdictIsTheStartingPointOfAnotherRhythm(t *testing.T) {
	_, nodes := startCluster(t, 2)
	down := nodes[0]
	site := func(transport, check string) string {
		checks := fmt.Sprintf(slowly, check)
		if strings.Contains(check, "timeout") {
			checks = strings.Replace(checks, "timeout  20s", "", 1)
		}
		return withMetrics("reverse_proxy " + addresses(nodes) + " {\nlb_policy tigergraph {\n" +
			checks + "\n}\ntransport tigergraph {\n" + transport + "\n}\n}")
	}
	down.SetFault(tgnode.GUI, deadPing)
	e := newEdge(t)
	e.load(site("", "fails 1"))
	e.waitForVerdict(down, tgnode.GUI, 0)
	e.waitForVerdict(nodes[1], tgnode.GUI, 1)
	for _, change := range []struct{ transport, check string }{
		{"", "fails 2"}, {"", "passes 9\ntimeout 5s"}, {"dial_timeout 7s", "start checking"}, {"", "gsql off"},
	} {
		e.load(site(change.transport, change.check))
		for host := byte(2); host < 22; host++ {
			if node := e.stranger(host).insist("/api/__echo").echo(t).Node; node == down.Name() {
				t.Fatalf("after the change to %q a request was sent to a node that is down", change)
			}
		}
		if !e.isVerdict(down, tgnode.GUI, 0) {
			t.Errorf("after the change to %q the node is not known to be down", change)
		}
	}
	if lines := e.logs("node is down"); len(lines) != 1 {
		t.Errorf("%d lines say that a node is down, want 1: %q", len(lines), lines)
	}
	down.ClearFaults()
	e.load(site("", "passes 1"))
	e.waitForVerdict(down, tgnode.GUI, 1)
}

// What was found out in another way may not be true any more.
func TestAnotherCheckOrTransportStartsAnew(t *testing.T) {
	nodes, authority := startTLSNodes(t, 1, "tigergraph.internal")
	node := nodes[0]
	site := func(authority, transport, check string) string {
		return withMetrics(fmt.Sprintf(`reverse_proxy %s {
			lb_policy tigergraph {
				%s
			}
			transport http {
				tls_server_name tigergraph.internal
				tls_trust_pool file %s
				%s
			}
		}`, node.Addr(), check, authority, transport))
	}
	check := fmt.Sprintf(slowly, "fails 1")
	for _, test := range []struct{ name, transport, check string }{
		{"path", "", fmt.Sprintf(slowly, "fails 1\ngui /api/ping?another")},
		{"transport", "local_address 127.0.0.1", check},
	} {
		t.Run(test.name, func(t *testing.T) {
			node.SetFault(tgnode.GUI, deadPing)
			e := newEdge(t)
			e.load(site(authority, "", check))
			e.waitForVerdict(node, tgnode.GUI, 0)
			node.ClearFaults()
			e.load(site(authority, "", check))
			if !e.isVerdict(node, tgnode.GUI, 0) {
				t.Fatal("the verdict did not survive a reload that changes nothing")
			}
			e.load(site(authority, test.transport, test.check))
			// It would take two passes, two minutes apart, if it did not start anew.
			e.waitForVerdict(node, tgnode.GUI, 1)
		})
	}
	// Both authorities have the same name and lie in files of the same name.
	t.Run("authority", func(t *testing.T) {
		trusting, right := startTLSNodes(t, 1, "tigergraph.internal")
		node = trusting[0]
		e := newEdge(t)
		e.load(site(authority, "", check))
		e.waitForVerdict(node, tgnode.GUI, 0)
		if lines := e.logs("node is down"); len(lines) == 0 || !strings.Contains(lines[0], "x509: ") {
			t.Errorf("the log does not say that the certificate is the reason: %q", lines)
		}
		e.load(site(right, "", check))
		e.waitForVerdict(node, tgnode.GUI, 1)
		e.load(site(authority, "", check))
		e.waitForVerdict(node, tgnode.GUI, 0)
	})
}

func TestACancelledProbeIsNoFailure(t *testing.T) {
	_, nodes := startCluster(t, 1)
	nodes[0].SetFault(tgnode.GUI, tgnode.Fault{Mode: tgnode.Hang, Path: "/api/ping"})
	e := newEdge(t)
	for i := range 5 { // each a check of its own, so that the last one's probes end
		arrived := len(probesOf(nodes[0], tgnode.GUI))
		e.load(withMetrics(behind(nodes, fmt.Sprintf("health_check {\nfails 1\ntimeout %dm\n}", i+1))))
		eventually(t, "a probe hangs", func() bool { return len(probesOf(nodes[0], tgnode.GUI)) > arrived })
	}
	for series, value := range e.scrape() {
		if strings.Contains(series, `service="gui"`) && strings.Contains(series, `result="fail"`) && value > 0 {
			t.Errorf("%s %g", series, value)
		}
	}
	if down := e.logs("node is down"); len(down) > 0 {
		t.Error(down)
	}
}

// With any policy Caddy loses connections that come in while it closes a socket,
// before it has read a request. So what counts is every answer, and that the log
// has no error.
func TestAHundredReloadsUnderLoad(t *testing.T) {
	_, nodes := startCluster(t, 3)
	e := newEdge(t)
	e.globals = strings.Replace(e.globals, "level INFO", "level DEBUG", 1)
	load := func(i int) {
		interval := 100
		if i%3 == 0 { // now and then all verdicts start anew
			interval += i
		}
		check := fmt.Sprintf("health_check {\ninterval %dms\ntimeout 20s\n}", interval)
		e.load(withMetrics(behind(nodes, check)))
	}
	load(1)
	for _, node := range nodes {
		e.waitForVerdict(node, tgnode.GUI, 1)
	}
	ours := goroutines("caddy-tigergraph.")
	before := goroutines("")

	stop := make(chan struct{})
	var answers, failures atomic.Int64
	var clients sync.WaitGroup
	for host := byte(2); host < 6; host++ {
		b := e.newBrowser(host)
		clients.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				a, err := b.try(http.MethodGet, "/api/__echo", nil)
				switch {
				case err != nil:
				case a.StatusCode == http.StatusOK:
					answers.Add(1)
				default:
					failures.Add(1)
				}
			}
		})
	}
	for i := range 100 {
		load(i)
	}
	load(1)
	close(stop)
	clients.Wait()
	if failures.Load() > 0 || answers.Load() < 100 {
		t.Errorf("%d requests failed, %d did not", failures.Load(), answers.Load())
	}
	for _, line := range e.logs(`"level":"error"`) {
		t.Error(line)
	}
	if down := e.logs("node is down"); len(down) > 0 {
		t.Error(down)
	}
	for _, line := range linesWith(e.logs(`"msg":"probed"`), `"error":`) {
		t.Error(line)
	}
	eventually(t, "no goroutine of ours more than before", func() bool {
		return goroutines("caddy-tigergraph.") <= ours
	})
	eventually(t, "about as many goroutines as before", func() bool { return goroutines("") <= before+5 })
	if err := caddy.Stop(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "no goroutine of ours after the stop", func() bool { return goroutines("caddy-tigergraph.") == 0 })
}

// goroutines counts those with this function on their stack, but for the test's
// own, the nodes' and the kept connections' of clients and servers.
func goroutines(function string) int {
	stacks := make([]byte, 1<<20)
	for {
		n := runtime.Stack(stacks, true)
		if n < len(stacks) {
			stacks = stacks[:n]
			break
		}
		stacks = make([]byte, 2*len(stacks))
	}
	count := 0
	for stack := range bytes.SplitSeq(stacks, []byte("\n\n")) {
		text := string(stack)
		if strings.Contains(text, function) && !strings.Contains(text, "/integration_test") &&
			!strings.Contains(text, "/tgnode") && !strings.Contains(text, "net/http.(*persistConn)") &&
			!strings.Contains(text, "net/http.(*conn)") {
			count++
		}
	}
	return count
}

func TestValidatingAndAdaptingSendNothing(t *testing.T) {
	_, nodes := startCluster(t, 3)
	e := newEdge(t)
	config := e.decode("http://"+e.address, behind(nodes[:2], quick))
	if err := caddy.Validate(config); err != nil {
		t.Fatal(err)
	}
	// In the time that an edge which runs takes to probe three services twice.
	e.load(behind(nodes[2:], quick))
	eventually(t, "another node was probed twice", func() bool { return nodes[2].Count(tgnode.All) >= 2*3 })
	for _, node := range nodes[:2] {
		if node.Accepted() != 0 {
			t.Errorf("%s got %d connections", node.Name(), node.Accepted())
		}
	}
}

// decode returns a site's configuration as caddy.Validate wants it.
func (e *edge) decode(site, directives string) *caddy.Config {
	e.t.Helper()
	config := new(caddy.Config)
	if err := caddy.StrictUnmarshalJSON([]byte(e.adapt(site, directives)), config); err != nil {
		e.t.Fatal(err)
	}
	return config
}

// failingApp is an app that does not start.
type failingApp struct{}

func init() { caddy.RegisterModule(failingApp{}) }

func (failingApp) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "failing_for_test", New: func() caddy.Module { return new(failingApp) }}
}
func (failingApp) Start() error { return errors.New("it never starts") }
func (failingApp) Stop() error  { return nil }

func TestAFailedReloadLeavesTheChecksAlone(t *testing.T) {
	_, nodes := startCluster(t, 2)
	nodes[0].SetFault(tgnode.GUI, deadPing)
	e := newEdge(t)
	site := withMetrics(behind(nodes, quick))
	e.load(site)
	e.waitForVerdict(nodes[0], tgnode.GUI, 0)
	e.waitForVerdict(nodes[1], tgnode.GUI, 1)
	client := e.stranger(2)
	for range 20 { // ours starts before the other app or after it, at random
		config := strings.Replace(e.adapt("http://"+e.address, site), `"apps":{`, `"apps":{"failing_for_test":{},`, 1)
		if err := caddy.Load([]byte(config), true); err == nil || !strings.Contains(err.Error(), "it never starts") {
			t.Fatalf("the reload did not fail as it should: %v", err)
		}
		if !e.isVerdict(nodes[0], tgnode.GUI, 0) || !e.isVerdict(nodes[1], tgnode.GUI, 1) {
			t.Fatalf("the gauges are gone: %v", e.scrape())
		}
		if node := client.insist("/api/__echo").echo(t).Node; node != nodes[1].Name() {
			t.Fatalf("answered by %s, which is down", node)
		}
	}
	nodes[0].ClearFaults()
	e.waitForVerdict(nodes[0], tgnode.GUI, 1) // the probes go on
}
