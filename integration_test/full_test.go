package integration_test

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/tgnode"
)

// occupy keeps a request in flight on the client's node until release is called. Then
// the client goes away, which breaks no other connection to the node: what is not sent
// twice may fail on one that is just breaking.
func occupy(t *testing.T, node *tgnode.Node, client *browser) (release func()) {
	t.Helper()
	const path = "/restpp/slow"
	node.SetFault(tgnode.RESTPP, tgnode.Fault{Mode: tgnode.SlowHeader, Path: path, Delay: enough})
	arrived := func() (times int) {
		for _, request := range visitsOf(node) {
			if request.Target == path {
				times++
			}
		}
		return times
	}
	before := arrived()
	ctx, cancel := context.WithCancel(t.Context())
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, client.base+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		if response, err := client.http.Do(request); err == nil {
			t.Errorf("the request that keeps the node busy was answered %d", response.StatusCode)
			response.Body.Close()
		}
	}()
	eventually(t, "the node is full", func() bool { return arrived() > before })
	return func() {
		cancel()
		<-ended
	}
}

// loadWithMaxRequests loads a site whose nodes take one request at a time.
func (e *edge) loadWithMaxRequests(nodes []*tgnode.Node, directives string) {
	e.t.Helper()
	caddyfile := e.globals + "}\nhttp://" + e.address + " {\n" + directives + "\n}\n"
	config, _, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(caddyfile), nil)
	if err != nil {
		e.t.Fatal(err)
	}
	for _, node := range nodes {
		dial := fmt.Sprintf(`"dial":%q`, node.Addr())
		if !bytes.Contains(config, []byte(dial)) {
			e.t.Fatalf("no %s in %s", dial, config)
		}
		config = bytes.ReplaceAll(config, []byte(dial), []byte(dial+`,"max_requests":1`))
	}
	if err := caddy.Load(config, true); err != nil {
		e.t.Fatal(err)
	}
}

func TestAFullNodeKeepsItsClients(t *testing.T) {
	for _, option := range []string{"unhealthy_request_count", "max_requests"} {
		t.Run(option, func(t *testing.T) {
			_, nodes := startCluster(t, 3)
			e, a := newAdminEdge(t)
			if option == "max_requests" { // which no Caddyfile has
				e.loadWithMaxRequests(nodes, behind(nodes, quick))
			} else {
				e.load("reverse_proxy " + addresses(nodes) + " {\nunhealthy_request_count 1\nlb_policy tigergraph {\n" + quick + "\n}\n}")
			}
			a.allUp()
			b := e.newBrowser(2)
			home := named(t, nodes, b.login())
			cookie := b.ourCookie()
			release := occupy(t, home, b)
			reply := b.get("/api/auth/whoami")
			if reply.StatusCode != http.StatusServiceUnavailable {
				t.Errorf("a pinned client of a full node is answered %d, want 503", reply.StatusCode)
			}
			if value, times := reply.cookie("TigerGraphNode"); times != 0 {
				t.Errorf("the 503 sets the cookie to %q", value)
			}
			if seen := e.arrivals(30); seen[home.Name()] != 0 || len(seen) != 2 {
				t.Errorf("new clients get %v", seen)
			}
			release()
			eventually(t, "the node is not full any more", func() bool { return a.node(home.Addr()).Requests == 0 })
			if node, status := b.whoami(); node != home.Name() || status != http.StatusOK {
				t.Errorf("then the session is answered %d by %q", status, node)
			}
			if b.ourCookie() != cookie {
				t.Error("the cookie was changed")
			}
		})
	}
}

func TestAPinnedClientWaitsForAFullNode(t *testing.T) {
	_, nodes := startCluster(t, 3)
	e, a := newAdminEdge(t)
	e.load("reverse_proxy " + addresses(nodes) + " {\nunhealthy_request_count 1\nlb_try_duration 30s\nlb_policy tigergraph {\n" + quick + "\n}\n}")
	a.allUp()
	b := e.newBrowser(2)
	home := named(t, nodes, b.login())
	cookie := b.ourCookie()
	release := occupy(t, home, b)
	done := make(chan struct{})
	go func() {
		defer close(done)
		reply, err := b.try(http.MethodGet, "/api/__echo", nil)
		if err != nil || reply.StatusCode != http.StatusOK {
			t.Errorf("%v", err)
			return
		}
		if node := reply.echo(t).Node; node != home.Name() {
			t.Errorf("the waiting request was sent to %s", node)
		}
	}()
	// Others are served while it waits.
	if seen := e.arrivals(10); seen[home.Name()] != 0 {
		t.Errorf("new clients get %v", seen)
	}
	select {
	case <-done:
		t.Error("the request did not wait")
	default:
	}
	release()
	<-done
	if b.ourCookie() != cookie {
		t.Error("the cookie was changed")
	}
}
