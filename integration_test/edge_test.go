// Package integration_test runs the real Caddy with the plugin in front of
// stand-in nodes, over real sockets.
package integration_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"

	_ "github.com/caddyserver/caddy/v2/modules/standard"

	_ "github.com/caddy-tigergraph/caddy-tigergraph"
	"github.com/caddy-tigergraph/caddy-tigergraph/internal/tgnode"
)

// enough bounds what happens at once on an idle machine.
const enough = 2 * time.Minute

// edge is Caddy in this process. There can be one at a time.
type edge struct {
	t       *testing.T
	address string // of the site, host:port
	log     string // the file with Caddy's own log, JSON lines
	storage string // the folder that is Caddy's storage
	globals string // global options, the closing brace left out
}

// newEdge chooses a port and a storage for an edge that is yet to be loaded.
func newEdge(t *testing.T) *edge {
	t.Helper()
	folder := t.TempDir()
	e := &edge{t: t, address: freeAddress(t), log: filepath.Join(folder, "caddy.log"), storage: filepath.Join(folder, "storage")}
	// Cleaning the storage is off: Caddy starts it while it serves the first TLS
	// handshakes, which is a data race of its own.
	e.globals = fmt.Sprintf(`{
	admin off
	persist_config off
	storage file_system %q
	auto_https disable_redirects
	skip_install_trust
	storage_clean_interval off
	log {
		output file %q
		level INFO
	}
`, e.storage, e.log)
	t.Cleanup(func() {
		if err := caddy.Stop(); err != nil {
			t.Errorf("stopping caddy: %v", err)
		}
		content, _ := os.ReadFile(e.log) // an edge that was never loaded has none
		expectNoCredentials(t, string(content))
	})
	return e
}

// expectNoCredentials looks through a log for what GSQL clients and programs identify
// themselves by: every test's own log goes through it.
func expectNoCredentials(t testing.TB, log string) {
	t.Helper()
	secrets := []string{"swordfish", `sessionId\":`, "Bearer secret"}
	for _, user := range []string{"tigergraph", "anna", "bert"} {
		secrets = append(secrets, base64.StdEncoding.EncodeToString([]byte(user+":"+tgnode.Password)))
	}
	for line := range strings.Lines(log) {
		for _, secret := range secrets {
			if strings.Contains(line, secret) {
				t.Errorf("the log has %q: %s", secret, line)
			}
		}
	}
}

// trustLoopback makes the edge believe what clients on this machine forward.
func (e *edge) trustLoopback() {
	e.globals += "servers {\ntrusted_proxies static 127.0.0.0/8\n}\n"
}

// restart stops Caddy and loads the site anew.
func (e *edge) restart(directives string) {
	e.t.Helper()
	if err := caddy.Stop(); err != nil {
		e.t.Fatal(err)
	}
	e.load(directives)
}

// load loads a site with these directives, served over plain HTTP. Loading once
// more is a reload.
func (e *edge) load(directives string) {
	e.t.Helper()
	if err := e.tryLoad("http://"+e.address, directives); err != nil {
		e.t.Fatal(err)
	}
}

// loadTLS does the same over HTTPS, with a certificate from a file, which is
// there at once.
func (e *edge) loadTLS(directives string) {
	e.t.Helper()
	config, _, err := tgnode.SelfSigned("localhost")
	if err != nil {
		e.t.Fatal(err)
	}
	certificate, key := writePEM(e.t, config.Certificates[0])
	_, port, _ := net.SplitHostPort(e.address)
	if err := e.tryLoad("https://localhost:"+port, fmt.Sprintf("tls %q %q\n", certificate, key)+directives); err != nil {
		e.t.Fatal(err)
	}
}

// writePEM writes a certificate and its key to files.
func writePEM(t *testing.T, pair tls.Certificate) (certificate, key string) {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(pair.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	folder := t.TempDir()
	certificate, key = filepath.Join(folder, "certificate.pem"), filepath.Join(folder, "key.pem")
	for file, block := range map[string]*pem.Block{
		certificate: {Type: "CERTIFICATE", Bytes: pair.Certificate[0]},
		key:         {Type: "PRIVATE KEY", Bytes: der},
	} {
		if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return certificate, key
}

func (e *edge) tryLoad(site, directives string) error {
	e.t.Helper()
	return e.tryLoadCaddyfile(e.caddyfile(site, directives))
}

func (e *edge) tryLoadCaddyfile(caddyfile string) error {
	e.t.Helper()
	config, err := tryAdapt(caddyfile)
	if err != nil {
		return err
	}
	if err := caddy.Load([]byte(config), true); err != nil {
		return err
	}
	eventually(e.t, "the listener of the configuration before is closed", func() bool { return e.listeners() <= 1 })
	return nil
}

// listeners returns how many sockets listen on the edge's port, where the system
// tells. After a reload Caddy's old one is open for a moment, and a connection
// that the kernel hands to it then is reset.
func (e *edge) listeners() (count int) {
	_, port, _ := net.SplitHostPort(e.address)
	number, err := strconv.Atoi(port)
	if err != nil {
		e.t.Fatal(err)
	}
	const listening = "0A"
	for _, table := range []string{"/proc/net/tcp", "/proc/net/tcp6"} {
		content, err := os.ReadFile(table)
		if err != nil {
			return 0
		}
		for line := range strings.Lines(string(content)) {
			fields := strings.Fields(line)
			if strings.HasSuffix(fields[1], fmt.Sprintf(":%04X", number)) && fields[3] == listening {
				count++
			}
		}
	}
	return count
}

// adapt returns the site's configuration as JSON.
func (e *edge) adapt(site, directives string) string {
	e.t.Helper()
	config, err := tryAdapt(e.caddyfile(site, directives))
	if err != nil {
		e.t.Fatal(err)
	}
	return config
}

func (e *edge) caddyfile(site, directives string) string {
	return e.globals + "}\n" + site + " {\n" + directives + "\n}\n"
}

func tryAdapt(caddyfile string) (string, error) {
	config, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(caddyfile), nil)
	if err != nil {
		return "", fmt.Errorf("adapting: %w\n%s", err, caddyfile)
	}
	return string(config), nil
}

// logs returns the messages of Caddy's own log that contain this text.
func (e *edge) logs(text string) []string {
	e.t.Helper()
	content, err := os.ReadFile(e.log)
	if err != nil && !os.IsNotExist(err) {
		e.t.Fatal(err)
	}
	var found []string
	for line := range strings.Lines(string(content)) {
		if strings.Contains(line, text) {
			found = append(found, strings.TrimSpace(line))
		}
	}
	return found
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

// startCluster starts so many stand-in nodes, m1, m2 and so on.
func startCluster(t *testing.T, count int) (*tgnode.Cluster, []*tgnode.Node) {
	t.Helper()
	cluster := tgnode.NewCluster()
	t.Cleanup(cluster.Close)
	for range count {
		if _, err := cluster.Start(tgnode.Options{}); err != nil {
			t.Fatal(err)
		}
	}
	return cluster, cluster.Nodes()
}

// addresses returns the nodes as arguments of reverse_proxy.
func addresses(nodes []*tgnode.Node) string {
	var list []string
	for _, node := range nodes {
		list = append(list, node.Addr())
	}
	return strings.Join(list, " ")
}

// browser is a client with a cookie jar and an address of its own.
type browser struct {
	t    testing.TB
	base string
	http *http.Client
}

// newBrowser returns a client at 127.0.0.<host>.
func (e *edge) newBrowser(host byte) *browser {
	e.t.Helper()
	return newBrowser(e.t, "http://"+e.address, host, nil)
}

// newBrowserTLS returns a client that trusts any certificate.
func (e *edge) newBrowserTLS(host byte) *browser {
	_, port, _ := net.SplitHostPort(e.address)
	return newBrowser(e.t, "https://localhost:"+port, host, &tls.Config{InsecureSkipVerify: true})
}

func newBrowser(t testing.TB, base string, host byte, config *tls.Config) *browser {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	dialer := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, host)}}
	transport := &http.Transport{
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			_, port, err := net.SplitHostPort(address)
			if err != nil {
				return nil, err
			}
			return dialer.DialContext(ctx, "tcp4", net.JoinHostPort("127.0.0.1", port))
		},
		TLSClientConfig:   config,
		ForceAttemptHTTP2: true,
	}
	t.Cleanup(transport.CloseIdleConnections)
	return &browser{t: t, base: base, http: &http.Client{
		Jar:           jar,
		Transport:     transport,
		Timeout:       enough,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// answer is a response whose body has been read.
type answer struct {
	*http.Response
	body []byte
}

// cookie returns the value of a cookie that the answer sets, and how often it
// sets it.
func (a *answer) cookie(name string) (value string, times int) {
	for _, cookie := range a.Cookies() {
		if cookie.Name == name {
			value = cookie.Value
			times++
		}
	}
	return value, times
}

// served returns the name of the node that answered a path that ends in /__echo.
func (a *answer) served(t testing.TB) string {
	t.Helper()
	return a.echo(t).Node
}

// received returns the values of a field as they arrived at the node.
func received(echo tgnode.Echo, name string) (values []string) {
	for _, field := range echo.Received {
		if strings.EqualFold(field[0], name) {
			values = append(values, field[1])
		}
	}
	return values
}

// echo returns what arrived at the node, for an answer to a path that ends in
// /__echo.
func (a *answer) echo(t testing.TB) tgnode.Echo {
	t.Helper()
	var echo tgnode.Echo
	if err := json.Unmarshal(a.body, &echo); err != nil {
		t.Fatalf("%d %s: %v", a.StatusCode, a.body, err)
	}
	return echo
}

// try sends a request.
func (b *browser) try(method, path string, body []byte, fields ...string) (*answer, error) {
	b.t.Helper()
	request, err := http.NewRequest(method, b.base+path, bytes.NewReader(body))
	if err != nil {
		b.t.Fatal(err)
	}
	for i := 0; i < len(fields); i += 2 {
		request.Header.Add(fields[i], fields[i+1])
	}
	response, err := b.http.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	content, err := io.ReadAll(response.Body)
	return &answer{response, content}, err
}

// do sends a request that must be answered.
func (b *browser) do(method, path string, body []byte, fields ...string) *answer {
	b.t.Helper()
	a, err := b.try(method, path, body, fields...)
	if err != nil {
		b.t.Fatal(err)
	}
	return a
}

func (b *browser) get(path string, fields ...string) *answer {
	b.t.Helper()
	return b.do(http.MethodGet, path, nil, fields...)
}

// login logs in, and returns the name of the node that took the login.
func (b *browser) login() string {
	b.t.Helper()
	a := b.do(http.MethodPost, "/api/auth/login", []byte(`{"username":"tigergraph","password":"`+tgnode.Password+`"}`),
		"Content-Type", "application/json")
	if a.StatusCode != http.StatusOK {
		b.t.Fatalf("login: %d %s", a.StatusCode, a.body)
	}
	node, status := b.whoami()
	if status != http.StatusOK {
		b.t.Fatalf("the session is unknown right after the login: %d", status)
	}
	return node
}

// relogin logs in after a node has failed, and returns the name of the node that
// took the login. A login that meets a connection that is just breaking is not
// sent twice, so it may take several.
func (b *browser) relogin() string {
	b.t.Helper()
	eventually(b.t, "a login works", func() bool {
		a, err := b.try(http.MethodPost, "/api/auth/login", []byte(`{"username":"tigergraph","password":"`+tgnode.Password+`"}`),
			"Content-Type", "application/json")
		return err == nil && a.StatusCode == http.StatusOK
	})
	node, status := b.whoami()
	if status != http.StatusOK {
		b.t.Fatalf("the session is unknown right after the login: %d", status)
	}
	return node
}

// whoami returns the node that knows the session, and the status of the answer.
func (b *browser) whoami() (node string, status int) {
	b.t.Helper()
	a := b.get("/api/auth/whoami")
	var reply struct {
		Results struct{ Node string }
	}
	if a.StatusCode == http.StatusOK {
		if err := json.Unmarshal(a.body, &reply); err != nil {
			b.t.Fatalf("%s: %v", a.body, err)
		}
	}
	return reply.Results.Node, a.StatusCode
}

// forget empties the jar.
func (b *browser) forget() {
	b.t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		b.t.Fatal(err)
	}
	b.http.Jar = jar
}

// pinnedTo returns the node that the browser's requests go to.
func (b *browser) pinnedTo() string {
	b.t.Helper()
	return b.get("/api/__echo").served(b.t)
}

// ourCookie returns the value of the policy's cookie in the jar.
func (b *browser) ourCookie() string {
	base, err := url.Parse(b.base)
	if err != nil {
		b.t.Fatal(err)
	}
	for _, cookie := range b.http.Jar.Cookies(base) {
		if cookie.Name == "TigerGraphNode" {
			return cookie.Value
		}
	}
	return ""
}

// eventually waits for a condition.
func eventually(t testing.TB, what string, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(enough); !condition(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain for this: %s", what)
		}
	}
}
