package integration_test

import (
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/tgnode"
)

func TestASessionKeepsItsNodeOverReloads(t *testing.T) {
	_, nodes := startCluster(t, 3)
	e := newEdge(t)
	site := proxyTo(nodes, "tigergraph")
	e.load(site)
	var browsers []*browser
	var homes []string
	for host := byte(2); host < 12; host++ {
		b := e.newBrowser(host)
		browsers, homes = append(browsers, b), append(homes, b.login())
	}
	for _, options := range []string{"", "lb_retries 2", "flush_interval -1"} {
		e.load(proxyTo(nodes, "tigergraph", options))
		for i, b := range browsers {
			a := b.get("/api/auth/whoami")
			if node, status := b.whoami(); node != homes[i] || status != http.StatusOK || len(a.Header["Set-Cookie"]) != 0 {
				t.Errorf("a session of %s was sent to %q: %d; set %q", homes[i], node, status, a.Header["Set-Cookie"])
			}
		}
	}
	// Other nodes in another order: whoever's node is still there stays.
	e.load(proxyTo([]*tgnode.Node{nodes[2], nodes[0]}, "tigergraph"))
	for i, b := range browsers {
		node, status := b.whoami()
		if gone := homes[i] == nodes[1].Name(); gone != (status != http.StatusOK) || !gone && node != homes[i] {
			t.Errorf("a session of %s was sent to %q: %d", homes[i], node, status)
		}
	}
}

func TestNodesFromADynamicSourceKeepTheirSessionsOverReloads(t *testing.T) {
	_, nodes := startCluster(t, 3)
	e := newEdge(t)
	site := "reverse_proxy {\nlb_policy tigergraph\ndynamic multi {\n"
	for _, node := range nodes {
		_, port, err := net.SplitHostPort(node.Addr())
		if err != nil {
			t.Fatal(err)
		}
		site += "a localhost " + port + " {\nversions ipv4\n}\n"
	}
	site += "}\n}"
	e.load(site)
	for host := byte(2); host < 10; host++ {
		b := e.newBrowser(host)
		node := b.login()
		stranger := e.newBrowser(host + 100) // whose home may be another node
		stranger.http.Jar = b.http.Jar
		e.load(site)
		if now, status := stranger.whoami(); now != node || status != http.StatusOK {
			t.Errorf("the first request after a reload took the session of %s to %q: %d", node, now, status)
		}
	}
}

func TestKeysRotateWithoutLosingASession(t *testing.T) {
	_, nodes := startCluster(t, 3)
	e := newEdge(t)
	with := func(secrets string) {
		t.Helper()
		e.load(proxyTo(nodes, "tigergraph {\ncookie {\nsecret "+secrets+"\n}\n}"))
	}
	with("first")
	b := e.newBrowser(2)
	node := b.login()
	old := b.ourCookie()

	with("second first")
	for i, want := range []int{1, 0, 0} {
		a := b.get("/api/auth/whoami")
		if _, times := a.cookie("TigerGraphNode"); a.StatusCode != http.StatusOK || times != want {
			t.Errorf("request %d after the rotation: %d, the cookie set %d times, want %d", i+1, a.StatusCode, times, want)
		}
	}
	if b.ourCookie() == old || b.pinnedTo() != node {
		t.Errorf("the cookie is %s as before, or the node %s not %s", b.ourCookie(), b.pinnedTo(), node)
	}

	with("second")
	a := b.get("/api/auth/whoami")
	if _, times := a.cookie("TigerGraphNode"); a.StatusCode != http.StatusOK || times != 0 {
		t.Errorf("without the old key: %d, the cookie set %d times", a.StatusCode, times)
	}
	a = e.newBrowser(2).get("/api/ping", "Cookie", "TigerGraphNode="+old)
	if value, times := a.cookie("TigerGraphNode"); times != 1 || value == old {
		t.Errorf("a cookie by the removed key was answered with %q, %d times", value, times)
	}
}

func TestARequestInFlightOutlivesReloads(t *testing.T) {
	_, nodes := startCluster(t, 3)
	e := newEdge(t)
	site := proxyTo(nodes, "tigergraph", "lb_retries 2", "transport http {\nkeepalive off\n}")
	e.load(site)
	b := e.newBrowser(2)
	home := b.login()
	// It arrives, and its node fails it only after the reloads: the policy of a
	// configuration that is gone chooses the next node.
	for _, node := range nodes {
		if node.Name() == home {
			node.SetFault(tgnode.GUI, tgnode.Fault{Mode: tgnode.Hang, Path: "/api/__echo"})
		}
	}
	arrived := func() int {
		count := 0
		for _, node := range nodes {
			for _, request := range node.Requests() {
				if request.Target == "/api/__echo" {
					count++
				}
			}
		}
		return count
	}
	answers := make(chan *answer, 1)
	go func() {
		defer close(answers)
		if a, err := b.try(http.MethodGet, "/api/__echo", nil); err == nil {
			answers <- a
		}
	}()
	eventually(t, "the request has arrived", func() bool { return arrived() == 1 })
	for range 3 {
		e.load(site)
	}
	for _, node := range nodes {
		if node.Name() == home {
			node.ResetConnections()
		}
	}
	a := <-answers
	if a == nil {
		t.Fatal("the request was lost")
	}
	// A reload ends the retries of Caddy itself.
	if a.StatusCode == http.StatusOK && a.served(t) == home {
		t.Error("the node that hung has answered")
	}
	if a.StatusCode != http.StatusOK && a.StatusCode != http.StatusBadGateway {
		t.Errorf("%d", a.StatusCode)
	}
	for _, node := range nodes {
		node.ClearFaults()
	}
	b.login()
}

func TestASlowAnswerArrivesAlthoughTheConfigurationIsGone(t *testing.T) {
	_, nodes := startCluster(t, 3)
	e := newEdge(t)
	e.load(proxyTo(nodes, "tigergraph"))
	b := e.newBrowser(2)
	home := b.login()
	for _, node := range nodes {
		node.SetFault(tgnode.RESTPP, tgnode.Fault{Mode: tgnode.Trickle, Path: "/restpp/__echo", Delay: 500_000_000})
	}
	answers := make(chan *answer, 1)
	go func() {
		defer close(answers)
		if a, err := b.try(http.MethodGet, "/restpp/__echo", nil); err == nil {
			answers <- a
		}
	}()
	eventually(t, "the request has arrived", func() bool { return countRESTPP(nodes) > 0 })
	e.load(proxyTo(nodes, "tigergraph", "lb_retries 1"))
	if a := <-answers; a == nil || a.StatusCode != http.StatusOK || a.served(t) != home {
		t.Errorf("the answer was %v", a)
	}
}

// withAdmin opens an admin endpoint on a socket and returns a client of it.
func (e *edge) withAdmin() *http.Client {
	e.t.Helper()
	socket := filepath.Join(e.t.TempDir(), "admin.sock")
	e.globals = strings.Replace(e.globals, "admin off", "admin unix/"+socket, 1)
	transport := &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", socket)
		},
		DisableKeepAlives: true,
	}
	return &http.Client{Transport: transport, Timeout: enough}
}

// askAdmin asks until there is an answer: each reload replaces the endpoint's
// server, and the old one may drop a connection that it has accepted.
func askAdmin(t *testing.T, ask func() (*http.Response, error)) (status int, content []byte) {
	t.Helper()
	eventually(t, "the admin endpoint answers", func() bool {
		response, err := ask()
		if err != nil {
			return false
		}
		defer response.Body.Close()
		status = response.StatusCode
		content, err = io.ReadAll(response.Body)
		return err == nil
	})
	return status, content
}

// upstreams returns those nodes that Caddy accounts for, and their requests in
// flight. Newer versions list the dynamic upstreams of the last hour as well.
func upstreams(t *testing.T, admin *http.Client, nodes []*tgnode.Node) map[string]int {
	t.Helper()
	_, content := askAdmin(t, func() (*http.Response, error) { return admin.Get("http://caddy/reverse_proxy/upstreams") })
	var list []struct {
		Address     string
		NumRequests int `json:"num_requests"`
	}
	if err := json.Unmarshal(content, &list); err != nil {
		t.Fatalf("%s: %v", content, err)
	}
	found := make(map[string]int)
	for _, upstream := range list {
		if slices.ContainsFunc(nodes, func(node *tgnode.Node) bool { return node.Addr() == upstream.Address }) {
			found[upstream.Address] = upstream.NumRequests
		}
	}
	return found
}

func TestAFailedReloadLeavesEverythingWorking(t *testing.T) {
	_, nodes := startCluster(t, 3)
	e := newEdge(t)
	admin := e.withAdmin()
	e.load(proxyTo(nodes, "tigergraph"))
	b := e.newBrowser(2)
	node := b.login()
	cookie := b.ourCookie()
	before := upstreams(t, admin, nodes)
	if len(before) != 3 {
		t.Fatalf("Caddy accounts for %v", before)
	}
	for name, policy := range map[string]string{
		"an impossible prefix":    "tigergraph {\nipv4_prefix 33\n}",
		"an unset secret":         "tigergraph {\ncookie {\nsecret {env.TIGERGRAPH_TEST_UNSET}\n}\n}",
		"a fallback that fails":   "tigergraph {\nfallback tigergraph {\ncookie {\nsecret {env.TIGERGRAPH_TEST_UNSET}\n}\n}\n}",
		"a secret file not there": "tigergraph {\ncookie {\nsecret {file.missing}\n}\n}",
	} {
		if err := e.tryLoad("http://"+e.address, proxyTo(nodes, policy)); err == nil {
			t.Fatalf("loaded a configuration with %s", name)
		}
		if after := upstreams(t, admin, nodes); len(after) != len(before) {
			t.Errorf("after %s Caddy accounts for %v, before for %v", name, after, before)
		}
		if now, status := b.whoami(); now != node || status != http.StatusOK || b.ourCookie() != cookie {
			t.Errorf("after %s the session of %s was sent to %q: %d", name, node, now, status)
		}
		e.newBrowser(3).login()
	}
	for name, option := range map[string]string{
		"a transport whose authority's file is not there": "transport tigergraph {\ntls_trust_pool file missing.pem\n}",
		"a transport that asks a header without a name":   "transport tigergraph {\nclient_ip_header \"no name\"\n}",
	} {
		if err := e.tryLoad("http://"+e.address, proxyTo(nodes, "tigergraph", option)); err == nil {
			t.Fatalf("loaded a configuration with %s", name)
		}
		if after := upstreams(t, admin, nodes); len(after) != len(before) {
			t.Errorf("after %s Caddy accounts for %v, before for %v", name, after, before)
		}
	}
	// JSON reaches what no Caddyfile does.
	valid := e.adapt("http://"+e.address, proxyTo(nodes, "tigergraph {\nipv4_prefix 24\n}"))
	for _, wrong := range []string{`"affinity":"sticky"`, `"ipv4_prefix":99`, `"cookie":{"secrets":[""]}`, `"fallback":{"policy":"tigergraph","ipv6_prefix":999}`} {
		config := strings.Replace(valid, `"ipv4_prefix":24`, wrong, 1)
		if config == valid {
			t.Fatalf("no place for %s in %s", wrong, valid)
		}
		status, reply := askAdmin(t, func() (*http.Response, error) {
			return admin.Post("http://caddy/load", "application/json", strings.NewReader(config))
		})
		if status != http.StatusBadRequest {
			t.Errorf("loading %s: %d %s", wrong, status, reply)
		}
		if after := upstreams(t, admin, nodes); len(after) != len(before) {
			t.Errorf("after %s Caddy accounts for %v, before for %v", wrong, after, before)
		}
		if now, status := b.whoami(); now != node || status != http.StatusOK {
			t.Errorf("after %s the session of %s was sent to %q: %d", wrong, node, now, status)
		}
	}
	e.load(proxyTo(nodes, "tigergraph", "lb_retries 1"))
	if now, status := b.whoami(); now != node || status != http.StatusOK || len(upstreams(t, admin, nodes)) != 3 {
		t.Errorf("after all that a reload sends the session of %s to %q: %d", node, now, status)
	}
}
