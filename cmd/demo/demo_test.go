package main

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// asDemo makes the test binary be what `go run ./cmd/demo` runs: what matters here, signals, exit
// codes and what is left behind, belongs to a process.
const asDemo = "TEST_RUNS_AS_DEMO"

func TestMain(m *testing.M) {
	if os.Getenv(asDemo) != "" {
		main()
	}
	os.Exit(m.Run())
}

// patience bounds what is polled for.
const patience = 2 * time.Minute

// process is a running demo.
type process struct {
	t      *testing.T
	cmd    *exec.Cmd
	url    string
	home   string // its home and temporary directory
	stdin  io.WriteCloser
	stdout *os.File // nil if nobody reads it to its end
	stderr bytes.Buffer
	done   chan struct{} // closed when it has exited
	read   chan struct{} // closed at the end of its output

	mu     sync.Mutex
	output strings.Builder
}

// launch starts the demo. It may not be ready, nor even work.
func launch(t *testing.T, args ...string) *process {
	t.Helper()
	executable, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	p := &process{t: t, home: t.TempDir(), done: make(chan struct{}), read: make(chan struct{})}
	p.cmd = exec.Command(executable, args...)
	p.cmd.Dir = p.home
	p.cmd.Env = append(os.Environ(), asDemo+"=1",
		"HOME="+p.home, "TMPDIR="+p.home, "XDG_DATA_HOME=", "XDG_CONFIG_HOME=", "XDG_CACHE_HOME=")
	p.cmd.Stderr = &p.stderr
	if p.stdin, err = p.cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	reader, writer, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	p.stdout, p.cmd.Stdout = reader, writer
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	_ = writer.Close()
	go func() {
		defer close(p.read)
		for lines := bufio.NewScanner(reader); lines.Scan(); {
			p.mu.Lock()
			p.output.WriteString(lines.Text() + "\n")
			p.mu.Unlock()
		}
	}()
	go func() {
		defer close(p.done)
		_ = p.cmd.Wait() // the tests look at its state
	}()
	t.Cleanup(func() {
		_ = p.cmd.Process.Kill() // an error is a process that has ended
		<-p.done
		_ = reader.Close()
		<-p.read
		if t.Failed() {
			t.Logf("output:\n%s\nerrors:\n%s", p.said(), p.stderr.String())
		}
	})
	return p
}

// startDemo starts the demo on a free port and waits until it is ready.
func startDemo(t *testing.T, args ...string) *process {
	t.Helper()
	p := launch(t, append([]string{"-listen", "localhost:0"}, args...)...)
	p.await("its welcome", func() bool { return strings.Contains(p.said(), "Commands:") })
	for word := range strings.FieldsSeq(p.said()) {
		if strings.HasPrefix(word, "https://") {
			p.url = word
			break
		}
	}
	return p
}

func (p *process) said() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.output.String()
}

func (p *process) await(what string, condition func() bool) {
	p.t.Helper()
	for deadline := time.Now().Add(patience); !condition(); time.Sleep(10 * time.Millisecond) {
		select {
		case <-p.done:
			if !condition() {
				p.t.Fatalf("the demo ended before %s", what)
			}
			return
		default:
		}
		if time.Now().After(deadline) {
			p.t.Fatalf("waited in vain for %s", what)
		}
	}
}

// awaitSaid waits for text in the output.
func (p *process) awaitSaid(text string) {
	p.t.Helper()
	p.await(fmt.Sprintf("%q", text), func() bool { return strings.Contains(p.said(), text) })
}

func (p *process) command(line string) {
	p.t.Helper()
	if _, err := io.WriteString(p.stdin, line+"\n"); err != nil {
		p.t.Fatal(err)
	}
}

// exit waits for the end and returns the exit code, -1 for a signal.
func (p *process) exit() int {
	p.t.Helper()
	select {
	case <-p.done:
	case <-time.After(patience):
		p.t.Fatal("the demo does not end")
	}
	return p.cmd.ProcessState.ExitCode()
}

// checkNothingLeft checks that the demo has left no file and no listener.
func (p *process) checkNothingLeft() {
	p.t.Helper()
	err := filepath.WalkDir(p.home, func(path string, _ os.DirEntry, err error) error {
		if path != p.home {
			p.t.Errorf("left behind: %s", path)
		}
		return err
	})
	if err != nil {
		p.t.Error(err)
	}
	if p.url == "" {
		return
	}
	if conn, err := net.Dial("tcp", strings.TrimPrefix(p.url, "https://")); err == nil {
		_ = conn.Close()
		p.t.Errorf("something still listens on %s", p.url)
	}
}

// browser is a client with cookies of its own.
type browser struct {
	p      *process
	client *http.Client
}

func (p *process) browser() *browser {
	p.t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		p.t.Fatal(err)
	}
	transport := &http.Transport{
		TLSClientConfig:   &tls.Config{InsecureSkipVerify: true}, // as curl -k, which the demo advises
		ForceAttemptHTTP2: true,
	}
	p.t.Cleanup(transport.CloseIdleConnections)
	return &browser{p, &http.Client{Jar: jar, Transport: transport, Timeout: patience}}
}

// do returns the status, the node's address and the body of the answer.
func (b *browser) do(method, path, body string, fields ...string) (status int, servedBy string, answer []byte) {
	b.p.t.Helper()
	r, err := http.NewRequest(method, b.p.url+path, strings.NewReader(body))
	if err != nil {
		b.p.t.Fatal(err)
	}
	for i := 0; i < len(fields); i += 2 {
		r.Header.Set(fields[i], fields[i+1])
	}
	response, err := b.client.Do(r)
	if err != nil {
		b.p.t.Fatal(err)
	}
	defer response.Body.Close()
	answer, err = io.ReadAll(response.Body)
	if err != nil {
		b.p.t.Fatal(err)
	}
	return response.StatusCode, response.Header.Get("X-Served-By"), answer
}

// logIn logs in and returns the name of the node that holds the session.
func (b *browser) logIn() string {
	b.p.t.Helper()
	status, _, answer := b.do("POST", "/api/auth/login", `{"username":"tigergraph","password":"tigergraph"}`)
	if status != http.StatusOK {
		b.p.t.Fatalf("login: %d %s", status, answer)
	}
	status, node := b.whoAmI()
	if status != http.StatusOK {
		b.p.t.Fatalf("after the login: %d", status)
	}
	return node
}

// whoAmI returns the status, and the name of the node that answered.
func (b *browser) whoAmI() (status int, node string) {
	b.p.t.Helper()
	status, servedBy, answer := b.do("GET", "/api/auth/whoami", "")
	for _, n := range b.allNodes() {
		if n.Address == servedBy {
			node = n.Name
		}
	}
	if status == http.StatusOK {
		var body struct {
			Results struct{ Username, Node string }
		}
		if err := json.Unmarshal(answer, &body); err != nil || body.Results.Node != node || body.Results.Username != "tigergraph" {
			b.p.t.Fatalf("X-Served-By says %q, the answer %s", node, answer)
		}
	}
	return status, node
}

// nodes returns those of the first cluster.
func (b *browser) nodes() []nodeStatus { return b.allNodes()[:nodeCount] }

// allNodes returns those of both.
func (b *browser) allNodes() []nodeStatus {
	b.p.t.Helper()
	status, _, answer := b.do("GET", "/demo/nodes", "")
	var nodes []nodeStatus
	if err := json.Unmarshal(answer, &nodes); status != http.StatusOK || err != nil {
		b.p.t.Fatalf("nodes: %d %s", status, answer)
	}
	return nodes
}

func (b *browser) node(name string) nodeStatus {
	b.p.t.Helper()
	for _, n := range b.nodes() {
		if n.Name == name {
			return n
		}
	}
	b.p.t.Fatalf("no node %s", name)
	return nodeStatus{}
}

func TestSessionStays(t *testing.T) {
	p := startDemo(t)
	users := []*browser{p.browser(), p.browser(), p.browser()}
	homes := make(map[string]bool)
	for _, b := range users {
		home := b.logIn()
		homes[home] = true
		for range 20 {
			if status, node := b.whoAmI(); status != http.StatusOK || node != home {
				t.Fatalf("the session lives on %s, but %s answered %d", home, node, status)
			}
		}
	}
	if len(homes) != nodeCount {
		t.Errorf("%d users began on %d of %d nodes", len(users), len(homes), nodeCount)
	}
	for _, n := range users[0].nodes() {
		if !n.Up || n.Sessions != 1 {
			t.Errorf("%+v", n)
		}
	}
	// The log arrives a moment after the answer.
	p.await("the count of requests", func() bool {
		total := 0
		for _, n := range users[0].nodes() {
			total += n.Requests
		}
		return total == len(users)*(1+1+20)
	})
}

func TestFailover(t *testing.T) {
	p := startDemo(t)
	for _, way := range []struct {
		name        string
		stop, start func(*browser, string)
	}{
		{
			"terminal",
			func(_ *browser, node string) { p.command("stop " + node) },
			func(_ *browser, node string) { p.command("start " + node) },
		},
		{
			"page",
			func(b *browser, node string) { press(b, node, "stop") },
			func(b *browser, node string) { press(b, node, "start") },
		},
	} {
		t.Run(way.name, func(t *testing.T) {
			user, other := p.browser(), p.browser()
			home := user.logIn()
			othersHome := other.logIn()
			if home == othersHome {
				t.Fatalf("both users are on %s", home)
			}

			way.stop(user, home)
			p.await(home+" to be down", func() bool { return !user.node(home).Up })
			status, moved := user.whoAmI()
			if status != http.StatusUnauthorized || moved == home || moved == "" {
				t.Fatalf("%s is down, but %q answered %d", home, moved, status)
			}
			p.awaitSaid("failover: " + moved + " answered GET /api/auth/whoami (401)")
			if again := user.logIn(); again != moved {
				t.Errorf("moved to %s, but the login was answered by %s", moved, again)
			}
			if status, node := other.whoAmI(); status != http.StatusOK || node != othersHome {
				t.Errorf("the other user's session was on %s; now %s answers %d", othersHome, node, status)
			}

			way.start(user, home)
			p.await(home+" to be up", func() bool { return user.node(home).Up })
			p.await(home+" to get new users", func() bool {
				_, node := p.browser().whoAmI()
				return node == home
			})
			if status, node := user.whoAmI(); status != http.StatusOK || node != moved {
				t.Errorf("the user had moved to %s; now %s answers %d", moved, node, status)
			}
		})
	}
}

// press does what the page's button does.
func press(b *browser, node, action string) {
	b.p.t.Helper()
	status, _, answer := b.do("POST", "/demo/nodes/"+node+"/"+action, "", "Origin", b.p.url, "Sec-Fetch-Site", "same-origin")
	if status != http.StatusOK {
		b.p.t.Fatalf("%s %s: %d %s", action, node, status, answer)
	}
}

func TestNoNodeLeft(t *testing.T) {
	p := startDemo(t)
	b := p.browser()
	for _, n := range b.nodes() {
		press(b, n.Name, "stop")
	}
	if status, node := b.whoAmI(); status != http.StatusBadGateway && status != http.StatusServiceUnavailable || node != "" {
		t.Errorf("no node runs, but %q answered %d", node, status)
	}
	p.awaitSaid("no node could answer GET /api/auth/whoami")
	press(b, "m2", "start")
	p.await("m2 to answer", func() bool {
		_, node := b.whoAmI()
		return node == "m2"
	})
}

func TestPage(t *testing.T) {
	p := startDemo(t)
	for range nodeCount { // each of them has it
		status, _, body := p.browser().do("GET", "/", "")
		if status != http.StatusOK || !bytes.Equal(body, page) {
			t.Errorf("GET /: %d, %d bytes", status, len(body))
		}
	}
	for _, outside := range []string{`src="`, `href="http`, "@import", "url("} {
		if bytes.Contains(page, []byte(outside)) {
			t.Errorf("the page fetches something: %s", outside)
		}
	}
}

func TestStatusPage(t *testing.T) {
	p := startDemo(t)
	if !strings.Contains(p.said(), p.url+statusPath) || !bytes.Contains(page, []byte(`href="`+statusPath+`"`)) {
		t.Error("the welcome or the page does not say where the status page is")
	}
	b := p.browser()
	verdicts := func() (up, down int) {
		status, _, body := b.do("GET", statusPath+"?format=json", "")
		var shown struct {
			Nodes []struct {
				Services map[string]struct{ Verdict string }
			}
		}
		if err := json.Unmarshal(body, &shown); status != http.StatusOK || err != nil {
			t.Fatalf("%d %s", status, body)
		}
		for _, node := range shown.Nodes {
			for _, service := range node.Services {
				switch service.Verdict {
				case "up":
					up++
				case "down":
					down++
				}
			}
		}
		return up, down
	}
	p.await("three services of each node", func() bool { up, _ := verdicts(); return up == 3*(nodeCount+standbyCount) })
	p.command("stop m2")
	p.await("those of one node to be down", func() bool { _, down := verdicts(); return down == 3 })
}

func TestControlRefuses(t *testing.T) {
	p := startDemo(t)
	b := p.browser()
	for _, tt := range []struct {
		name, method, path string
		fields             []string
		status             int
		message            string
	}{
		{"another site", "POST", "/demo/nodes/m1/stop", []string{"Sec-Fetch-Site", "cross-site"}, 403, "another site"},
		{"another port", "POST", "/demo/nodes/m1/stop", []string{"Sec-Fetch-Site", "same-site"}, 403, "another site"},
		{"an old browser", "POST", "/demo/nodes/m1/stop", []string{"Origin", "https://example.com"}, 403, "another site"},
		{"no node", "POST", "/demo/nodes/m9/stop", nil, 404, `no node is called "m9"; there are m1, m2, m3, dr1, dr2`},
		{"no node to start", "POST", "/demo/nodes/m9/start", nil, 404, `no node is called "m9"`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			status, _, answer := b.do(tt.method, tt.path, "", tt.fields...)
			var body struct{ Error string }
			if err := json.Unmarshal(answer, &body); err != nil {
				t.Fatalf("%d %s: %v", status, answer, err)
			}
			if status != tt.status || !strings.Contains(body.Error, tt.message) {
				t.Errorf("%d %q", status, body.Error)
			}
		})
	}
	if status, _, _ := b.do("GET", "/demo/nodes/m1/stop", ""); status != http.StatusMethodNotAllowed {
		t.Errorf("GET of an action: %d", status)
	}
	if !b.node("m1").Up {
		t.Error("m1 was stopped")
	}
}

func TestCommands(t *testing.T) {
	p := startDemo(t, "-print-config")
	if said := p.said(); !strings.Contains(said, "\ttigergraph 127.0.0.1:") || strings.Contains(said, "lb_policy") {
		t.Error("-print-config printed no Caddyfile with the directive")
	}
	for _, step := range []struct{ command, answer string }{
		{"start m1", "m1 runs already"},
		{"stop", `stop needs the name of one node`},
		{"stop m9", `no node is called "m9"`},
		{"", ""},
		{"dance", `unknown command "dance"`},
		{" STOP  M3 ", "m3 stopped; it held no session"},
		{"stop m3", "m3 is stopped already"},
		{"status", "stopped, sessions: 0"},
	} {
		p.command(step.command)
		p.awaitSaid(step.answer)
	}
	p.command("quit")
	if code := p.exit(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	p.checkNothingLeft()
}

func TestSignals(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("this needs signals, which Windows lacks and CI has")
	}
	for _, sig := range []os.Signal{os.Interrupt, syscall.SIGTERM, syscall.SIGHUP} {
		t.Run(sig.String(), func(t *testing.T) {
			p := startDemo(t)
			p.browser().logIn() // so that there are connections to close
			if err := p.cmd.Process.Signal(sig); err != nil {
				t.Fatal(err)
			}
			if code := p.exit(); code != 0 {
				t.Errorf("exit code %d", code)
			}
			<-p.read
			if !strings.Contains(p.said(), "Goodbye") {
				t.Error("it ended without a goodbye")
			}
			if p.stderr.Len() > 0 {
				t.Errorf("errors: %s", p.stderr.String())
			}
			p.checkNothingLeft()
		})
	}
}

func TestSignalWhileStarting(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("this needs signals, which Windows lacks and CI has")
	}
	p := launch(t, "-listen", "localhost:0")
	p.await("its temporary directory", func() bool {
		entries, err := os.ReadDir(p.home)
		return err == nil && len(entries) > 0
	})
	if err := p.cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if code := p.exit(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	p.checkNothingLeft()
}

// A reader of the output that Ctrl-C ended first must not keep the demo from
// cleaning up.
func TestSignalWithoutReader(t *testing.T) {
	if runtime.GOOS == "windows" {
		t.Skip("this needs signals, which Windows lacks and CI has")
	}
	p := startDemo(t)
	_ = p.stdout.Close()
	if err := p.cmd.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if code := p.exit(); code != 0 {
		t.Errorf("exit code %d", code)
	}
	p.checkNothingLeft()
}

func TestEndOfInput(t *testing.T) {
	p := startDemo(t)
	if err := p.stdin.Close(); err != nil {
		t.Fatal(err)
	}
	b := p.browser()
	press(b, "m1", "stop") // takes longer than to notice the end
	press(b, "m1", "start")
	if home := b.logIn(); home == "" {
		t.Error("no node answers")
	}
}

func TestPortInUse(t *testing.T) {
	for _, host := range []string{"127.0.0.1", "::1"} {
		t.Run(host, func(t *testing.T) {
			listener, err := net.Listen("tcp", net.JoinHostPort(host, "0"))
			if err != nil {
				t.Skipf("this needs the address %s, which CI has: %v", host, err)
			}
			defer listener.Close()
			port := listener.Addr().(*net.TCPAddr).Port
			p := launch(t, "-listen", fmt.Sprintf("localhost:%d", port))
			if code := p.exit(); code != 1 {
				t.Errorf("exit code %d", code)
			}
			want := fmt.Sprintf("demo: localhost:%d is in use; stop what listens there or choose another address with -listen localhost:%d\n", port, otherPort(port))
			if got := p.stderr.String(); got != want {
				t.Errorf("got  %swant %s", got, want)
			}
			p.checkNothingLeft()
		})
	}
}

// Two demos must not share a port, as two Caddys would.
func TestSecondDemo(t *testing.T) {
	first := startDemo(t)
	second := launch(t, "-listen", strings.TrimPrefix(first.url, "https://"))
	if code := second.exit(); code != 1 || !strings.Contains(second.stderr.String(), "is in use") {
		t.Errorf("exit code %d: %s", code, second.stderr.String())
	}
	second.checkNothingLeft()
	first.browser().logIn()
}

func TestArguments(t *testing.T) {
	for _, tt := range []struct {
		args    []string
		code    int
		message string
	}{
		{[]string{"-listen", "8443"}, 1, "want host:port, as in localhost:8443"},
		{[]string{"-listen", "localhost:https"}, 1, `"https" is not the number of a port`},
		{[]string{"-listen", "localhost:70000"}, 1, `"70000" is not the number of a port`},
		{[]string{"-listen", ":8443"}, 1, "on this machine only"},
		{[]string{"-listen", "0.0.0.0:8443"}, 1, "on this machine only"},
		{[]string{"m1"}, 2, `unexpected argument "m1"`},
		{[]string{"-nonsense"}, 2, "Usage"},
		{[]string{"-h"}, 0, "-listen address"},
	} {
		t.Run(strings.Join(tt.args, " "), func(t *testing.T) {
			var stdout, stderr bytes.Buffer
			code := run(tt.args, strings.NewReader(""), &stdout, &stderr)
			if code != tt.code || !strings.Contains(stderr.String(), tt.message) {
				t.Errorf("exit code %d: %s", code, stderr.String())
			}
			if stdout.Len() > 0 {
				t.Errorf("output: %s", stdout.String())
			}
		})
	}
}

func TestOtherPort(t *testing.T) {
	for port, want := range map[int]int{8443: 9443, 64535: 65535, 64536: 63536, 65535: 64535} {
		if got := otherPort(port); got != want {
			t.Errorf("%d: got %d, want %d", port, got, want)
		}
	}
}
