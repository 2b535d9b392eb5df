// Package browser_test looks at the status page with a real browser, Debian's
// chromium, over real sockets.
package browser_test

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/tgnode"
)

// enough bounds what happens at once on an idle machine.
const enough = 60 * time.Second

// The binaries, built for these tests.
var caddyBinary, demoBinary string

func TestMain(m *testing.M) {
	flag.Parse()
	os.Exit(run(m))
}

func run(m *testing.M) int {
	if _, err := exec.LookPath("chromium"); err != nil {
		fmt.Println("skipped: there is no chromium; on Debian: apt-get install chromium")
		return 0
	}
	folder, err := os.MkdirTemp("", "caddy-tigergraph-browser-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(folder)
	programs := map[string]*string{"caddy": &caddyBinary, "demo": &demoBinary}
	built := filepath.Join(os.Getenv("CADDY_BUILDS"), "newest")
	if _, err := os.Stat(built); err == nil && filepath.IsAbs(built) { // in CI
		caddyBinary = built
		delete(programs, "caddy")
	}
	for name, program := range programs {
		*program = filepath.Join(folder, name)
		// Without the profile of cmd/caddy, which only takes time here. This module stands
		// alone (GOWORK=off), but what it looks at is of the newest Caddy.
		build := exec.Command("go", "build", "-pgo=off", "-o", *program, "./cmd/"+name)
		build.Dir, build.Env = "../..", append(os.Environ(), "GOWORK=")
		if output, err := build.CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "building cmd/%s: %v\n%s", name, err, output)
			return 1
		}
	}
	defer closeBrowser()
	return m.Run()
}

// eventually waits for a condition.
func eventually(t testing.TB, what string, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(enough); !condition(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain for this: %s", what)
		}
	}
}

// process is a program that runs until the test ends.
type process struct {
	command *exec.Cmd
	stdin   io.WriteCloser
	ended   chan struct{}

	mu     sync.Mutex
	output bytes.Buffer
}

func (p *process) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.output.Write(b)
}

func (p *process) said() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.output.String()
}

// start starts a program that writes nowhere but into a folder of the test.
func start(t testing.TB, program string, arguments ...string) *process {
	t.Helper()
	home := t.TempDir()
	p := &process{command: exec.Command(program, arguments...), ended: make(chan struct{})}
	p.command.Env = append(os.Environ(), "HOME="+home, "XDG_DATA_HOME="+home, "XDG_CONFIG_HOME="+home, "TMPDIR="+home)
	p.command.Stdout, p.command.Stderr = p, p
	var err error
	if p.stdin, err = p.command.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	if err := p.command.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(p.ended)
		_ = p.command.Wait() // its state says the same
	}()
	t.Cleanup(func() {
		p.kill()
		if t.Failed() {
			t.Logf("%s said:\n%s", filepath.Base(program), p.said())
		}
	})
	return p
}

func (p *process) kill() {
	_ = p.command.Process.Kill() // it may have ended
	<-p.ended
}

// edge is a Caddy of its own with the status page.
type edge struct {
	t       testing.TB
	address string
	folder  string
	process *process
	admin   *http.Client
}

const statusPath = "/tigergraph-status"

// newEdge chooses the port and the folder of an edge that is yet to be started.
func newEdge(t testing.TB) *edge {
	t.Helper()
	folder, err := os.MkdirTemp("", "edge") // the path of a socket must be short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(folder) })
	e := &edge{t: t, address: freeAddress(t), folder: folder}
	e.admin = &http.Client{Timeout: enough, Transport: &http.Transport{
		DisableKeepAlives: true, // a reload replaces the server
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", filepath.Join(folder, "admin"))
		},
	}}
	return e
}

// freeAddress returns a port of this machine that nothing listens on.
func freeAddress(t testing.TB) string {
	t.Helper()
	address, err := tgnode.FreeAddress()
	if err != nil {
		t.Fatal(err)
	}
	return address
}

// caddyfile writes the configuration of a site with these directives.
func (e *edge) caddyfile(directives string) string {
	e.t.Helper()
	_, port, _ := net.SplitHostPort(e.address)
	content := fmt.Sprintf(`{
	admin "unix/%s/admin"
	persist_config off
	storage file_system %q
	auto_https off
	default_bind 127.0.0.1
	log {
		level WARN
	}
}
http://:%s {
	%s
}
`, e.folder, filepath.Join(e.folder, "storage"), port, directives)
	file := filepath.Join(e.folder, "Caddyfile")
	if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
		e.t.Fatal(err)
	}
	return file
}

// run starts the edge, and waits until it serves and knows its nodes.
func (e *edge) run(directives string) {
	e.t.Helper()
	e.process = start(e.t, caddyBinary, "run", "--adapter", "caddyfile", "--config", e.caddyfile(directives))
	eventually(e.t, "the edge listens", func() bool {
		select {
		case <-e.process.ended:
			e.t.Fatalf("it ended: %s", e.process.said())
		default:
		}
		response, err := e.admin.Get("http://127.0.0.1/tigergraph/nodes")
		if err != nil {
			return false
		}
		defer response.Body.Close()
		nodes, _ := io.ReadAll(response.Body)
		conn, err := net.Dial("tcp", e.address)
		if err == nil {
			_ = conn.Close()
		}
		return err == nil && strings.HasPrefix(string(nodes), "[{")
	})
}

// reload loads another configuration.
func (e *edge) reload(directives string) {
	e.t.Helper()
	content, err := os.ReadFile(e.caddyfile(directives))
	if err != nil {
		e.t.Fatal(err)
	}
	e.call("/load", "text/caddyfile", string(content))
}

// call posts something to the admin endpoint.
func (e *edge) call(path, kind, body string) {
	e.t.Helper()
	response, err := e.admin.Post("http://127.0.0.1"+path, kind, strings.NewReader(body))
	if err != nil {
		e.t.Fatal(err)
	}
	defer response.Body.Close()
	if answer, _ := io.ReadAll(response.Body); response.StatusCode != http.StatusOK {
		e.t.Fatalf("%s: %d %s", path, response.StatusCode, answer)
	}
}

func (e *edge) drain(node *tgnode.Node, duration string) {
	e.t.Helper()
	e.call("/tigergraph/drain", "application/json", fmt.Sprintf(`{"node": %q, "for": %q}`, node.Addr(), duration))
}

func (e *edge) url() string { return "http://" + e.address + statusPath }

// hash returns what stands for a password in a Caddyfile.
func hash(t testing.TB, password string) string {
	t.Helper()
	output, err := exec.Command(caddyBinary, "hash-password", "--bcrypt-cost", "4", "--plaintext", password).Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(output))
}

// startCluster starts so many stand-in nodes, at addresses of their own.
func startCluster(t testing.TB, count int, options tgnode.Options) []*tgnode.Node {
	t.Helper()
	cluster := tgnode.NewCluster()
	t.Cleanup(cluster.Close)
	for range count {
		if _, err := cluster.Start(options); err != nil {
			t.Fatal(err)
		}
	}
	return cluster.Nodes()
}

// quick is a health check that decides within a fraction of a second.
const quick = `health_check {
	interval 200ms
	timeout 2s
}`

// behind returns a proxy in front of these nodes, and the status page.
func behind(nodes []*tgnode.Node, options string) string {
	var addresses []string
	for _, node := range nodes {
		addresses = append(addresses, node.Addr())
	}
	return "tigergraph_status " + statusPath + "*\ntigergraph " + strings.Join(addresses, " ") + " {\n" + options + "\n}"
}

// closeBrowser ends the browser, if there is one.
var closeBrowser = func() {}

// startedBrowser starts the browser that all tests use: starting one takes longer than
// most of them.
var startedBrowser = sync.OnceValues(func() (context.Context, error) {
	allocator, release := chromedp.NewExecAllocator(context.Background(),
		chromedp.ExecPath("chromium"),
		chromedp.Headless,
		chromedp.NoSandbox,
		chromedp.DisableGPU,
		chromedp.NoFirstRun,
		chromedp.Flag("disable-quic", true),
		chromedp.Flag("disable-background-networking", true),
		chromedp.Flag("disable-component-update", true),
		chromedp.Flag("disable-sync", true),
		chromedp.Flag("ignore-certificate-errors", true), // the demo's
		chromedp.Flag("host-resolver-rules", "MAP graph.example.com 127.0.0.1"),
		chromedp.Flag("lang", "en-GB"),
		chromedp.Flag("hide-scrollbars", true),
		chromedp.WindowSize(1280, 900),
		chromedp.WSURLReadTimeout(enough),
	)
	browser, cancel := chromedp.NewContext(allocator)
	closeBrowser = func() {
		cancel()
		release()
	}
	return browser, chromedp.Do(browser) // the first use must have no time limit
})

// tab is a browser's page with cookies of its own.
type tab struct {
	t       testing.TB
	ctx     context.Context
	allowed []string // hosts that may be asked

	mu        sync.Mutex
	errors    []string
	requested []string
}

// newTab opens a page that shares nothing with others. At the end of the test there must
// have been no error on the console, and no request to any host but these.
func newTab(t testing.TB, allowed ...string) *tab {
	t.Helper()
	browser, err := startedBrowser()
	if err != nil {
		t.Fatal(err)
	}
	page, closePage := chromedp.NewContext(browser, chromedp.WithNewBrowserContext())
	if err := chromedp.Do(page); err != nil { // the first use must have no time limit
		t.Fatal(err)
	}
	ctx, stop := context.WithTimeout(page, 5*enough)
	b := &tab{t: t, ctx: ctx, allowed: allowed}
	t.Cleanup(func() {
		if t.Failed() {
			b.keep(filepath.Join(os.TempDir(), strings.ReplaceAll(t.Name(), "/", "-")+".png"))
		}
		stop()
		closePage()
		b.check()
	})
	err = chromedp.Listen(ctx, func(event any) {
		b.mu.Lock()
		defer b.mu.Unlock()
		switch event := event.(type) {
		case *network.EventRequestWillBeSent:
			b.requested = append(b.requested, event.Request.URL)
		case *runtime.EventExceptionThrown:
			b.errors = append(b.errors, fmt.Sprintf("%+v", event.ExceptionDetails))
		case *runtime.EventConsoleAPICalled:
			if event.Type == runtime.ConsoleAPICalledTypeError || event.Type == runtime.ConsoleAPICalledTypeWarning {
				content, _ := json.Marshal(event.Args)
				b.errors = append(b.errors, string(content))
			}
		case *log.EventEntryAdded:
			if event.Entry.Level == log.EntryLevelError || event.Entry.Level == log.EntryLevelWarning {
				b.errors = append(b.errors, event.Entry.Text+" "+event.Entry.URL)
			}
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	call(b, network.Enable, network.EnableParams{})
	call(b, log.Enable, cdp.Empty{})
	return b
}

// check checks what the page must never do.
func (b *tab) check() {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, message := range b.errors {
		b.t.Errorf("on the console: %s", message)
	}
	for _, requested := range b.requested {
		to, err := url.Parse(requested)
		if err != nil || to.Scheme != "data" && to.Scheme != "about" && !slices.Contains(b.allowed, to.Host) {
			b.t.Errorf("a request to %s", requested)
		}
	}
}

// forgive forgets the errors so far that contain this: those of a connection that
// the test itself has broken.
func (b *tab) forgive(text string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	kept := b.errors[:0]
	for _, message := range b.errors {
		if !strings.Contains(message, text) {
			kept = append(kept, message)
		}
	}
	b.errors = kept
}

func (b *tab) do(actions ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	if err := chromedp.Do(b.ctx, actions...); err != nil {
		b.t.Fatal(err)
	}
}

// call runs a command of the browser's protocol.
func call[P, R any](b *tab, command cdp.Command[P, R], parameters P) R {
	b.t.Helper()
	result, err := chromedp.Call(b.ctx, command, parameters)
	if err != nil {
		b.t.Fatal(err)
	}
	return result
}

// eval returns the value of an expression.
func eval[T any](b *tab, expression string, options ...chromedp.EvaluateOption) T {
	b.t.Helper()
	value, err := chromedp.Run(b.ctx, chromedp.Evaluate[T](expression, options...))
	if err != nil {
		b.t.Fatal(err)
	}
	return value
}

// shows reports whether the page's visible text contains this.
func (b *tab) shows(text string) bool {
	b.t.Helper()
	return strings.Contains(eval[string](b, "document.body.innerText"), text)
}

// await waits until the page's visible text contains this.
func (b *tab) await(text string) {
	b.t.Helper()
	eventually(b.t, fmt.Sprintf("the page shows %q", text), func() bool { return b.shows(text) })
}

// row returns the visible text of a node's row.
func (b *tab) row(node *tgnode.Node) string {
	b.t.Helper()
	return eval[string](b, fmt.Sprintf(`[...document.querySelectorAll("#table tbody")].filter(r => r.innerText.includes(%q)).map(r => r.innerText).join()`, node.Addr()))
}

// keep saves what the page looks like.
func (b *tab) keep(file string) {
	image, err := chromedp.Run(b.ctx, chromedp.FullScreenshot(100))
	if err != nil {
		b.t.Logf("no picture of the page: %v", err)
		return
	}
	if err := os.WriteFile(file, image, 0o644); err != nil {
		b.t.Error(err)
		return
	}
	b.t.Logf("the page is in %s", file)
}
