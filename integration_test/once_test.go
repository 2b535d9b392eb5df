package integration_test

import (
	"crypto/tls"
	"fmt"
	"io"
	"log"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/quic-go/quic-go/http3"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/tgnode"
)

// retrying is a proxy with the policy that repeats what may be repeated, on every
// other node.
func retrying(nodes []*tgnode.Node, more string) string {
	return "reverse_proxy " + addresses(nodes) + ` {
	lb_policy tigergraph {
		health_check off
	}
	lb_retries ` + fmt.Sprint(len(nodes)-1) + `
	lb_retry_match {
		tigergraph_repeatable
	}
	` + more + "\n}"
}

// acts are requests that change something, or may.
var acts = []struct {
	method, target, body string
	fields               []string
}{
	{"GET", "/gsql/v1/drop-all", "", nil},
	{"GET", "/gsql/v1/queries/install?queries=all", "", nil},
	{"GET", "/gsqlserver/gsql/clear-store", "", nil},
	{"GET", "/restpp/query/social/friends", "", nil},
	{"GET", "/restpp/query/social/friends", "", []string{"GSQL-ASYNC", "true"}},
	{"GET", "/restpp/query/social/friends", "", []string{"Expect", "100-continue"}},
	{"GET", "/restpp/query/social/friends", "", []string{"Idempotency-Key", "1"}},
	{"HEAD", "/restpp/query/social/friends", "", nil},
	{"OPTIONS", "/gsql/v1/drop-all", "", nil},
	{"GET", "/restpp/rebuildnow/social", "", nil},
	{"GET", "/restpp/%71uery/social/friends", "", nil},
	{"GET", "/api/restpp/query/social/friends", "", nil},
	{"POST", "/gsql/v1/statements", "DROP ALL", nil},
	{"POST", "/restpp/graph/social", `{"vertices":{"p":{"1":{"n":{"value":1,"op":"+"}}}}}`, nil},
	{"POST", "/restpp/ddl/social", "1,2,3\n", nil},
	{"POST", "/api/auth/login", `{"username":"tigergraph","password":"tigergraph"}`, nil},
	{"POST", "/gsql/v1/drop-all", "", []string{"Idempotency-Key", "1"}},
	{"DELETE", "/restpp/graph/social/vertices/p/1", "", []string{"X-Idempotency-Key", "1"}},
	{"DELETE", "/restpp/graph/social/vertices/p/1", "", nil},
}

// holdConnections leaves so many idle connections between the edge and the node that
// serves this client, and with our transport as many of Go's client, for long bodies.
func holdConnections(b *browser, connections int) {
	b.t.Helper()
	var wait sync.WaitGroup
	for range connections {
		for method, body := range map[string][]byte{http.MethodGet: nil, http.MethodPost: make([]byte, 65<<10)} {
			wait.Go(func() {
				if a, err := b.try(method, "/restpp/echo?sleep=0.05", body); err != nil || a.StatusCode != http.StatusOK {
					b.t.Errorf("a connection could not be occupied: %v", err)
				}
			})
		}
	}
	wait.Wait()
}

// withEachTransport runs a test with Go's client alone, and with ours.
func withEachTransport(t *testing.T, test func(t *testing.T, transport string)) {
	for _, name := range []string{"http", "tigergraph"} {
		t.Run(name, func(t *testing.T) { test(t, "\ntransport "+name+" {\ncompression off\n}") })
	}
}

// mark gives a request a name by which the ledger knows it.
func mark(target, marker string) string {
	if strings.Contains(target, "?") {
		return target + "&marker=" + marker
	}
	return target + "?marker=" + marker
}

const asDirective = "by the directive's defaults" // of retries

func TestWhatMayHaveBeenDoneIsNeverDoneTwice(t *testing.T) {
	for _, front := range []struct{ name, more, transport string }{
		{"as it is", "", "http"},
		{"with header operations", "header_up X-Real-IP {client_ip}\nheader_up -Via", "http"},
		{"with an idempotency key of the proxy's own", "header_up Idempotency-Key {http.request.uuid}", "http"},
		{"with our transport", "", "tigergraph"},
		{"with our transport and a key", "header_up Idempotency-Key {http.request.uuid}", "tigergraph"},
		{asDirective, "", "tigergraph"},
	} {
		t.Run(front.name, func(t *testing.T) {
			ledger, nodes := startCluster(t, 3)
			for _, mode := range []tgnode.Mode{tgnode.Reset, tgnode.Close} {
				for _, connection := range []tgnode.ConnectionKind{tgnode.Fresh, tgnode.Reused} {
					idle := 32 // To keep none is not to switch keeping off, which is Go's client's alone.
					if connection == tgnode.Fresh {
						idle = -1
					}
					more := fmt.Sprintf("%s\ntransport %s {\ncompression off\nkeepalive_idle_conns_per_host %d\n}", front.more, front.transport, idle)
					for _, node := range nodes {
						node.ClearFaults()
					}
					e := newEdge(t)
					site := retrying(nodes, more)
					if front.name == asDirective {
						site = cluster(nodes, "health_check off\n"+more)
					}
					e.load(site)
					b := e.newBrowser(2)
					b.login()
					for i, act := range acts {
						var marker string
						var a *answer
						// On a busy machine an idle connection may come a moment too late, and a
						// new one is none that fails.
						for attempt := range 5 {
							for _, node := range nodes {
								node.ClearFaults()
							}
							if connection == tgnode.Reused {
								holdConnections(b, 5)
							}
							for _, node := range nodes {
								node.SetFault(tgnode.All, tgnode.Fault{Mode: mode, Connection: connection})
							}
							marker = fmt.Sprintf("%d-%d-%d-%d", mode, connection, i, attempt)
							a = b.do(act.method, mark(act.target, marker), []byte(act.body), act.fields...)
							if connection != tgnode.Reused || a.StatusCode != http.StatusOK || ledger.Ledger().CountMarker(marker) != 1 {
								break
							}
						}
						if a.StatusCode != http.StatusBadGateway {
							t.Errorf("%s: %s %s: status %d, want 502", marker, act.method, act.target, a.StatusCode)
						}
						if times := ledger.Ledger().CountMarker(marker); times != 1 {
							t.Errorf("%s: %s %s %q was executed %d times", marker, act.method, act.target, act.fields, times)
						}
					}
				}
			}
		})
	}
}

// What the policy is there to end does happen without it, else the test above
// would prove nothing.
func TestAnotherPolicyLetsGoRepeatADropAll(t *testing.T) {
	cluster, nodes := startCluster(t, 1)
	e := newEdge(t)
	e.load("reverse_proxy " + addresses(nodes) + " {\nlb_policy first\n}")
	b := e.newBrowser(2)
	holdConnections(b, 5)
	nodes[0].SetFault(tgnode.All, tgnode.Fault{Mode: tgnode.Close, Connection: tgnode.Reused})
	b.get("/gsql/v1/drop-all?marker=1")
	if times := cluster.Ledger().CountMarker("1"); times < 2 {
		t.Errorf("executed %d times: is there anything left to do for the policy?", times)
	}
}

func TestReadsGoOnOnAnotherNode(t *testing.T) {
	withEachTransport(t, testReadsGoOn)
}

func testReadsGoOn(t *testing.T, transport string) {
	_, nodes := startCluster(t, 3)
	e := newEdge(t)
	e.load(retrying(nodes, "header_up X-Real-IP {client_ip}"+transport))
	b := e.newBrowser(2)
	home := b.get("/restpp/__echo").echo(t).Node
	for _, mode := range []tgnode.Mode{tgnode.Reset, tgnode.Close, tgnode.CloseIdle} {
		for _, connection := range []tgnode.ConnectionKind{tgnode.Fresh, tgnode.Reused} {
			for _, target := range []string{"/restpp/graph/social/vertices/person/Tom", "/gsql/v1/schema?graph=g", "/gsqlserver/gsql/version"} {
				for _, method := range []string{http.MethodGet, http.MethodHead} {
					for _, node := range nodes {
						node.ClearFaults()
					}
					holdConnections(b, 3)
					for _, node := range nodes {
						if node.Name() == home {
							node.SetFault(tgnode.All, tgnode.Fault{Mode: mode, Connection: connection})
						}
					}
					if a := b.do(method, target, nil); a.StatusCode != http.StatusOK {
						t.Errorf("mode %d, connection %d: %s %s: %d", mode, connection, method, target, a.StatusCode)
					}
				}
			}
		}
	}
}

func TestWhatNeverLeftGoesToAnotherNode(t *testing.T) {
	cluster, nodes := startCluster(t, 3)
	e := newEdge(t)
	e.load(retrying(nodes, ""))
	b := e.newBrowser(2)
	home := b.get("/restpp/__echo").echo(t).Node
	for i, node := range nodes {
		if node.Name() == home {
			if err := cluster.SwitchLeader(nodes[(i+1)%3].Name(), 0); err != nil {
				t.Fatal(err)
			}
			node.Stop()
		}
	}
	b.get("/restpp/version") // which meets the connection that is broken
	for i, act := range acts {
		marker := fmt.Sprint(i)
		a := b.do(act.method, mark(act.target, marker), []byte(act.body), act.fields...)
		if a.StatusCode == http.StatusBadGateway {
			t.Errorf("%s %s: %d %s", act.method, act.target, a.StatusCode, a.body)
		}
		times := cluster.Ledger().CountMarker(marker)
		if executed := a.StatusCode != http.StatusUnauthorized; executed && times != 1 {
			t.Errorf("%s %s: status %d, executed %d times", act.method, act.target, a.StatusCode, times)
		}
	}
}

// What the node gets must be the request that the client sent, framing included.
func TestReadiedRequestsLookAsBefore(t *testing.T) {
	withEachTransport(t, testReadiedRequests)
}

func testReadiedRequests(t *testing.T, transport string) {
	_, nodes := startCluster(t, 1)
	e := newEdge(t)
	e.load(retrying(nodes, transport))
	b := e.newBrowser(2)
	for _, method := range []string{"GET", "HEAD", "OPTIONS", "TRACE", "DELETE", "POST"} {
		var body []byte
		if method == "POST" {
			body = []byte("12345")
		}
		for _, fields := range [][]string{nil, {"Idempotency-Key", "1"}} {
			nodes[0].ResetRequests()
			b.do(method, "/restpp/query/g/q?vp[0]=person5&vp[0].type=person&x=a+b", body, fields...)
			for _, r := range nodes[0].Requests() {
				if r.Target != "/restpp/query/g/q?vp[0]=person5&vp[0].type=person&x=a+b" {
					t.Errorf("%s: target %s", method, r.Target)
				}
				if length := r.Values("Content-Length"); body == nil && len(length) > 0 || body != nil && (len(length) != 1 || length[0] != "5") {
					t.Errorf("%s with Content-Length: %s", method, length)
				}
				for _, field := range []string{"Transfer-Encoding", "X-Idempotency-Key"} {
					if values := r.Values(field); len(values) > 0 {
						t.Errorf("%s with %s: %s", method, field, values)
					}
				}
			}
		}
	}
}

// fronts are clients that speak the versions of HTTP.
func fronts(e *edge) map[string]*http.Client {
	trusting := func(protocols ...string) *tls.Config {
		return &tls.Config{InsecureSkipVerify: true, NextProtos: protocols}
	}
	one := &http.Transport{TLSClientConfig: trusting("http/1.1")}
	two := &http.Transport{TLSClientConfig: trusting(), ForceAttemptHTTP2: true}
	three := &http3.Transport{TLSClientConfig: trusting()}
	e.t.Cleanup(func() {
		one.CloseIdleConnections()
		two.CloseIdleConnections()
		_ = three.Close()
	})
	return map[string]*http.Client{
		"HTTP/1.1": {Transport: one, Timeout: enough},
		"HTTP/2.0": {Transport: two, Timeout: enough},
		"HTTP/3.0": {Transport: three, Timeout: enough},
	}
}

func TestNeverTwiceWhateverTheClientSpeaks(t *testing.T) {
	withEachTransport(t, testNeverTwice)
}

func testNeverTwice(t *testing.T, transport string) {
	cluster, nodes := startCluster(t, 3)
	e := newEdge(t)
	e.loadTLS(retrying(nodes, transport))
	base := e.newBrowserTLS(2).base
	for protocol, client := range fronts(e) {
		t.Run(strings.ReplaceAll(protocol, "/", ""), func(t *testing.T) {
			get := func(target string) *http.Response {
				response, err := client.Get(base + target)
				if err != nil {
					t.Fatal(err)
				}
				_, _ = io.Copy(io.Discard, response.Body)
				response.Body.Close()
				if response.Proto != protocol {
					t.Fatalf("%s, want %s", response.Proto, protocol)
				}
				return response
			}
			// On a busy machine an idle connection may come a moment too late, and a new one
			// does not fail.
			for attempt := 1; ; attempt++ {
				for _, node := range nodes {
					node.ClearFaults()
				}
				var wait sync.WaitGroup
				for range 5 {
					wait.Go(func() { get("/restpp/echo?sleep=0.05") })
				}
				get("/gsql/v1/drop-all?marker=before") // on the way that the next one goes
				wait.Wait()
				for _, node := range nodes {
					node.SetFault(tgnode.All, tgnode.Fault{Mode: tgnode.Close, Connection: tgnode.Reused})
				}
				marker := fmt.Sprint(protocol, "-", attempt)
				response := get("/gsql/v1/drop-all?marker=" + marker)
				if times := cluster.Ledger().CountMarker(marker); times != 1 {
					t.Errorf("executed %d times", times)
				}
				if response.StatusCode == http.StatusBadGateway {
					break
				}
				if response.StatusCode != http.StatusOK || attempt == 5 {
					t.Fatalf("status %d, want 502", response.StatusCode)
				}
			}
			// A read is repeated until a node answers.
			for _, node := range nodes[1:] {
				node.SetFault(tgnode.All, tgnode.Fault{Mode: tgnode.Close, Connection: tgnode.Reused})
			}
			nodes[0].ClearFaults()
			if response := get("/restpp/version"); response.StatusCode != http.StatusOK {
				t.Errorf("a read failed: %d", response.StatusCode)
			}
		})
	}
}

func TestUpgradesAreNeverTriedTwice(t *testing.T) {
	_, nodes := startCluster(t, 3)
	e := newEdge(t)
	e.load(retrying(nodes, ""))
	b := e.newBrowser(2)
	upgrade := []string{"Connection", "Upgrade", "Upgrade", "websocket", "Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="}
	for attempt := 1; ; attempt++ { // an idle connection may come a moment too late
		for _, node := range nodes {
			node.ClearFaults()
		}
		b.get("/api/__echo", upgrade...) // Go keeps connections for these apart
		for _, node := range nodes {
			node.ResetRequests()
			node.SetFault(tgnode.All, tgnode.Fault{Mode: tgnode.Close, Connection: tgnode.Reused})
		}
		a := b.get("/api/__echo", upgrade...)
		arrived := 0
		for _, node := range nodes {
			arrived += node.Count(tgnode.All)
		}
		if arrived != 1 {
			t.Errorf("it arrived %d times", arrived)
		}
		if a.StatusCode == http.StatusBadGateway {
			break
		}
		if a.StatusCode != http.StatusOK || attempt == 5 {
			t.Fatalf("status %d, want 502: %s", a.StatusCode, a.body)
		}
	}
}

// The requests come one by one: Caddy 2.11.0 itself has a data race where Go still
// dials for an attempt while the next one begins.
func TestRandomFaultsNeverRepeatAnything(t *testing.T) {
	withEachTransport(t, testRandomFaults)
}

func testRandomFaults(t *testing.T, transport string) {
	cluster, nodes := startCluster(t, 3)
	e := newEdge(t)
	e.load(retrying(nodes, "header_up X-Real-IP {client_ip}"+transport))
	b := e.newBrowser(2)
	again := e.newBrowser(2)
	// The client is to repeat nothing either.
	again.http.Transport.(*http.Transport).DisableKeepAlives = true
	modes := []tgnode.Mode{
		tgnode.None, tgnode.Reset, tgnode.Close, tgnode.CloseIdle, tgnode.ResetEarly, tgnode.Died, tgnode.Cut, tgnode.Dead,
	}
	statuses := make(map[int]int)
	for i := range 2000 {
		if i%20 == 0 {
			for _, node := range nodes {
				node.ClearFaults()
			}
			holdConnections(b, 4)
			for _, node := range nodes {
				if rand.IntN(4) == 0 {
					node.ResetConnections()
				}
				node.SetFault(tgnode.All, tgnode.Fault{
					Mode:       modes[rand.IntN(len(modes))],
					Connection: tgnode.ConnectionKind(rand.IntN(3)),
					Sequence:   "x--x-x", Repeat: true,
				})
			}
		}
		act := acts[rand.IntN(len(acts))]
		a, err := again.try(act.method, mark(act.target, fmt.Sprint(i)), []byte(act.body), act.fields...)
		if err == nil { // else the answer broke off
			statuses[a.StatusCode]++
		}
	}
	if repeated := cluster.Ledger().Repeated(); len(repeated) > 0 {
		t.Errorf("executed more than once: %v", repeated)
	}
	if statuses[http.StatusOK] == 0 || statuses[http.StatusBadGateway] == 0 {
		t.Errorf("the faults were too few or too many: %v", statuses)
	}
}

// A node's nginx speaks HTTP/1.1; something in front of it may speak HTTP/2.
func TestNeverTwiceOverTLSToTheNode(t *testing.T) {
	for _, way := range []struct {
		name, transport string
		major           int
	}{
		{"HTTP/2 by Caddy's transport", "http {\ntls_insecure_skip_verify\n}", 2},
		{"HTTP/2", "tigergraph {\ntls_insecure_skip_verify\n}", 2},
		{"HTTP/1.1", "tigergraph {\ntls_insecure_skip_verify\nversions 1.1\n}", 1},
	} {
		t.Run(way.name, func(t *testing.T) { testNeverTwiceOverTLS(t, way.transport, way.major) })
	}
}

func testNeverTwiceOverTLS(t *testing.T, transport string, major int) {
	var mu sync.Mutex
	arrived := make(map[string]int)
	var nodes [2]*httptest.Server
	for i := range nodes {
		nodes[i] = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			mu.Lock()
			arrived[r.RequestURI]++
			mu.Unlock()
			switch {
			case r.ProtoMajor != major:
				t.Errorf("%s came by %s", r.RequestURI, r.Proto)
			case strings.Contains(r.RequestURI, "reset"):
				panic(http.ErrAbortHandler)
			case strings.Contains(r.RequestURI, "close"):
				go nodes[i].CloseClientConnections()
				<-r.Context().Done()
			}
		}))
		nodes[i].EnableHTTP2 = true
		nodes[i].Config.ErrorLog = log.New(io.Discard, "", 0)
		nodes[i].StartTLS()
		t.Cleanup(nodes[i].Close)
	}
	e := newEdge(t)
	e.load("tigergraph " + nodes[0].URL + " " + nodes[1].URL + " {\nhealth_check off\nfail_duration 0\ntransport " + transport + "\n}")
	b := e.newBrowser(2)
	for _, how := range []string{"reset", "close"} {
		for i, act := range acts {
			b.get("/restpp/version") // leaves a connection
			target := mark(act.target, fmt.Sprint(how, i))
			a := b.do(act.method, target, []byte(act.body), act.fields...)
			mu.Lock()
			times := arrived[target]
			mu.Unlock()
			if times != 1 || a.StatusCode < 500 {
				t.Errorf("%s: %s %s arrived %d times: %d", how, act.method, target, times, a.StatusCode)
			}
		}
	}
}
