package main

import (
	"bytes"
	"crypto/tls"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

func TestTheCaddyfileIsAsCaddyFormatsIt(t *testing.T) {
	config := edgeConfig{
		Front: &front{addresses: []string{"127.0.0.1"}, port: 8443},
		Nodes: []string{"127.0.0.1:1", "127.0.0.1:2"}, Control: "127.0.0.1:3", AccessLog: "127.0.0.1:4", Storage: "/tmp/demo",
	}
	if text := config.caddyfile(); string(caddyfile.Format([]byte(text))) != text {
		t.Error("caddy fmt would change edge.Caddyfile")
	}
}

// People copy the demo's Caddyfile. In TigerGraph a GET can drop all data, so what a
// node may have begun is not sent again: neither by Caddy to another node nor by
// Go's client on another connection.
func TestTheEdgeSendsNothingTwice(t *testing.T) {
	var delivered atomic.Int64
	var nodes []string
	for range nodeCount {
		node := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/gsql/v1/drop-all" {
				delivered.Add(1)
				panic(http.ErrAbortHandler) // breaks the connection
			}
			respond(w, http.StatusOK, map[string]any{"error": false, "message": "pong"})
		}))
		t.Cleanup(node.Close)
		nodes = append(nodes, node.Listener.Addr().String())
	}
	client, url := serveEdge(t, nodes)
	// Each node has a connection that was used before, which Go's client distrusts.
	for range 4 * nodeCount {
		if status := get(t, client, url+"/api/ping"); status != http.StatusOK {
			t.Fatalf("GET /api/ping: %d", status)
		}
		if status := get(t, client, url+"/gsql/v1/version"); status != http.StatusOK {
			t.Fatalf("GET /gsql/v1/version: %d", status)
		}
	}
	for sent := int64(1); sent <= 3; sent++ {
		if status := get(t, client, url+"/gsql/v1/drop-all"); status != http.StatusBadGateway {
			t.Errorf("the node broke the connection, and the client gets %d", status)
		}
		if got := delivered.Load(); got != sent {
			t.Fatalf("%d requests, and the nodes got %d", sent, got)
		}
	}
}

// serveEdge runs the demo's edge in this process, in front of these nodes.
func serveEdge(t *testing.T, nodes []string) (client *http.Client, url string) {
	t.Helper()
	front, err := reserve("localhost:0")
	if err != nil {
		t.Fatal(err)
	}
	log, err := readAccessLog(func(loggedRequest) {})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(log.close)
	front.release()
	if err := startEdge(edgeConfig{Front: front, Nodes: nodes, Control: nodes[0], AccessLog: log.address(), Storage: t.TempDir()}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := stopEdge(); err != nil {
			t.Error(err)
		}
	})
	transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}} // nobody trusts its CA
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport, Timeout: patience}, front.url()
}

func get(t *testing.T, client *http.Client, url string) (status int) {
	t.Helper()
	response, err := client.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	return response.StatusCode
}

// A browser keeps a session's cookie from plain HTTP only if it is Secure, and drops
// one for other sites without that.
func TestTheLoginsCookiesAreSecure(t *testing.T) {
	p := startDemo(t)
	response, err := p.browser().client.Post(p.url+"/api/auth/login", "application/json",
		bytes.NewReader([]byte(`{"username":"tigergraph","password":"tigergraph"}`)))
	if err != nil {
		t.Fatal(err)
	}
	_ = response.Body.Close()
	seen := make(map[string]bool)
	for _, cookie := range response.Cookies() {
		seen[cookie.Name] = true
		if !cookie.Secure {
			t.Errorf("not Secure: %s", cookie.Raw)
		}
	}
	if !seen["TigerGraphApp"] || !seen["TigerGraphNode"] {
		t.Errorf("the login sets the cookies %v", response.Header["Set-Cookie"])
	}
}

// What starts is said before it has started.
func TestTheDemoSaysWhatItStarts(t *testing.T) {
	said := startDemo(t).said()
	nodes, caddy, welcome := strings.Index(said, "Starting 3 stand-in"), strings.Index(said, "Starting Caddy"), strings.Index(said, "Open ")
	if nodes < 0 || caddy < nodes || welcome < caddy {
		t.Errorf("it says\n%s", said)
	}
}
