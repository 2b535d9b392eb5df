package integration_test

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/tgnode"
)

// alwaysOpen is a circuit breaker that lets nothing through.
type alwaysOpen struct{}

func init() { caddy.RegisterModule(alwaysOpen{}) }

func (alwaysOpen) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.reverse_proxy.circuit_breakers.always_open",
		New: func() caddy.Module { return new(alwaysOpen) },
	}
}

func (alwaysOpen) OK() bool                        { return false }
func (alwaysOpen) RecordMetric(int, time.Duration) {}

// loadWithBreaker loads a site whose proxy has that circuit breaker, which no Caddyfile
// can say.
func (e *edge) loadWithBreaker(directives string) {
	e.t.Helper()
	const proxy = `"handler":"reverse_proxy"`
	config := e.adapt("http://"+e.address, directives)
	if !strings.Contains(config, proxy) {
		e.t.Fatalf("no proxy in %s", config)
	}
	config = strings.ReplaceAll(config, proxy, `"circuit_breaker":{"type":"always_open"},`+proxy)
	if err := caddy.Load([]byte(config), true); err != nil {
		e.t.Fatal(err)
	}
}

func TestOneServiceDownEverywhereCostsNoOther(t *testing.T) {
	for _, known := range []string{"at once", "once it is known"} {
		t.Run(known, func(t *testing.T) {
			_, nodes := startCluster(t, 3)
			for _, node := range nodes {
				node.SetFault(tgnode.RESTPP, tgnode.Fault{Mode: tgnode.Dead})
			}
			e, a := newAdminEdge(t)
			e.load(cluster(nodes, quick))
			if known != "at once" {
				for _, node := range nodes {
					a.awaitDown(node, time.Now(), "restpp")
				}
			}
			clients := e.strangers(9)
			user := e.newBrowser(100)
			home := user.login()
			whileItGoesOn(t, func(_ context.Context, turn int) {
				if got, err := clients[turn%len(clients)].try(http.MethodGet, "/restpp/query/social/friends", nil); err == nil && got.StatusCode != http.StatusBadGateway {
					t.Errorf("RESTPP answers %d %s, want the node's 502", got.StatusCode, got.body)
				}
			}, func(turn int) {
				newcomer := e.newBrowser(byte(110 + turn))
				for _, path := range []string{"/", "/api/ping", "/gsqlserver/gsql/version", "/gsqlserver/__echo"} {
					if got := newcomer.get(path); got.StatusCode != http.StatusOK {
						t.Errorf("%s: %d %s", path, got.StatusCode, got.body)
					}
				}
				if node, status := user.whoami(); node != home || status != http.StatusOK {
					t.Errorf("the user of %s is answered %d by %q", home, status, node)
				}
			})
		})
	}
}

// The Informant, which metrics come from, is no part of what the application server is
// asked for.
func TestDeadInformantsCostNobodyElse(t *testing.T) {
	_, nodes := startCluster(t, 3)
	for _, node := range nodes {
		node.SetFault(tgnode.Informant, tgnode.Fault{Mode: tgnode.Dead})
	}
	e := newEdge(t)
	e.loadTLS(cluster(nodes, calm))
	i := newInnocents(t, e)
	monitors := []*browser{e.newBrowserTLS(201), e.newBrowserTLS(202), e.newBrowserTLS(203)}
	whileItGoesOn(t, func(_ context.Context, turn int) {
		if got, err := monitors[turn%len(monitors)].try(http.MethodGet, "/informant/metrics", nil); err == nil && got.StatusCode != http.StatusBadGateway {
			t.Errorf("the metrics are answered %d", got.StatusCode)
		}
	}, i.ask)
	e.staysUp(t)
}

func TestNodesThatAreBackAreUsedAtOnce(t *testing.T) {
	for name, options := range map[string]string{
		"the defaults":            "",
		"checks that are slow":    "health_check {\ninterval 1m\n}",
		"no checks":               "health_check off",
		"passive checks as well":  "fail_duration 1m",
		"a proxy that waits less": "lb_retries 1\nhealth_check {\ninterval 1m\n}",
	} {
		t.Run(name, func(t *testing.T) {
			_, nodes := startCluster(t, 3)
			e := newEdge(t)
			e.load(cluster(nodes, options))
			clients := e.strangers(12)
			for _, client := range clients {
				for _, path := range echoes {
					client.get(path)
				}
			}
			for _, node := range nodes {
				node.Stop()
			}
			var load sync.WaitGroup
			refused := time.Now().Add(time.Second)
			for _, client := range clients {
				load.Go(func() {
					for time.Now().Before(refused) {
						for _, path := range echoes {
							if got, err := client.try(http.MethodPost, path, []byte("{}")); err == nil && got.StatusCode < http.StatusInternalServerError {
								t.Errorf("answered %d without a node", got.StatusCode)
							}
						}
					}
				})
			}
			load.Wait()
			for _, node := range nodes {
				if err := node.Start(); err != nil {
					t.Fatal(err)
				}
			}
			for _, client := range clients {
				for service, path := range echoes {
					for _, method := range []string{http.MethodPost, http.MethodGet} {
						if got := client.do(method, path, nil); got.StatusCode != http.StatusOK {
							t.Fatalf("%s is answered %d %s although its node is back", service, got.StatusCode, got.body)
						}
					}
				}
			}
		})
	}
}

// whatUsersConfigure are checks of Caddy's own that are against every node.
func whatUsersConfigure() map[string]func(t *testing.T, e *edge, nodes []*tgnode.Node, options string) {
	accuse := func(t *testing.T, e *edge, nodes []*tgnode.Node) {
		for _, node := range nodes {
			node.SetFault(tgnode.GUI, tgnode.Fault{Mode: tgnode.Close, Path: "/api/broken"})
		}
		clients := e.strangers(40)
		counted := func(node *tgnode.Node) bool {
			return slices.ContainsFunc(visitsOf(node), func(r tgnode.Request) bool { return r.Target == "/api/broken" })
		}
		for _, node := range nodes {
			for turn := 0; !counted(node); turn++ {
				if turn > 10*len(clients) {
					t.Fatalf("no request reaches %s", node.Name())
				}
				clients[turn%len(clients)].do(http.MethodPost, "/api/broken", []byte("{}"))
			}
		}
	}
	return map[string]func(t *testing.T, e *edge, nodes []*tgnode.Node, options string){
		"passive checks": func(t *testing.T, e *edge, nodes []*tgnode.Node, options string) {
			e.load(cluster(nodes, options+"\nfail_duration 10m\nmax_fails 1"))
			accuse(t, e, nodes)
		},
		"a status that is unhealthy": func(t *testing.T, e *edge, nodes []*tgnode.Node, options string) {
			e.load(cluster(nodes, options+"\nfail_duration 10m\nunhealthy_status 401"))
			for _, client := range e.strangers(40) {
				client.get("/api/nonesuch")
			}
		},
		"a circuit breaker": func(_ *testing.T, e *edge, nodes []*tgnode.Node, options string) {
			e.loadWithBreaker(cluster(nodes, options))
		},
	}
}

func TestChecksOfCaddysNeverEmptyThePool(t *testing.T) {
	for name, load := range whatUsersConfigure() {
		t.Run(name, func(t *testing.T) {
			_, nodes := startCluster(t, 3)
			e, a := newAdminEdge(t)
			load(t, e, nodes, quick)
			a.allUp()
			user := e.newBrowser(100)
			home := user.login()
			for _, client := range e.strangers(12) {
				for service, path := range echoes {
					if got := client.get(path); got.StatusCode != http.StatusOK {
						t.Fatalf("%s is answered %d %s", service, got.StatusCode, got.body)
					}
				}
			}
			for range 10 { // a pin is kept
				if node, status := user.whoami(); node != home || status != http.StatusOK {
					t.Fatalf("the user of %s is answered %d by %q", home, status, node)
				}
			}
			if warnings := e.logs("requests are sent to them all the same"); len(warnings) == 0 || strings.Contains(warnings[0], "down by its health checks") {
				t.Errorf("the log says %q", warnings)
			}
		})
	}
}

// What is down by its verdict comes after what is up, whatever Caddy's checks say.
func TestAnOpenPoolPrefersWhatIsUp(t *testing.T) {
	_, nodes := startCluster(t, 3)
	e, a := newAdminEdge(t)
	e.loadWithBreaker(cluster(nodes, "lb_retries 0\nheader_down X-Affinity {http.tigergraph.affinity}\n"+quick))
	a.allUp()
	nodes[0].Stop()
	a.awaitDown(nodes[0], time.Now(), "gui", "restpp", "gsql")
	for _, client := range e.strangers(20) {
		for service, path := range echoes {
			got := client.get(path)
			if got.StatusCode != http.StatusOK {
				t.Fatalf("%s is answered %d %s", service, got.StatusCode, got.body)
			}
			if affinity := got.Header.Get("X-Affinity"); affinity != "fail_open" {
				t.Errorf("%s: the affinity is called %q", service, affinity)
			}
		}
	}
}

func TestOnlyAClosedPoolIsEmpty(t *testing.T) {
	for name, load := range whatUsersConfigure() {
		t.Run(name, func(t *testing.T) {
			_, nodes := startCluster(t, 3)
			e, a := newAdminEdge(t)
			load(t, e, nodes, "fail_closed\n"+quick)
			a.allUp()
			client := e.newBrowser(100)
			for service, path := range echoes {
				if got := client.get(path); got.StatusCode != http.StatusServiceUnavailable || got.Header.Get("Retry-After") == "" || len(got.Cookies()) > 0 {
					t.Errorf("%s is answered %d %v", service, got.StatusCode, got.Header)
				}
			}
		})
	}
}

// A node whose nginx does not know the routes is of no use, and costs nobody anything.
func TestANginxWithoutRoutesGetsNothing(t *testing.T) {
	_, nodes := startCluster(t, 3)
	gone := tgnode.Refusal(http.StatusNotFound, "")
	nodes[0].SetFault(tgnode.All, gone)
	e, a := newAdminEdge(t)
	e.load(cluster(nodes, quick))
	a.awaitDown(nodes[0], time.Now(), "gui", "restpp")
	eventually(t, "it is known that the route to GSQL is missing", func() bool {
		seen := a.node(nodes[0].Addr()).Services["gsql"]
		return seen.Verdict == "unknown" && seen.Advice != ""
	})
	for _, client := range e.strangers(20) {
		for _, service := range []string{"gui", "restpp"} {
			if got := client.get(echoes[service]); got.StatusCode != http.StatusOK {
				t.Errorf("%s is answered %d", service, got.StatusCode)
			}
		}
	}
	// Where all are so, their own answer says more than a 503 of ours.
	for _, node := range nodes {
		node.SetFault(tgnode.All, gone)
	}
	for _, node := range nodes {
		a.awaitDown(node, time.Now(), "gui", "restpp")
	}
	for service, path := range echoes {
		if got := e.stranger(2).get(path); got.StatusCode != http.StatusNotFound {
			t.Errorf("%s is answered %d", service, got.StatusCode)
		}
	}
}
