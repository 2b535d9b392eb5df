package integration_test

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/tgnode"
)

// arrivals counts the nodes that so many new browsers are sent to.
func (e *edge) arrivals(count int) map[string]int {
	e.t.Helper()
	seen := make(map[string]int)
	for i := range count {
		b := e.newBrowser(byte(2 + i))
		seen[b.get("/api/__echo").echo(e.t).Node]++
		b.http.CloseIdleConnections()
	}
	return seen
}

func TestADrainingNodeKeepsItsClientsAndGetsNoNewOnes(t *testing.T) {
	for _, test := range []struct {
		name       string
		configured bool
	}{{"at run time", false}, {"by the configuration", true}} {
		t.Run(test.name, func(t *testing.T) {
			_, nodes := startCluster(t, 3)
			e, a := newAdminEdge(t)
			e.load(behind(nodes, quick))
			if seen := e.arrivals(60); len(seen) != 3 {
				t.Fatalf("before the drain new clients get %v", seen)
			}
			b := e.newBrowser(2)
			home := named(t, nodes, b.login())
			if test.configured {
				e.load(behind(nodes, quick+"\ndrain "+home.Addr()))
			} else if status := a.drain(home); !status.Draining || status.DrainUntil != nil || status.Address != home.Addr() {
				t.Errorf("the drain is answered by %+v", status)
			}
			if !a.node(home.Addr()).Draining {
				t.Error("the drain is not shown")
			}
			if seen := e.arrivals(60); seen[home.Name()] != 0 || len(seen) != 2 {
				t.Errorf("during the drain new clients get %v", seen)
			}
			for range 10 {
				if node, status := b.whoami(); node != home.Name() || status != http.StatusOK {
					t.Fatalf("the session is on %q: %d", node, status)
				}
				if node := b.get("/gsqlserver/__echo").echo(t).Node; node != home.Name() {
					t.Fatalf("its GSQL requests are sent to %s", node)
				}
			}
			if test.configured {
				e.load(behind(nodes, quick))
			} else {
				a.ready(home)
			}
			if a.node(home.Addr()).Draining {
				t.Error("the node still drains")
			}
			if seen := e.arrivals(60); len(seen) != 3 {
				t.Errorf("after the drain new clients get %v", seen)
			}
		})
	}
}

func TestALoginDuringADrainBeginsElsewhereAndNothingElseDoes(t *testing.T) {
	for name, fallback := range map[string]string{"the hash": "", "another fallback": "fallback round_robin"} {
		t.Run(name, func(t *testing.T) {
			_, nodes := startCluster(t, 3)
			e, a := newAdminEdge(t)
			e.load(cluster(nodes, quick+"\n"+fallback))
			b := e.newBrowser(2)
			home := named(t, nodes, b.login())
			a.drain(home)
			for _, path := range []string{"/api/auth/whoami", "/studio/", "/gsqlserver/__echo", "/restpp/__echo", "/api/auth/login", "/api/auth/saml/login"} {
				if a := b.get(path); len(a.Header["Set-Cookie"]) > 0 {
					t.Errorf("%s sets %q", path, a.Header["Set-Cookie"])
				}
			}
			if node, status := b.whoami(); node != home.Name() || status != http.StatusOK {
				t.Errorf("the session is on %q: %d", node, status)
			}
			next := b.login()
			if next == home.Name() {
				t.Errorf("the login stayed on the node that drains")
			}
			a.ready(home)
			for range 3 {
				if node, status := b.whoami(); node != next || status != http.StatusOK {
					t.Errorf("the new session is on %q, want %s: %d", node, next, status)
				}
			}
			if count := a.metric(`caddy_tigergraph_displaced_total{node="` + home.Addr() + `"}`); count != "0" {
				t.Errorf("%s browsers are counted as displaced", count)
			}
		})
	}
}

func TestADrainSurvivesReloads(t *testing.T) {
	_, nodes := startCluster(t, 3)
	e, a := newAdminEdge(t)
	e.load(behind(nodes, quick))
	a.allUp()
	until := *a.post("drain", fmt.Sprintf(`{"node": %q, "for": "1h"}`, nodes[0].Addr())).DrainUntil
	if left := time.Until(until); left > time.Hour || left < 30*time.Minute || until.Location() != time.UTC {
		t.Errorf("the drain ends at %s, want in an hour, UTC", until)
	}
	for i := range 5 {
		e.load(behind(nodes, quick+fmt.Sprintf("\nipv4_prefix %d", 32-i)))
		if node := a.node(nodes[0].Addr()); !node.Draining || node.DrainUntil == nil || !node.DrainUntil.Equal(until) {
			t.Fatalf("after reload %d: %+v, want a drain until %s", i+1, node, until)
		}
		if seen := e.arrivals(30); seen["m1"] != 0 {
			t.Fatalf("after reload %d new clients get %v", i+1, seen)
		}
	}
}

// With a dynamic source the new configuration knows no node until it is asked.
func TestADrainOfADynamicNodeSurvivesReloads(t *testing.T) {
	_, nodes := startCluster(t, 2)
	e, a := newAdminEdge(t)
	_, port1, _ := strings.Cut(nodes[0].Addr(), ":")
	_, port2, _ := strings.Cut(nodes[1].Addr(), ":")
	config := func(interval string) string {
		return "reverse_proxy {\ndynamic multi {\na localhost " + port1 + " {\nversions ipv4\n}\na localhost " + port2 + " {\nversions ipv4\n}\n}\n" +
			"lb_policy tigergraph {\nhealth_check {\ninterval " + interval + "\n}\n}\n}"
	}
	e.load(config("100ms"))
	e.arrivals(1)
	a.drain(nodes[0])
	e.load(config("110ms"))
	if seen := e.arrivals(30); seen["m1"] != 0 {
		t.Errorf("after the reload new clients get %v", seen)
	}
	e.load(config("120ms"))
	e.load(config("130ms")) // no request came between the two
	if seen := e.arrivals(30); seen["m1"] != 0 {
		t.Errorf("after two more reloads new clients get %v", seen)
	}
	a.ready(nodes[0])
	if seen := e.arrivals(30); len(seen) != 2 {
		t.Errorf("after the drain new clients get %v", seen)
	}
}

func TestADrainEndsByItself(t *testing.T) {
	_, nodes := startCluster(t, 2)
	e, a := newAdminEdge(t)
	e.load(behind(nodes, quick))
	first := nodes[0].Addr()
	if node := a.post("drain", fmt.Sprintf(`{"node": %q, "for": "5s"}`, first)); !node.Draining || node.DrainUntil == nil {
		t.Errorf("%+v", node)
	}
	eventually(t, "the drain ends", func() bool { return !a.node(first).Draining })
	if node := a.node(first); node.DrainUntil != nil {
		t.Errorf("the end of a drain that is over is shown: %+v", node)
	}

	// A later drain replaces the end of an earlier one.
	a.post("drain", fmt.Sprintf(`{"node": %q, "for": "100ms"}`, first))
	if node := a.drain(nodes[0]); !node.Draining || node.DrainUntil != nil {
		t.Errorf("%+v", node)
	}
	a.post("drain", fmt.Sprintf(`{"node": %q, "for": "1ms", "force": true}`, nodes[1].Addr()))
	eventually(t, "the other drain ends", func() bool { return !a.node(nodes[1].Addr()).Draining })
	if !a.node(first).Draining {
		t.Error("the end of the earlier drain ended the later one")
	}
}

func TestTheLastNodeIsDrainedByForceOnly(t *testing.T) {
	_, nodes := startCluster(t, 3)
	e, a := newAdminEdge(t)
	e.load(behind(nodes, quick))
	a.allUp()
	refused := func(node *tgnode.Node, says string) {
		t.Helper()
		reply := a.call(http.MethodPost, "/tigergraph/drain", fmt.Sprintf(`{"node": %q}`, node.Addr()))
		if reply.StatusCode != http.StatusConflict || !strings.Contains(string(reply.body), says) {
			t.Errorf("%d %s, want 409 and %q", reply.StatusCode, reply.body, says)
		}
		if a.node(node.Addr()).Draining {
			t.Error("it drains all the same")
		}
	}
	a.drain(nodes[0])
	// The one left of a service counts, whatever else the others can do.
	nodes[1].SetFault(tgnode.GSQL, tgnode.Fault{Mode: tgnode.Dead})
	eventually(t, "GSQL is down", func() bool { return a.node(nodes[1].Addr()).Services["gsql"].Verdict == "down" })
	refused(nodes[2], "gsql")
	nodes[1].ClearFaults()
	a.allUp()
	a.drain(nodes[1])
	refused(nodes[2], "at all")
	a.drain(nodes[1]) // once more changes nothing

	if node := a.post("drain", fmt.Sprintf(`{"node": %q, "force": true}`, nodes[2].Addr())); !node.Draining {
		t.Errorf("%+v", node)
	}
	if seen := e.arrivals(30); len(seen) != 3 { // rather than 503
		t.Errorf("with every node draining new clients get %v", seen)
	}
}

func TestTheRequestsInFlightOfADrainingNodeAreCounted(t *testing.T) {
	_, nodes := startCluster(t, 2)
	e, a := newAdminEdge(t)
	e.load(behind(nodes, quick))
	b := e.newBrowser(2)
	home := named(t, nodes, b.login())
	home.Freeze()
	var slow sync.WaitGroup
	for range 3 {
		slow.Go(func() {
			if reply, err := b.try(http.MethodGet, "/api/auth/whoami", nil); err != nil || reply.StatusCode != http.StatusOK {
				t.Errorf("a request that was in flight when the drain began: %v", err)
			}
		})
	}
	eventually(t, "three requests are in flight", func() bool { return a.node(home.Addr()).Requests == 3 })
	if node := a.drain(home); node.Requests != 3 {
		t.Errorf("%d requests in flight, want 3", node.Requests)
	}
	e.load(behind(nodes, "ipv4_prefix 24\n"+quick))
	if node := a.node(home.Addr()); node.Requests != 3 {
		t.Errorf("after a reload %d requests in flight, want 3", node.Requests)
	}
	home.Thaw()
	slow.Wait()
	eventually(t, "no request is in flight", func() bool { return a.node(home.Addr()).Requests == 0 })
}

// A rolling restart: drain, wait, restart, ready, next. Nobody's request fails,
// and only those lose their session who are on a node when it restarts.
func TestTheEdgeCountsTheSessionsThatARestartCost(t *testing.T) {
	_, nodes := startCluster(t, 3)
	e, a := newAdminEdge(t)
	e.load("reverse_proxy " + addresses(nodes) + " {\nlb_retries 2\nlb_policy tigergraph {\n" + quick + "\n}\n}")
	a.allUp()
	var stayed []*browser
	for host := byte(2); host < 32; host++ {
		b := e.newBrowser(host)
		if b.login() == nodes[0].Name() {
			stayed = append(stayed, b)
		}
	}
	a.drain(nodes[0])
	nodes[0].Stop()
	for range 3 { // each is counted once, however often it comes
		for _, b := range stayed {
			b.whoami()
			b.get("/restpp/echo") // which has no session to lose
		}
		e.newBrowser(200).get("/") // nor has a newcomer
	}
	want := fmt.Sprint(len(stayed))
	if got := a.metric(`caddy_tigergraph_displaced_total{node="` + nodes[0].Addr() + `"}`); got != want || want == "0" {
		t.Errorf("%s sessions are counted as lost, want %s", got, want)
	}
}

func TestARollingRestartUnderLoad(t *testing.T) {
	_, nodes := startCluster(t, 3)
	e, a := newAdminEdge(t)
	e.load("reverse_proxy " + addresses(nodes) + " {\nlb_retries 2\nlb_policy tigergraph {\n" + quick + "\n}\n}")
	a.allUp()

	const sessions = 50
	var (
		requests, lost, expected atomic.Int64
		working                  [3]atomic.Int64 // sessions on each node
		stayed                   [3]atomic.Int64 // those that do not leave
		restarts                 [3]atomic.Int64
		draining                 atomic.Int64 // of what index 1 more
		arrivals                 sync.RWMutex // held by those who are logging in
		stop                     = make(chan struct{})
		load                     sync.WaitGroup
	)
	index := func(name string) int {
		for i, node := range nodes {
			if node.Name() == name {
				return i
			}
		}
		return -1
	}
	whoami := func(b *browser) (node string, status int) {
		requests.Add(1)
		return b.whoami()
	}
	for i := range sessions {
		stubborn := i%10 == 0 // never leaves
		load.Go(func() {
			for visit := 0; ; visit++ {
				arrivals.RLock()
				before := draining.Load()
				b := e.newBrowser(byte(2 + (7*i+13*visit)%250))
				requests.Add(2)
				at := index(b.login())
				// A drain that lasts since before the arrival is obeyed.
				if before != 0 && draining.Load() == before && at == int(before-1) {
					t.Errorf("a new client was sent to %s while it was draining", nodes[at].Name())
				}
				since := restarts[at].Load()
				working[at].Add(1)
				if stubborn {
					stayed[at].Add(1)
				}
				arrivals.RUnlock()
				for step := 0; stubborn || step < 20; step++ {
					select {
					case <-stop:
						working[at].Add(-1)
						return
					default:
					}
					node, status := whoami(b)
					if status == http.StatusUnauthorized && restarts[at].Load() > since {
						lost.Add(1)
						break // to log in again
					}
					if status != http.StatusOK || index(node) != at {
						t.Errorf("a session of %s was answered %d by %q", nodes[at].Name(), status, node)
						break
					}
				}
				working[at].Add(-1)
				if stubborn {
					stayed[at].Add(-1)
				}
				b.http.CloseIdleConnections()
			}
		})
	}
	defer func() {
		close(stop)
		load.Wait()
		t.Logf("%d requests, %d of %d expected sessions lost", requests.Load(), lost.Load(), expected.Load())
		if lost.Load() != expected.Load() {
			t.Errorf("%d sessions were lost, want the %d that were on a node when it restarted", lost.Load(), expected.Load())
		}
	}()
	for i, node := range nodes {
		eventually(t, "the load runs", func() bool { return requests.Load() > int64(200*(i+1)) && working[i].Load() > 0 })
		a.drain(node)
		arrivals.Lock() // Whoever came before the drain has logged in.
		draining.Store(int64(i + 1))
		arrivals.Unlock()
		newClients := fmt.Sprintf(`caddy_tigergraph_selections_total{affinity="client_ip",node="%s",service="gui"}`, node.Addr())
		before := a.metric(newClients)
		eventually(t, "those who leave have left "+node.Name(), func() bool { return working[i].Load() == stayed[i].Load() })
		eventually(t, "no request is in flight", func() bool { return a.node(node.Addr()).Requests == 0 })
		if after := a.metric(newClients); after != before {
			t.Errorf("%s was chosen for %s new clients before the drain, %s now", node.Name(), before, after)
		}
		expected.Add(stayed[i].Load())
		restarts[i].Add(1)
		node.Stop()
		if err := node.Start(); err != nil {
			t.Fatal(err)
		}
		eventually(t, "those who stayed have lost their session", func() bool { return lost.Load() == expected.Load() })
		draining.Store(0)
		a.ready(node)
	}
}
