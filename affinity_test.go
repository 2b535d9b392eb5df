package tigergraph_test

import (
	"fmt"
	"math"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
)

var everyAffinity = map[string]string{
	"cookie":    pinning,
	"client_ip": oursByClientIP,
	"header":    oursByHeader,
	"none":      oursByNothing,
}

func TestWithoutAResponseWriterEveryAffinityChoosesAndNoneSetsACookie(t *testing.T) {
	for name, policy := range everyAffinity {
		t.Run(name, func(t *testing.T) {
			h := provisionHandler(t, policy, 3)
			selector := h.LoadBalancing.SelectionPolicy
			node := h.Upstreams[1]
			ours := ourName + "=" + token("new", 0, node.Dial)
			for _, path := range []string{"/", "/restpp/echo", "/gsqlserver/gsql/login"} {
				c := from("198.51.100.7", path, "Cookie", "a=1; "+ours, "X-User", "ann")
				first := selector.Select(h.Upstreams, c.Request, nil)
				if name == "cookie" && (first != node || c.Header.Get("Cookie") != "a=1") {
					t.Errorf("chose %s and left the cookies %q", dialOf(first), c.Header["Cookie"])
				}
				if name != "cookie" && c.Header.Get("Cookie") != "a=1; "+ours {
					t.Errorf("changed the cookies to %q", c.Header["Cookie"])
				}
				seen := map[*reverseproxy.Upstream]bool{first: true}
				for range 2 {
					seen[selector.Select(h.Upstreams, c.Request, nil)] = true
				}
				if len(seen) != 3 || seen[nil] {
					t.Errorf("three attempts chose %v", seen)
				}
				if left := selector.Select(h.Upstreams, c.Request, nil); left != nil {
					t.Errorf("the fourth attempt chose %s", left.Dial)
				}
				if again := selector.Select(h.Upstreams, c.Request, nil); again == nil {
					t.Error("the fifth attempt chose nothing")
				}
			}
		})
	}
}

func TestOnlyTheCookieAffinityKnowsCookies(t *testing.T) {
	for name, policy := range everyAffinity {
		if name == "cookie" {
			continue
		}
		t.Run(name, func(t *testing.T) {
			h := provisionHandler(t, policy, 3)
			line := "a=1; " + ourName + "=" + token("new", 0, h.Upstreams[0].Dial)
			homes := make(map[string]bool)
			for host := range 60 {
				c := from(fmt.Sprintf("198.51.100.%d", host), "/", "Cookie", line, "X-User", fmt.Sprint(host))
				homes[c.ask(h)] = true
				c.ask(h)
				if len(c.set()) != 0 || c.Header.Get("Cookie") != line {
					t.Errorf("set %q, left %q", c.set(), c.Header["Cookie"])
				}
			}
			if len(homes) != 3 {
				t.Errorf("sixty clients use the nodes %v", homes)
			}
		})
	}
}

func TestTheHeaderAffinityGoesByTheValueOrElseByTheAddress(t *testing.T) {
	h, byAddress := provisionHandler(t, oursByHeader, 3), provisionHandler(t, oursByClientIP, 3)
	nodes := make(map[string]bool)
	for user := range 60 {
		value := fmt.Sprintf("user%d", user)
		first := from("198.51.100.7", "/", "X-User", value)
		node := first.ask(h)
		nodes[node] = true
		if why := first.placeholder("affinity"); why != "header" {
			t.Errorf("the affinity is %s", why)
		}
		if other := from("203.0.113.99", "/restpp/echo", "X-User", value).ask(h); other != node {
			t.Errorf("%s is sent to %s and %s", value, node, other)
		}
		client := fmt.Sprintf("198.51.100.%d", user)
		if with, without := from(client, "/").ask(byAddress), from(client, "/").ask(h); with != without {
			t.Errorf("%s is sent to %s, without the header to %s", client, with, without)
		}
	}
	if len(nodes) != 3 {
		t.Errorf("sixty users use the nodes %v", nodes)
	}
	// A header_up may take the header away before the retry.
	c := from("198.51.100.7", "/", "X-User", "ann")
	var want, got []string
	for range 3 {
		want = append(want, c.ask(h))
	}
	c = from("198.51.100.7", "/", "X-User", "ann")
	for range 3 {
		got = append(got, c.ask(h))
		c.Header.Del("X-User")
	}
	if !slices.Equal(got, want) {
		t.Errorf("without its header the retries went to %v, want %v", got, want)
	}
}

func TestTheAddressCountsUpToItsPrefix(t *testing.T) {
	for name, test := range map[string]struct {
		options string
		a, b    string
		same    bool // for every i; otherwise for some it is not
	}{
		"an IPv4 address counts whole":            {``, "198.51.100.%d", "198.51.101.%[1]d", false},
		"IPv4 /24 shares a node":                  {`,"ipv4_prefix":24`, "198.51.%d.7", "198.51.%[1]d.201", true},
		"IPv4 /24 tells networks apart":           {`,"ipv4_prefix":24`, "198.51.%d.7", "198.52.%[1]d.7", false},
		"IPv6 /64 shares a node":                  {``, "2001:db8:0:%x::1", "2001:db8:0:%[1]x:ffff::2", true},
		"IPv6 /64 tells networks apart":           {``, "2001:db8:0:%x::1", "2001:db8:1:%[1]x::1", false},
		"IPv6 /128 counts whole":                  {`,"ipv6_prefix":128`, "2001:db8::%x", "2001:db8::1:%[1]x", false},
		"IPv4-mapped IPv6 is IPv4":                {``, "198.51.100.%d", "::ffff:198.51.100.%[1]d", true},
		"IPv4-mapped IPv6 is IPv4, with a prefix": {`,"ipv4_prefix":24`, "198.51.%d.1", "::ffff:198.51.%[1]d.9", true},
		"a port does not count":                   {``, "198.51.100.%d", "198.51.100.%[1]d:4711", true},
		"an address with a zone is one address":   {``, "fe80::%x", "fe80::%[1]x", true},
	} {
		t.Run(name, func(t *testing.T) {
			h := provisionHandler(t, `{"policy":"tigergraph","affinity":"client_ip"`+test.options+`}`, 3)
			differ := 0
			for i := 1; i < 60; i++ {
				if from(fmt.Sprintf(test.a, i), "/").ask(h) != from(fmt.Sprintf(test.b, i), "/").ask(h) {
					differ++
				}
			}
			if test.same && differ > 0 || !test.same && differ == 0 {
				t.Errorf("%d of 59 clients were told apart", differ)
			}
		})
	}
}

func TestAClientWithoutAnAddressIsServed(t *testing.T) {
	for name, policy := range everyAffinity {
		h := provisionHandler(t, policy, 3)
		for _, client := range []string{"", "@", "not an address", "::1%lo", "[::1]:80"} {
			c := from(client, "/")
			for range 2 {
				if c.ask(h) == "" {
					t.Errorf("%s: no node for %q", name, client)
				}
			}
		}
		bare := httptest.NewRequest(http.MethodGet, "/", nil) // no variables, no replacer
		if h.LoadBalancing.SelectionPolicy.Select(h.Upstreams, bare, nothing{make(http.Header)}) == nil {
			t.Errorf("%s: no node in a bare context", name)
		}
		if h.LoadBalancing.SelectionPolicy.Select(nil, bare, nil) != nil {
			t.Errorf("%s: a node of an empty pool", name)
		}
	}
}

func TestTwoEdgesAgreeOnTenThousandClientsInAnyOrderOfTheNodes(t *testing.T) {
	t.Setenv("TIGERGRAPH_TEST_NODE", "10.0.0.4:14240")
	one, err := tryProvision(t, pinning, "10.0.0.1:14240", "10.0.0.2:14240", "10.0.0.3:14240", "10.0.0.4:14240", "10.0.0.5:14240")
	if err != nil {
		t.Fatal(err)
	}
	two, err := tryProvision(t, pinning, "10.0.0.5:14240", "10.0.0.3:14240", "{env.TIGERGRAPH_TEST_NODE}", "10.0.0.1:14240", "10.0.0.2:14240")
	if err != nil {
		t.Fatal(err)
	}
	written := func(dial string) string {
		return strings.ReplaceAll(dial, "{env.TIGERGRAPH_TEST_NODE}", "10.0.0.4:14240")
	}
	for _, client := range randomAddresses(10_000) {
		here, there := from(client, "/"), from(client, "/")
		node, other := here.ask(one), there.ask(two)
		if node != written(other) {
			t.Fatalf("%s belongs to %s and to %s", client, node, other)
		}
		value, _ := here.ours()
		if theirs, _ := there.ours(); value != theirs {
			t.Fatalf("the edges' cookies for %s are %s and %s", node, value, theirs)
		}
		// And each honours the other's, for a client whose home is another node.
		back := from("192.0.2.1", "/", "Cookie", ourName+"="+value)
		if got := written(back.ask(two)); got != node || len(back.set()) != 0 {
			t.Fatalf("the cookie of %s led to %s on the other edge, which set %q", node, got, back.set())
		}
	}
}

func TestClientsSpreadEvenlyAndALostNodeMovesOnlyItsOwn(t *testing.T) {
	const clients = 300_000
	h := provisionHandler(t, oursByClientIP, 3)
	counts := make(map[string]int)
	moved := 0
	s := newTurnstile("/")
	remaining := h.Upstreams[:2]
	lost := h.Upstreams[2].Dial
	addresses := randomAddresses(clients)
	homes := make([]string, clients)
	for i, client := range addresses {
		s.vars[caddyhttp.ClientIPVarKey] = client
		homes[i] = s.ask(h)
		counts[homes[i]]++
		s.reset()
	}
	for i, client := range addresses {
		s.vars[caddyhttp.ClientIPVarKey] = client
		if now := s.askFor(h, remaining); now != homes[i] {
			moved++
			if homes[i] != lost {
				t.Fatalf("%s moved from %s to %s, and both live", client, homes[i], now)
			}
		}
		s.reset()
	}
	for node, count := range counts {
		if math.Abs(float64(count)-clients/3) > 0.01*clients/3 {
			t.Errorf("%s has %d of %d clients", node, count, clients)
		}
	}
	if share := 100 * float64(moved) / clients; len(counts) != 3 || math.Abs(share-100.0/3) > 0.5 {
		t.Errorf("%.2f %% of the clients moved", share)
	}
}
