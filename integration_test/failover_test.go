package integration_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/tgnode"
)

func TestADeadNodesClientsMoveOnceAndStay(t *testing.T) {
	cluster, nodes := startCluster(t, 3)
	e := newEdge(t)
	e.load(proxyTo(nodes, "tigergraph", "lb_retries 2"))
	b := e.newBrowser(2)
	first := b.login()
	cookie := b.ourCookie()
	cluster.Node(first).Stop()

	a := b.get("/api/__echo")
	second := a.served(t)
	if second == first {
		t.Fatalf("the dead node %s answered", first)
	}
	if value, times := a.cookie("TigerGraphNode"); times != 1 || value == cookie {
		t.Errorf("the cookie was set %d times, to %q (before: %q)", times, value, cookie)
	}
	if node := b.login(); node != second {
		t.Errorf("the new login is on %s, want %s", node, second)
	}
	for range 2 {
		for range 10 {
			a := b.get("/api/auth/whoami")
			if _, times := a.cookie("TigerGraphNode"); a.StatusCode != http.StatusOK || times != 0 || b.pinnedTo() != second {
				t.Errorf("%d from %s, want %s; the cookie was set %d times", a.StatusCode, b.pinnedTo(), second, times)
			}
		}
		if err := cluster.Node(first).Start(); err != nil { // and it is back
			t.Fatal(err)
		}
	}
}

func TestOtherClientsDoNotMoveWhenANodeDies(t *testing.T) {
	cluster, nodes := startCluster(t, 3)
	e := newEdge(t)
	e.load(proxyTo(nodes, "tigergraph", "lb_retries 2"))
	var browsers []*browser
	var homes []string
	for host := byte(2); host < 32; host++ {
		b := e.newBrowser(host)
		browsers, homes = append(browsers, b), append(homes, b.login())
	}
	cluster.Node(homes[0]).Stop()
	for i, b := range browsers {
		node, status := b.whoami()
		switch {
		case homes[i] == homes[0]:
			if now := b.pinnedTo(); now == homes[0] {
				t.Errorf("a browser is still sent to the dead %s", now)
			}
		case node != homes[i] || status != http.StatusOK:
			t.Errorf("a browser of %s was moved to %q: %d", homes[i], node, status)
		}
	}
}

func TestAGetIsRetriedElsewhereWhenItsConnectionBreaks(t *testing.T) {
	for name, mode := range map[string]tgnode.Mode{"closed": tgnode.Close, "reset": tgnode.Reset, "reset at once": tgnode.ResetEarly} {
		t.Run(name, func(t *testing.T) {
			cluster, nodes := startCluster(t, 3)
			e := newEdge(t)
			e.load(proxyTo(nodes, "tigergraph", "lb_retries 2"))
			b := e.newBrowser(2)
			first := b.login()
			cluster.Node(first).SetFault(tgnode.GUI, tgnode.Fault{Mode: mode})
			a := b.get("/api/__echo")
			second := a.served(t)
			if _, times := a.cookie("TigerGraphNode"); second == first || times != 1 {
				t.Errorf("%s answered after %s; the cookie was set %d times", second, first, times)
			}
			cluster.Node(first).ClearFaults()
			if node := b.pinnedTo(); node != second {
				t.Errorf("then the browser went to %s, want %s", node, second)
			}
		})
	}
}

func TestWithEveryNodeDeadTheErrorIsPromptAndHasNoCookie(t *testing.T) {
	_, nodes := startCluster(t, 3)
	e := newEdge(t)
	// The fourth time the policy is asked it has no node.
	e.load(proxyTo(nodes, "tigergraph", "lb_retries 3"))
	fresh, pinned := e.newBrowser(2), e.newBrowser(3)
	home := pinned.login()
	for _, node := range nodes {
		node.Stop()
	}
	for _, b := range []*browser{fresh, pinned} {
		cookie := b.ourCookie()
		for _, method := range []string{http.MethodGet, http.MethodPost} {
			a := b.do(method, "/api/ping", nil)
			if a.StatusCode != http.StatusBadGateway && a.StatusCode != http.StatusServiceUnavailable {
				t.Errorf("%d", a.StatusCode)
			}
			if method == http.MethodGet && len(a.Header["Set-Cookie"]) != 0 {
				t.Errorf("the error set %q", a.Header["Set-Cookie"])
			}
		}
		if b.ourCookie() != cookie {
			t.Errorf("the cookie changed from %q to %q", cookie, b.ourCookie())
		}
	}
	for _, node := range nodes {
		if err := node.Start(); err != nil {
			t.Fatal(err)
		}
	}
	if node := pinned.login(); node != home {
		t.Errorf("with all nodes back the browser of %s is sent to %s", home, node)
	}
	fresh.login()
}

func TestARequestWaitsForANodeToComeBack(t *testing.T) {
	_, nodes := startCluster(t, 2)
	e := newEdge(t)
	e.globals = strings.Replace(e.globals, "level INFO", "level DEBUG", 1)
	e.load(proxyTo(nodes, "tigergraph", "lb_try_duration 30s", "lb_try_interval 20ms", "verbose_logs"))
	b := e.newBrowser(2)
	home := b.login()
	for _, node := range nodes {
		node.Stop()
	}
	answers := make(chan *answer, 1)
	go func() {
		defer close(answers)
		if a, err := b.try(http.MethodGet, "/api/__echo", nil); err == nil {
			answers <- a
		}
	}()
	eventually(t, "the request has been tried with every node, more than once", func() bool {
		select {
		case a := <-answers:
			t.Fatalf("answered without a node: %v", a)
		default:
		}
		return len(e.logs(`"msg":"retrying"`)) > 2*len(nodes)
	})
	for _, node := range nodes {
		if node.Name() != home {
			if err := node.Start(); err != nil {
				t.Fatal(err)
			}
		}
	}
	a := <-answers
	if a == nil || a.StatusCode != http.StatusOK {
		t.Fatalf("the request failed although it could wait: %v", a)
	}
	if _, times := a.cookie("TigerGraphNode"); a.served(t) == home || times != 1 {
		t.Errorf("%s answered, the cookie was set %d times", a.served(t), times)
	}
}

func TestAFullNodeIsWaitedForByItsOwnClientsOnly(t *testing.T) {
	cluster, nodes := startCluster(t, 3)
	for name, options := range map[string][]string{
		"at once":             {"unhealthy_request_count 1"},
		"for as long as told": {"unhealthy_request_count 1", "lb_try_duration 30s", "lb_try_interval 20ms"},
	} {
		t.Run(name, func(t *testing.T) {
			e := newEdge(t)
			e.load(proxyTo(nodes, "tigergraph", options...))
			b := e.newBrowser(2)
			home := b.login()
			cookie := b.ourCookie()
			tab := e.newBrowser(2)
			tab.http.Jar = b.http.Jar
			release := occupy(t, cluster.Node(home), tab)

			answers := make(chan *answer, 1)
			go func() {
				defer close(answers)
				if a, err := b.try(http.MethodGet, "/api/auth/whoami", nil); err == nil {
					answers <- a
				}
			}()
			if len(options) == 1 {
				a := <-answers
				if a == nil || a.StatusCode != http.StatusServiceUnavailable || len(a.Header["Set-Cookie"]) != 0 {
					t.Errorf("with its node full, the pinned browser got %v", a)
				}
			}
			for host := byte(10); host < 30; host++ {
				other := e.newBrowser(host)
				if node := other.pinnedTo(); node == home {
					t.Errorf("a new browser was sent to the full %s", node)
				}
			}
			select {
			case a := <-answers:
				if len(options) > 1 {
					t.Errorf("the pinned browser did not wait: %v", a)
				}
			default:
			}
			release()
			if len(options) > 1 {
				if a := <-answers; a == nil || a.StatusCode != http.StatusOK || len(a.Header["Set-Cookie"]) != 0 {
					t.Errorf("when its node had a place, the pinned browser got %v", a)
				}
			}
			eventually(t, "the node has a place", func() bool { _, status := b.whoami(); return status == http.StatusOK })
			if node, _ := b.whoami(); node != home || b.ourCookie() != cookie {
				t.Errorf("the browser of %s was moved to %s", home, node)
			}
		})
	}
}

// Caddy's passive checks count a node's failures over all of its services.
func TestADeadServiceCostsNobodyTheSessionWithAnother(t *testing.T) {
	_, nodes := startCluster(t, 3)
	e := newEdge(t)
	e.load(cluster(nodes, ""))
	user := e.newBrowser(2)
	home := user.login()
	node := nodes[0]
	for _, candidate := range nodes {
		if candidate.Name() == home {
			node = candidate
		}
	}
	eventually(t, "the node is found to be up", func() bool {
		return node.Count(tgnode.GUI) > 2 && node.Count(tgnode.RESTPP) > 0 && node.Count(tgnode.GSQL) > 0
	})
	node.SetFault(tgnode.RESTPP, tgnode.Fault{Mode: tgnode.Dead})
	node.SetFault(tgnode.GSQL, tgnode.Fault{Mode: tgnode.Dead})
	failed := make(map[string]int)
	for range 100 { // far more than the passive checks bear, before the others know
		for _, path := range []string{"/restpp/query/social/friends", "/gsqlserver/gsql/help"} {
			if user.get(path).StatusCode == http.StatusBadGateway {
				failed[path]++
			}
		}
		if now, status := user.whoami(); now != home || status != http.StatusOK {
			t.Fatalf("after %v failures the session of %s was sent to %q: %d", failed, home, now, status)
		}
	}
	if len(failed) < 2 {
		t.Errorf("what failed was %v, want both services", failed)
	}
}
