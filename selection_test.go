package tigergraph_test

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"sync"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	tigergraph "github.com/caddy-tigergraph/caddy-tigergraph"
)

func TestThePlaceholdersSayWhichNodeAndWhy(t *testing.T) {
	h := provisionHandler(t, pinning, 3)
	node := h.Upstreams[1].Dial
	client := elsewhere(t, h, node)
	check := func(c *caller, node, service, why string) {
		t.Helper()
		if n, s, w := c.placeholder("node"), c.placeholder("service"), c.placeholder("affinity"); n != node || s != service || w != why {
			t.Errorf("the placeholders are %s %s %s, want %s %s %s", n, s, w, node, service, why)
		}
	}
	c := from(client, "/gsql/v1/statements")
	check(c, "unset", "unset", "unset")
	check(c, c.ask(h), "gsql", "client_ip")
	check(c, c.ask(h), "gsql", "failover")
	check(c, c.ask(h), "gsql", "failover")

	c = from(client, "/", "Cookie", ourName+"="+token("new", 0, node))
	check(c, c.ask(h), "gui", "cookie")
	check(c, c.ask(h), "gui", "failover")

	c = from(client, "/restpp/echo")
	check(c, c.ask(provisionHandler(t, oursByNothing, 3)), "restpp", "spread")
	check(c, c.ask(h), "restpp", "spread") // another proxy, the same request
	check(c, c.ask(h), "restpp", "failover")
}

func TestTheGraphAndTheQueryAreAskedForWithAndWithoutTheMiddleware(t *testing.T) {
	value := func(c *caller, name string) string {
		replacer := c.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
		value, known := replacer.GetString("http.tigergraph." + name)
		if !known {
			t.Errorf("%s: nobody knows the %s", c.URL, name)
		}
		return value
	}
	h := provisionHandler(t, pinning, 3)
	for target, want := range map[string]string{
		"/restpp/query/social/friends":  "social friends",
		"/restpp/graph/social/vertices": "social ",
		"/restpp/echo":                  " ",
		"/gsql/v1/schema?graph_name=g":  " ",
		"/":                             " ",
	} {
		c := from("198.51.100.7", target)
		for range 3 { // retries change nothing of it
			c.ask(h)
			if got := value(c, "graph") + " " + value(c, "query"); got != want {
				t.Errorf("the policy alone says %q of %s, want %q", got, target, want)
			}
		}
		c = from("198.51.100.7", target)
		next := caddyhttp.HandlerFunc(func(w http.ResponseWriter, r *http.Request) error {
			h.LoadBalancing.SelectionPolicy.Select(h.Upstreams, r, w)
			return nil
		})
		if err := new(tigergraph.Handler).ServeHTTP(c.writer, c.Request, next); err != nil {
			t.Error(err)
		}
		if got := value(c, "graph") + " " + value(c, "query"); got != want {
			t.Errorf("with the middleware they say %q of %s, want %q", got, target, want)
		}
	}
}

func TestChoosingByCookieOrAddressAllocatesNothing(t *testing.T) {
	for name, test := range map[string]struct{ policy, cookie string }{
		"valid cookie": {pinning, ourName + "=" + token("new", 0, "10.0.0.2:14240")},
		"bogus cookie": {pinning, ourName + "=bogus"},
		"no cookie":    {pinning, ""},
		"address":      {oursByClientIP, ""},
	} {
		t.Run(name, func(t *testing.T) {
			for _, path := range []string{"/api/ping", "/restpp/query/g/q", "/gsqlserver/gsql/command"} {
				h := provisionHandler(t, test.policy, 3)
				s := newTurnstile(path)
				line := make([]string, 1)
				// The response's own slice of cookies is not the choice's.
				settable := name == "valid cookie" || name == "address" || path != "/api/ping"
				allocations := testing.AllocsPerRun(1000, func() {
					if test.cookie != "" {
						line[0] = test.cookie
						s.Header["Cookie"] = line
					}
					if s.ask(h) == "" {
						t.Fatal("no node")
					}
					s.reset()
				})
				if allowed := map[bool]float64{true: 0, false: 1}[settable]; allocations > allowed {
					t.Errorf("%s: %v allocations", path, allocations)
				}
			}
		})
	}
}

// Static pools never change; dynamic ones may with each request.
func TestAChangingPoolKeepsEveryPromiseUnderConcurrency(t *testing.T) {
	for name, policy := range everyAffinity {
		t.Run(name, func(t *testing.T) {
			h := provisionHandler(t, policy, 3)
			var group sync.WaitGroup
			for worker := range uint64(8) {
				group.Go(func() {
					random := rand.New(rand.NewPCG(3, worker))
					for round := range 300 {
						pool := make(reverseproxy.UpstreamPool, 0, 12)
						for _, i := range random.Perm(12)[:1+random.IntN(12)] {
							pool = append(pool, &reverseproxy.Upstream{
								Host: new(reverseproxy.Host),
								Dial: fmt.Sprintf("10.0.%d.%d:14240", round/100, i+1),
							})
						}
						pinned := pool[random.IntN(len(pool))].Dial
						c := from("198.51.100.7", "/", "Cookie", ourName+"="+token("new", 0, pinned), "X-User", fmt.Sprint(round))
						first := c.askFor(h, pool)
						if name == "cookie" && first != pinned {
							t.Errorf("the cookie of %s led to %s", pinned, first)
						}
						tried := map[string]bool{first: true}
						random.Shuffle(len(pool), func(i, j int) { pool[i], pool[j] = pool[j], pool[i] })
						for range len(pool) - 1 {
							tried[c.askFor(h, pool)] = true
						}
						if len(tried) != len(pool) || tried[""] {
							t.Errorf("%d attempts reached %d nodes", len(pool), len(tried))
						}
						if left := c.askFor(h, pool); left != "" {
							t.Errorf("after all of them %s is left", left)
						}
					}
				})
			}
			group.Wait()
		})
	}
}
