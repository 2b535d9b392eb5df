package integration_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/tgnode"
)

// echoes are where each service says what it got.
var echoes = map[string]string{"gui": "/api/__echo", "restpp": "/restpp/__echo", "gsql": "/gsqlserver/__echo"}

// strangers returns clients at so many addresses, so that each node is the home of some.
func (e *edge) strangers(count byte) (list []*browser) {
	for host := range count {
		list = append(list, e.stranger(host+2))
	}
	return list
}

// awaitDown waits until services of a node are down, and returns how long it took
// since a moment.
func (a *admin) awaitDown(node *tgnode.Node, since time.Time, services ...string) time.Duration {
	a.t.Helper()
	eventually(a.t, fmt.Sprintf("%q of %s are down", services, node.Name()), func() bool {
		seen := a.node(node.Addr()).Services
		for _, service := range services {
			if seen[service].Verdict != "down" {
				return false
			}
		}
		return true
	})
	return time.Since(since)
}

func TestARefusingNodeIsDownAtOnceUnderLoad(t *testing.T) {
	for name, options := range map[string]string{"our transport": "", "Go's": "transport tigergraph {\ncompression on\n}\n"} {
		t.Run(name, func(t *testing.T) {
			_, nodes := startCluster(t, 3)
			e, a := newAdminEdge(t)
			e.load(cluster(nodes, options+"health_check {\ninterval 1m\n}"))
			a.allUp()
			clients := e.strangers(12)
			began := time.Now()
			nodes[0].Stop()
			ended := make(chan time.Duration, 1)
			go func() { ended <- a.awaitDown(nodes[0], began, "gui", "restpp", "gsql") }()
			for turn := 0; ; turn++ {
				select {
				case took := <-ended:
					t.Logf("down after %s", took)
					if took > 15*time.Second {
						t.Errorf("a node that refuses is down after %s", took)
					}
					if evidence := a.node(nodes[0].Addr()).Services["gui"].Evidence; evidence == nil || evidence.Count < 1 {
						t.Errorf("the evidence is %+v", evidence)
					}
					return
				default:
				}
				// One service is enough: dials speak for all.
				if got, err := clients[turn%len(clients)].try(http.MethodGet, echoes["gsql"], nil); err != nil || got.StatusCode != http.StatusOK {
					t.Fatalf("a request failed: %v, %v", got, err)
				}
			}
		})
	}
}

func TestOneSickPathTakesNoServiceDown(t *testing.T) {
	sick := map[tgnode.Service]tgnode.Fault{
		tgnode.GUI:    {Mode: tgnode.Dead, Path: "/api/sick"},
		tgnode.RESTPP: {Mode: tgnode.Close, Path: "/restpp/sick"},
		tgnode.GSQL:   tgnode.StatusFault(http.StatusGatewayTimeout),
	}
	late := sick[tgnode.GSQL]
	late.Path = "/gsqlserver/sick"
	sick[tgnode.GSQL] = late
	for _, interval := range []string{"100ms", "1m"} {
		t.Run(interval, func(t *testing.T) {
			_, nodes := startCluster(t, 3)
			for _, node := range nodes {
				for service, fault := range sick {
					node.SetFault(service, fault)
				}
			}
			e, a := newAdminEdge(t)
			e.load(cluster(nodes, "health_check {\ninterval "+interval+"\ntimeout 20s\n}"))
			a.allUp()
			clients, well := e.strangers(40), e.strangers(9) // enough for each node to have some
			whileItGoesOn(t, func(ctx context.Context, turn int) {
				for _, fault := range sick {
					_, _ = clients[turn%len(clients)].try(http.MethodPost, fault.Path, []byte("{}"))
				}
			}, func(turn int) {
				for service, path := range echoes {
					if got := well[turn%len(well)].get(path); got.StatusCode != http.StatusOK {
						t.Errorf("%s: %d", service, got.StatusCode)
					}
				}
			})
			// With nothing else to testify: the sick path is all that anybody asks for.
			isMet := func() bool {
				for _, node := range a.nodes() {
					for _, seen := range node.Services {
						if seen.Evidence == nil || seen.Evidence.Count < 3 {
							return false
						}
					}
				}
				return true
			}
			began := time.Now()
			for turn := 0; time.Since(began) < 2*time.Second || !isMet(); turn++ {
				if time.Since(began) > enough {
					t.Fatalf("not every service has met its sick path three times: %+v", a.nodes())
				}
				for _, fault := range sick {
					_, _ = clients[turn%len(clients)].try(http.MethodGet, fault.Path, nil)
				}
			}
			e.staysUp(t)
			for _, node := range a.nodes() {
				for service, seen := range node.Services {
					if seen.Verdict != "up" {
						t.Errorf("%s of %s is %s with the evidence %+v", service, node.Address, seen.Verdict, seen.Evidence)
					}
				}
			}
		})
	}
}

func TestASilentNodeIsDownInTime(t *testing.T) {
	const interval, timeout = 2 * time.Second, time.Second
	_, nodes := startCluster(t, 2)
	e, a := newAdminEdge(t)
	e.load(cluster(nodes, fmt.Sprintf("health_check {\ninterval %s\ntimeout %s\n}", interval, timeout)))
	a.allUp()
	// The contract, the interval's jitter, and what a busy machine adds.
	const most = interval*3/2 + timeout + interval/5 + 2*time.Second
	for attempt := 1; ; attempt++ {
		began := time.Now()
		nodes[0].SetFault(tgnode.All, tgnode.Fault{Mode: tgnode.Hang})
		took := a.awaitDown(nodes[0], began, "gui", "restpp", "gsql")
		t.Logf("down after %s", took)
		if took <= most {
			break
		}
		if attempt == 3 {
			t.Fatalf("three times a node that is silent was down after more than %s, at last after %s", most, took)
		}
		nodes[0].ClearFaults()
		a.allUp()
	}
	if seen := a.node(nodes[1].Addr()); seen.Services["gui"].Verdict != "up" {
		t.Errorf("the other node is %s", seen.Services["gui"].Verdict)
	}
}

func TestFailuresOfRequestsAreLoggedOnceAndCountedAll(t *testing.T) {
	const requests = 20
	_, nodes := startCluster(t, 1)
	nodes[0].SetFault(tgnode.RESTPP, tgnode.Fault{Mode: tgnode.Dead, Path: "/restpp/sick"})
	e, a := newAdminEdge(t)
	e.load(cluster(nodes, calm))
	a.allUp()
	client := e.newBrowser(2)
	for range requests {
		if got := client.get("/restpp/sick"); got.StatusCode != http.StatusBadGateway {
			t.Fatalf("a sick path is answered %d", got.StatusCode)
		}
	}
	if evidence := a.node(nodes[0].Addr()).Services["restpp"].Evidence; evidence == nil || evidence.Count != requests {
		t.Errorf("the evidence is %+v", evidence)
	}
	told := e.logs("requests fail on a node")
	if len(told) != 1 {
		t.Fatalf("%d failures are told of %d times: %q", requests, len(told), told)
	}
	for _, part := range []string{`"level":"warn"`, fmt.Sprintf(`"node":%q`, nodes[0].Addr()), `"service":"restpp"`, "502"} {
		if !strings.Contains(told[0], part) {
			t.Errorf("the log lacks %s: %s", part, told[0])
		}
	}
}
