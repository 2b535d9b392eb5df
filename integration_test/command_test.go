package integration_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/pem"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/tgnode"
)

// TestCommand runs the commands of a Caddy that was built with the plugin.
func TestCommand(t *testing.T) {
	caddy := command{caddyBinary}
	t.Run("asks the server", caddy.testAsking)
	t.Run("ready says what is still wrong", caddy.testReady)
	t.Run("drain and ready wait", caddy.testWaiting)
	t.Run("a slip of the pen", caddy.testSlips)
	t.Run("switches", caddy.testSwitching)
	t.Run("status goes on", caddy.testWatch)
	t.Run("cannot ask", caddy.testNobodyToAsk)
	t.Run("check", caddy.testCheck)
	t.Run("check asks all nodes at once", caddy.testCheckAtOnce)
	t.Run("help and completion", caddy.testHelp)
	t.Run("as the README says", caddy.testReadme)
	t.Run("as keepalived runs it", caddy.testKeepalived)
}

// command is Caddy's binary.
type command struct{ binary string }

// said is what a command said.
type said struct {
	status     int
	out, error string
}

// run runs a command of Caddy's.
func (c command) run(t *testing.T, arguments ...string) said {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), enough)
	defer cancel()
	process := exec.CommandContext(ctx, c.binary, arguments...)
	var out, errs bytes.Buffer
	process.Stdout, process.Stderr = &out, &errs
	err := process.Run()
	if exit := new(exec.ExitError); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return said{process.ProcessState.ExitCode(), out.String(), errs.String()}
}

// expect fails unless the command said all of this.
func (s said) expect(t *testing.T, what string, status int, texts ...string) {
	t.Helper()
	text := s.out + s.error
	if len(text) > 2000 {
		text = text[:2000]
	}
	// Long lines are broken somewhere.
	unbroken := strings.Join(strings.Fields(s.out+s.error), " ")
	for _, want := range texts {
		if !strings.Contains(unbroken, strings.Join(strings.Fields(want), " ")) {
			t.Errorf("%s does not say %q:\n%s", what, want, text)
		}
	}
	if s.status != status {
		t.Errorf("%s exits with %d, want %d:\n%s", what, s.status, status, text)
	}
	if strings.Count(s.error, "Error: ") > 1 || strings.Contains(s.error, `"level":"error"`) {
		t.Errorf("%s says what is wrong more than once:\n%s", what, s.error)
	}
	if strings.ContainsRune(s.out+s.error, '\x1b') {
		t.Errorf("%s writes an escape sequence to what is no terminal", what)
	}
}

func (c command) testAsking(t *testing.T) {
	_, nodes := startCluster(t, 3)
	e, a := newAdminEdge(t)
	e.load(behind(nodes, quick+"\nbackup "+nodes[2].Addr()))
	a.allUp()
	first, second, third := nodes[0].Addr(), nodes[1].Addr(), nodes[2].Addr()
	run := func(arguments ...string) said {
		t.Helper()
		return c.run(t, append(append([]string{"tigergraph"}, arguments...), "--address", "unix/"+a.socket)...)
	}

	run("status").expect(t, "status", 0, "NODE", "GSQL", first+"  ready ", third+"  backup ")
	run("drain", first, "--for", "1h").expect(t, "drain", 0, first+" takes no new clients until 2", "in flight: 0")
	if node := a.node(first); !node.Draining || node.DrainUntil == nil {
		t.Errorf("after the drain: %+v", node)
	}
	run("status").expect(t, "status during a drain", 0, first+"  draining ", first+" is draining for another ")
	run("drain", first).expect(t, "drain without end", 0, "until it is said to be ready")
	run("drain", second, "--for", "soon").expect(t, "drain for no duration", 1, "such as 30m or 1h")
	run("drain", "m9").expect(t, "drain of nobody", 1, "there is no node", second)
	run("drain", second).expect(t, "drain of the last primary", 0, second)
	run("drain", third).expect(t, "drain of the last node", 1, "last node that takes new clients", "use --force to drain it all the same")
	run("drain", third, "--force").expect(t, "drain by force", 0, third)
	for _, node := range []string{first, second, third} {
		run("ready", node).expect(t, "ready", 0, node+" takes new clients.")
	}
	if nodes := a.nodes(); nodes[0].Draining || nodes[1].Draining || nodes[2].Draining {
		t.Errorf("after ready: %+v", nodes)
	}
	run("ready", "m9").expect(t, "ready of nobody", 1, "there is no node")

	nodes[1].SetFault(tgnode.GSQL, tgnode.Fault{Mode: tgnode.Dead})
	eventually(t, "GSQL is down", func() bool { return a.node(second).Services["gsql"].Verdict == "down" })
	run("status").expect(t, "status with a service down", 1, second+" gsql is down for ", "status 502")
	run("status", "--alive").expect(t, "status --alive with a service down", 0, second+" gsql is down for ")
	encoded := run("status", "--json")
	encoded.expect(t, "status --json", 1, `"verdict":"down"`)
	var shown []nodeShape
	decodeStrictly(t, []byte(encoded.out), &shown)
	if len(shown) != 3 {
		t.Errorf("status --json shows %d nodes", len(shown))
	}
	var everything struct {
		Nodes    []nodeShape `json:"nodes"`
		Clusters []struct {
			Name   string   `json:"name"`
			Active bool     `json:"active"`
			Nodes  []string `json:"nodes"`
		} `json:"clusters"`
		Services map[string]struct {
			FailOpen    bool `json:"fail_open"`
			Unavailable bool `json:"unavailable"`
		} `json:"services"`
	}
	encoded = run("status", "--json=all")
	encoded.expect(t, "status --json=all", 1, `"verdict":"down"`)
	decodeStrictly(t, []byte(encoded.out), &everything)
	if len(everything.Nodes) != 3 || len(everything.Clusters) != 1 || !everything.Clusters[0].Active || len(everything.Services) != 3 {
		t.Errorf("status --json=all shows %+v", everything)
	}
	run("status", "--json=true").expect(t, "status --json=true", 1, `"verdict":"down"`)
	run("status", "--json=some").expect(t, "status --json=some", 2, "--json=all")

	e.load(behind(nodes, quick+"\ndrain "+first))
	run("ready", first).expect(t, "ready of a node that the configuration drains", 1, "the configuration says so")

	// The address may come from a configuration file.
	file := filepath.Join(t.TempDir(), "Caddyfile")
	if err := os.WriteFile(file, []byte("{\n\tadmin unix/"+a.socket+"\n}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c.run(t, "tigergraph", "status", "--config", file).expect(t, "status --config", 1, first)
}

func (c command) testNobodyToAsk(t *testing.T) {
	nowhere := freeAddress(t)
	for _, arguments := range [][]string{{"status"}, {"status", "--json"}, {"drain", "m1"}, {"ready", "m1"}} {
		said := c.run(t, append(append([]string{"tigergraph"}, arguments...), "--address", nowhere)...)
		said.expect(t, strings.Join(arguments, " "), 2, "Error: asking Caddy at "+nowhere, "is it running")
		if strings.Count(said.error, "Error:") != 1 || said.out != "" {
			t.Errorf("%v said\n%s%s", arguments, said.out, said.error)
		}
	}
	// Somebody else's server, or a Caddy without the plugin.
	foreign, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: http.NotFoundHandler(), ReadHeaderTimeout: enough}
	go func() { _ = server.Serve(foreign) }()
	defer server.Close()
	c.run(t, "tigergraph", "status", "--address", foreign.Addr().String()).expect(t, "status of a stranger", 2, "with this plugin")

	for _, wrong := range [][]string{
		{"drain"},
		{"ready"},
		{"check"},
		{"drain", "m1", "m2"},
		{"status", "m1"},
		{"status", "--fro"},
		{"check", "m1", "--timeout", "0s"},
		{"check", "m1", "--timeout", "soon"},
		{"check", "m1/api"},
		{"check", "m1:x"},
		{"check", "m1", "--cacert", "ca.pem"},
		{"check", "https://m1", "--cert", "client.pem"},
		{"drain", "m1", "--wait", "soon"},
		{"drain", "m1", "--idle", "1m"},
		{"ready", "m1", "--wait", "-1s"},
		{"switch"},
		{"status", "--watch", "--alive"},
		{"restart"},
	} {
		said := c.run(t, append([]string{"tigergraph"}, wrong...)...)
		if said.status != 2 || !strings.Contains(said.error, "Error: ") {
			t.Errorf("%v exits with %d and says\n%s%s", wrong, said.status, said.out, said.error)
		}
	}
}

// Each failure is named, with what to do about it.
func (c command) testCheck(t *testing.T) {
	cluster, nodes := startCluster(t, 4)
	configuration, _, err := tgnode.SelfSigned("localhost", "127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	secure, err := cluster.Start(tgnode.Options{TLS: configuration})
	if err != nil {
		t.Fatal(err)
	}
	plain := httptest.NewServer(http.NotFoundHandler()) // which answers a handshake with 400, as nginx does
	defer plain.Close()
	refusing, wrongBody, dead, silent := nodes[1], nodes[2], nodes[3], nodes[0]
	check := func(arguments ...string) said {
		t.Helper()
		return c.run(t, append([]string{"tigergraph", "check"}, arguments...)...)
	}

	fine := check(nodes[0].Addr(), nodes[1].Addr(), nodes[2].Addr(), "--timeout", "20s")
	fine.expect(t, "check of healthy nodes", 0, nodes[0].Addr(), "gui", "gsql", "restpp", " ms")
	if lines := strings.Count(fine.out, "\n"); lines != 10 || strings.Count(fine.out, " ok ") != 9 || fine.error != "" {
		t.Errorf("check of healthy nodes prints\n%s%s", fine.out, fine.error)
	}

	refusing.Stop()
	wrongBody.SetFault(tgnode.GUI, tgnode.Fault{Mode: tgnode.Answer, Status: 200, ContentType: "text/html", Body: "<html>"})
	dead.SetFault(tgnode.GSQL, tgnode.Fault{Mode: tgnode.Dead})
	bad := check(refusing.Addr(), wrongBody.Addr(), dead.Addr(), secure.Addr(), "https://"+secure.Addr(), "https://"+plain.Listener.Addr().String(), "no-such-host.invalid", "--timeout", "20s")
	bad.expect(t, "check of nodes that fail", 1,
		refusing.Addr()+" gui, gsql, restpp:\n", "connection refused", "is TigerGraph started",
		wrongBody.Addr()+" gui:\n  not the answer of a service that is well: no JSON object\n  something else answers there",
		"the answer was: status 200 OK from", ": <html>",
		dead.Addr()+" gsql:\n  status 502", "gadmin restart gsql",
		secure.Addr()+" gui", "https:// before it",
		"not from an authority", "tls_trust_pool; here --cacert",
		"write the node without https://",
		"no-such-host.invalid:14240 gui, gsql, restpp:\n", "cannot be resolved")

	silent.Freeze()
	check(silent.Addr(), "--timeout", "200ms").expect(t, "check of a node that hangs", 1, "no answer within 200ms", "a firewall drops the packets")
	silent.Thaw()

	check("https://"+secure.Addr(), "--insecure").expect(t, "check --insecure", 0, "https://"+secure.Addr())
	authority := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(authority, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: configuration.Certificates[0].Certificate[0]}), 0o600); err != nil {
		t.Fatal(err)
	}
	check("https://"+secure.Addr(), "--cacert", authority).expect(t, "check --cacert", 0, "https://"+secure.Addr())
	check("https://"+secure.Addr(), "--cacert", authority, "--server-name", "elsewhere").expect(t, "check --server-name", 1, "valid for", "tls_server_name")
	check("https://"+secure.Addr(), "--cacert", os.DevNull).expect(t, "check --cacert without a certificate", 2, "--cacert: there is no certificate in "+os.DevNull)
	check("https://"+secure.Addr(), "--cacert", authority+".old").expect(t, "check --cacert of a file that is missing", 2, "--cacert: open ")
	check().expect(t, "check of nothing", 2, "check needs the nodes, as in 'caddy tigergraph check m1 m2 m3'")
	check("m1,m2;m3").expect(t, "check of a list", 2, "write 'm1 m2 m3'")

	encoded := check(dead.Addr(), "--json")
	encoded.expect(t, "check --json", 1)
	var findings []struct {
		Node      string  `json:"node"`
		Service   string  `json:"service"`
		Passed    bool    `json:"passed"`
		LatencyMS float64 `json:"latency_ms"`
		Error     string  `json:"error"`
		Advice    string  `json:"advice"`
	}
	decodeStrictly(t, []byte(encoded.out), &findings)
	if len(findings) != 3 || findings[0].Service != "gui" || !findings[0].Passed || findings[0].LatencyMS <= 0 || findings[0].Advice != "" {
		t.Errorf("%+v", findings)
	}
	if len(findings) == 3 && (findings[1].Service != "gsql" || findings[1].Passed || findings[1].Error == "" || findings[1].Advice == "") {
		t.Errorf("%+v", findings)
	}
}

// All probes run at once: many nodes that hang take no longer than one.
func (c command) testCheckAtOnce(t *testing.T) {
	_, nodes := startCluster(t, 8)
	arguments := []string{"tigergraph", "check", "--timeout", "2s"}
	for _, node := range nodes {
		node.Freeze()
		arguments = append(arguments, node.Addr())
	}
	began := time.Now()
	c.run(t, arguments...).expect(t, "check of nodes that hang", 1, "no answer within 2s")
	if took := time.Since(began); took > 15*time.Second {
		t.Errorf("it took %s", took)
	}
}

// ask returns what runs a command that asks this admin endpoint.
func (c command) ask(t *testing.T, a *admin) func(arguments ...string) said {
	return func(arguments ...string) said {
		t.Helper()
		return c.run(t, append(append([]string{"tigergraph"}, arguments...), "--address", "unix/"+a.socket)...)
	}
}

// Whoever ends a drain learns that the node gets no clients for all that.
func (c command) testReady(t *testing.T) {
	_, nodes := startCluster(t, 2)
	e, a := newAdminEdge(t)
	e.load(behind(nodes, quick))
	a.allUp()
	run := c.ask(t, a)
	nodes[0].Stop()
	a.awaitDown(nodes[0], time.Now(), "gui", "restpp", "gsql")
	run("ready", nodes[0].Addr()).expect(t, "ready of a dead node", 1, "not draining any more, but its gui, gsql and restpp are down: ", "connection refused")
	run("ready", nodes[0].Addr(), "--wait", "300ms").expect(t, "ready --wait of a dead node", 1, "after 300ms "+nodes[0].Addr(), "are down")
	run("ready", nodes[1].Addr(), "--wait", "1m").expect(t, "ready --wait", 0, nodes[1].Addr()+" takes new clients, and each service has passed a probe")

	// Then the other one goes too.
	nodes[1].Stop()
	a.awaitDown(nodes[1], time.Now(), "gui", "restpp", "gsql")
	run("status").expect(t, "status without a node", 1, "FAILING OPEN: gui: every node is down", "FAILING OPEN: restpp")

	completed := c.run(t, "__complete", "tigergraph", "drain", "--address", "unix/"+a.socket, "")
	completed.expect(t, "completion of nodes", 0, nodes[0].Addr(), nodes[1].Addr())
}

// A command that waits returns when there is nothing more to wait for, and not before.
func (c command) testWaiting(t *testing.T) {
	_, nodes := startCluster(t, 2)
	e, a := newAdminEdge(t)
	e.load(behind(nodes, quick))
	a.allUp()
	run := c.ask(t, a)
	answered := make(chan int, 1)
	go func() {
		response, err := http.Get("http://" + e.address + "/restpp/echo?sleep=10")
		if err != nil {
			answered <- 0
			return
		}
		response.Body.Close()
		answered <- response.StatusCode
	}()
	var busy *tgnode.Node
	eventually(t, "a request is in flight", func() bool {
		for _, node := range nodes {
			if a.node(node.Addr()).Requests > 0 {
				busy = node
			}
		}
		return busy != nil
	})
	run("drain", busy.Addr(), "--wait", "100ms").expect(t, "drain that waits too briefly", 1, "after 100ms "+busy.Addr()+" has 1 request in flight")
	run("drain", busy.Addr(), "--wait", "1m").expect(t, "drain --wait", 0, "takes no new clients", "has 1 request in flight", "may be stopped", "will have to log in again; --idle waits for them")
	select {
	case status := <-answered:
		if status != http.StatusOK {
			t.Errorf("the request was answered with %d", status)
		}
	case <-time.After(enough):
		t.Error("drain --wait returned before the request had ended")
	}
	run("drain", busy.Addr(), "--wait", "1m", "--idle", "300ms").expect(t, "drain --wait --idle", 0, "may be stopped", "no session was used for 300ms")
}

// The status can be left on a screen, while Caddy comes and goes.
func (c command) testWatch(t *testing.T) {
	_, nodes := startCluster(t, 1)
	e, a := newAdminEdge(t)
	e.load("tigergraph " + addresses(nodes) + " {\n" + quick + "\n}")
	a.allUp()
	process := exec.Command(c.binary, "tigergraph", "status", "--watch", "--address", "unix/"+a.socket)
	output, err := process.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := process.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = process.Wait() }()
	defer func() { _ = process.Process.Kill() }()
	lines := bufio.NewScanner(output)
	for pictures := 0; pictures < 2; {
		if !lines.Scan() {
			t.Fatalf("it ended after %d pictures: %v", pictures, lines.Err())
		}
		if strings.HasPrefix(lines.Text(), nodes[0].Addr()+"  ready") {
			pictures++
		}
	}

	// And while requests come in and a node fails: each picture is whole.
	b := e.newBrowser(2)
	b.get("/restpp/version")
	nodes[0].SetFault(tgnode.All, tgnode.Fault{Mode: tgnode.Dead})
	var picture strings.Builder
	counted, down := false, false
	for pictures := 0; !counted || !down; {
		if !lines.Scan() || pictures == 20 {
			t.Fatalf("after %d pictures, with requests: %t, with what is down: %t; the last: %s", pictures, counted, down, picture.String())
		}
		if _, err := time.Parse(time.DateTime, lines.Text()); err != nil {
			picture.WriteString(lines.Text() + "\n")
			continue
		}
		text := picture.String()
		if strings.Count(text, "NODE ") > 2 || strings.Count(text, "Requests of the last three minutes:") > 1 {
			t.Errorf("a picture has more than one table of a kind:\n%s", text)
		}
		counted = counted || strings.Contains(text, "Requests of the last three minutes:\nNODE") && strings.Contains(text, "  restpp   ")
		down = down || strings.Contains(text, " gsql is down for ") && strings.Contains(text, "FAILING OPEN: gsql")
		picture.Reset()
		pictures++
	}
}

func (c command) testHelp(t *testing.T) {
	c.run(t, "help").expect(t, "help", 0, "tigergraph", "Shows, checks and drains")
	c.run(t, "tigergraph", "--help").expect(t, "help of tigergraph", 0, "status", "drain", "ready", "switch", "check", "exit status is 0")
	c.run(t, "tigergraph").expect(t, "tigergraph", 0, "status", "drain")
	c.run(t, "tigergraph", "check", "--help").expect(t, "help of check", 0, "--timeout", "--insecure", "--json", "(default 14240)")
	c.run(t, "tigergraph", "drain", "--help").expect(t, "help of drain", 0, "--for", "--force", "--address", "--wait", "--idle")
	c.run(t, "completion", "bash").expect(t, "completion", 0, "__start_caddy")
	c.run(t, "__complete", "tigergraph", "").expect(t, "completion of tigergraph", 0, "status\t", "drain\t", "ready\t", "check\t")
	c.run(t, "__complete", "tigergraph", "drain", "--f").expect(t, "completion of a flag", 0, "--for", "--force")
}
