package integration_test

import (
	"errors"
	"fmt"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/tgnode"
)

// hostileAnswers are what a node may do to whoever probes its application server.
func hostileAnswers() []tgnode.NamedFault {
	answers := tgnode.LyingPings()
	for name, fault := range map[string]tgnode.Fault{
		"a byte now and then": {Mode: tgnode.Trickle, Delay: time.Minute},
		"late":                {Mode: tgnode.SlowHeader, Delay: time.Minute},
		"late body":           {Mode: tgnode.SlowBody, Delay: time.Minute},
		"close":               {Mode: tgnode.Close},
		"reset":               {Mode: tgnode.Reset},
		"nginx":               {Mode: tgnode.Dead},
		"10 GB announced":     {Mode: tgnode.Raw, Body: "HTTP/1.1 200 OK\r\nContent-Length: 10000000000\r\n\r\n" + strings.Repeat("x", 1<<20)},
		"body without end":    {Mode: tgnode.Endless, Status: 200, ContentType: "application/json", Body: strings.Repeat("x", 1<<20)},
		"header without end":  {Mode: tgnode.Raw, Body: "HTTP/1.1 200 OK\r\nX: " + strings.Repeat("x", 12<<20)},
		"many hints":          {Mode: tgnode.Raw, Body: strings.Repeat("HTTP/1.1 103 Early Hints\r\n\r\n", 10_000)},
		"switch of protocols": {Mode: tgnode.Raw, Body: "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n"},
		"two lengths":         {Mode: tgnode.Raw, Body: "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx"},
		"bad chunks":          {Mode: tgnode.Raw, Body: "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"},
		"no byte at all":      {Mode: tgnode.Raw},
	} {
		fault.Path = "/api/ping"
		answers = append(answers, tgnode.NamedFault{Name: name, Fault: fault})
	}
	return answers
}

func TestHostileAnswersTakeAServiceDownAndCostLittle(t *testing.T) {
	answers := hostileAnswers()
	_, nodes := startCluster(t, len(answers)+1)
	well := nodes[len(answers)]
	for i, answer := range answers {
		nodes[i].SetFault(tgnode.GUI, answer.Fault)
	}
	e := newEdge(t)
	before := memory()
	e.load(withMetrics(behind(nodes, "health_check {\ninterval 200ms\ntimeout 1500ms\n}")))
	most := before
	var series map[string]float64
	eventually(t, "every such service is down", func() bool {
		most = max(most, memory())
		series = e.scrape()
		for i, answer := range answers {
			value, known := series[upSeries(nodes[i], tgnode.GUI)]
			if known && value == 1 {
				t.Fatalf("%s: passes", answer.Name)
			}
			if !known {
				return false
			}
		}
		return true
	})
	for i, answer := range answers {
		lines := linesWith(linesWith(e.logs("node is down"), fmt.Sprintf("%q", nodes[i].Addr())), `"service":"gui"`)
		if len(lines) != 1 || !strings.Contains(lines[0], `"streak":3`) {
			t.Errorf("%s: did not go down with the third failure: %q", answer.Name, lines)
		}
	}
	eventually(t, "everything else is up", func() bool { // whatever such answers cost their nodes
		series = e.scrape()
		for i := range answers {
			if series[upSeries(nodes[i], tgnode.RESTPP)] != 1 || series[upSeries(nodes[i], tgnode.GSQL)] != 1 {
				return false
			}
		}
		return series[upSeries(well, tgnode.GUI)] == 1
	})
	// The nodes hold their answers in the same process.
	if grown := int64(most) - int64(before); grown > 256<<20 {
		t.Errorf("the heap grew by %d MiB", grown>>20)
	}
	for _, line := range e.logs("panic") {
		t.Error(line)
	}
	b := e.newBrowser(2)
	for range 20 {
		if a := b.get("/api/__echo"); a.StatusCode != http.StatusOK || a.echo(t).Node != well.Name() {
			t.Fatalf("%d %s", a.StatusCode, a.body)
		}
	}
	for i := range answers {
		nodes[i].ClearFaults()
		nodes[i].ResetConnections()
	}
	for i := range answers {
		e.waitForVerdict(nodes[i], tgnode.GUI, 1)
	}
}

// memory returns how many bytes the heap holds.
func memory() uint64 {
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return stats.HeapInuse
}

func TestAnAnswerThatIsTooLongIsAFailureForAnyService(t *testing.T) {
	_, nodes := startCluster(t, 2)
	for i, length := range []int{64 << 10, 64<<10 + 1} {
		nodes[i].SetFault(tgnode.RESTPP, tgnode.Fault{
			Mode: tgnode.Answer, Status: 200, ContentType: "text/plain", Body: strings.Repeat("x", length),
		})
	}
	e := newEdge(t)
	e.load(withMetrics(behind(nodes, quick)))
	e.waitForVerdict(nodes[0], tgnode.RESTPP, 1)
	e.waitForVerdict(nodes[1], tgnode.RESTPP, 0)
}

// A redirect is an answer, and no order.
func TestProbesFollowNoRedirect(t *testing.T) {
	_, nodes := startCluster(t, 1)
	nodes[0].SetFault(tgnode.RESTPP, tgnode.Fault{
		Mode: tgnode.Answer, Status: 302, Path: "/restpp/echo",
		Fields: []tgnode.Field{{Name: "Location", Value: "/restpp/redirected"}},
	})
	e := newEdge(t)
	e.load(withMetrics(behind(nodes, quick)))
	e.waitForVerdict(nodes[0], tgnode.RESTPP, 1)
	for _, r := range nodes[0].Requests() {
		if r.Target == "/restpp/redirected" {
			t.Fatal("the probe followed the redirect")
		}
	}
}

func TestAFailedConnectionIsAFailure(t *testing.T) {
	for _, test := range []struct {
		name string
		fail func(*tgnode.Node) error
	}{
		{"refused", func(n *tgnode.Node) error { n.Stop(); return nil }},
		{"frozen", func(n *tgnode.Node) error { n.Freeze(); return nil }},
		{"packets dropped", (*tgnode.Node).Blackhole},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, nodes := startCluster(t, 2)
			e := newEdge(t)
			e.load(withMetrics(behind(nodes, quick)))
			e.waitForVerdict(nodes[0], tgnode.GUI, 1)
			if err := test.fail(nodes[0]); errors.Is(err, errors.ErrUnsupported) {
				t.Skipf("packets cannot be dropped on this system: %v", err)
			} else if err != nil {
				t.Fatal(err)
			}
			for service := range probeTargets {
				e.waitForVerdict(nodes[0], service, 0)
			}
			if node := e.newBrowser(2).get("/api/__echo").echo(t).Node; node != nodes[1].Name() {
				t.Errorf("answered by %s", node)
			}
			nodes[0].Thaw()
			if err := nodes[0].Start(); err != nil {
				t.Fatal(err)
			}
			for service := range probeTargets {
				e.waitForVerdict(nodes[0], service, 1)
			}
		})
	}
}

func TestTheHeaderOfAProbesAnswerIsShort(t *testing.T) {
	const pong = `{"error":false,"message":"pong"}`
	_, nodes := startCluster(t, 3)
	for i, more := range []string{strings.Repeat("X: x\r\n", 90), strings.Repeat("X: x\r\n", 101), "X: " + strings.Repeat("x", 65<<10) + "\r\n"} {
		nodes[i].SetFault(tgnode.GUI, tgnode.Fault{
			Mode: tgnode.Raw, Path: "/api/ping", Body: fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n%s\r\n%s", len(pong), more, pong),
		})
	}
	e := newEdge(t)
	e.load(withMetrics(cluster(nodes, quick)))
	e.waitForVerdict(nodes[0], tgnode.GUI, 1)
	e.waitForVerdict(nodes[1], tgnode.GUI, 0)
	e.waitForVerdict(nodes[2], tgnode.GUI, 0)
}

// A certificate that nobody trusts is read all the same, to say what is wrong with it.
func TestACertificateSaysLittleInTheLogAndTheStatus(t *testing.T) {
	config, _, err := tgnode.SelfSigned("m1\x1b[2J\r\nnode is up", strings.Repeat("all is well, ", 3000))
	if err != nil {
		t.Fatal(err)
	}
	cluster := tgnode.NewCluster()
	t.Cleanup(cluster.Close)
	node, err := cluster.Start(tgnode.Options{TLS: config})
	if err != nil {
		t.Fatal(err)
	}
	e, a := newAdminEdge(t)
	e.load("tigergraph https://" + node.Addr() + " {\n" + quick + "\ntransport tigergraph {\ntls_server_name m2\n}\n}")
	var said string
	eventually(t, "the node is down, and that is why", func() bool {
		gui := a.node(node.Addr()).Services["gui"]
		said = gui.LastError
		return gui.Verdict == "down" && strings.Contains(said, "certificate is valid for m1")
	})
	if len(said) > 500 || strings.ContainsFunc(said, unicode.IsControl) {
		t.Errorf("%d bytes: %.700q", len(said), said)
	}
	for _, line := range e.logs("node is down") {
		if len(line) > 1500 || strings.Contains(line, `\u001b`) || strings.Contains(line, `\n`) {
			t.Errorf("%d bytes: %.2000s", len(line), line)
		}
	}
}
