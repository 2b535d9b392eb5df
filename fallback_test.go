package tigergraph_test

import (
	"fmt"
	"testing"
)

func TestOtherPoliciesMayFallBackOnOurs(t *testing.T) {
	for _, outer := range []string{`{"policy":"header","field":"X-Missing","fallback":%s}`, `{"policy":"query","key":"missing","fallback":%s}`} {
		for name, policy := range everyAffinity {
			t.Run(name, func(t *testing.T) {
				h := provisionHandler(t, fmt.Sprintf(outer, policy), 3)
				c := from("198.51.100.7", "/", "Cookie", ourName+"="+token("new", 0, h.Upstreams[1].Dial))
				if node := c.ask(h); node == "" || name == "cookie" && node != h.Upstreams[1].Dial {
					t.Errorf("chose %q", node)
				}
				if len(c.set()) != 0 {
					t.Errorf("set %q", c.set())
				}
			})
		}
	}
}

func TestTheFallbackChoosesTheFirstNodeOfANewBrowserOnly(t *testing.T) {
	const falling = `{"policy":"tigergraph","cookie":{"secrets":["new"],` + lifetimeText + `},"fallback":{"policy":"first"}}`
	h, hashing := provisionHandler(t, falling, 3), provisionHandler(t, pinning, 3)
	nodes := make(map[string]bool)
	for host := range 60 {
		client := fmt.Sprintf("198.51.100.%d", host)
		c := from(client, "/")
		if node := c.ask(h); node != h.Upstreams[0].Dial || c.placeholder("affinity") != "fallback" {
			t.Errorf("a new browser got %s by %s", node, c.placeholder("affinity"))
		}
		if value, times := c.ours(); times != 1 || value != token("new", 0, h.Upstreams[0].Dial) {
			t.Errorf("set %q", c.set())
		}
		if node := c.ask(h); node != h.Upstreams[1].Dial {
			t.Errorf("its retry went to %s", node)
		}
		if value, times := c.ours(); times != 1 || value != token("new", 0, h.Upstreams[1].Dial) {
			t.Errorf("its retry set %q", c.set())
		}
		c = from(client, "/", "Cookie", ourName+"="+token("new", 0, h.Upstreams[2].Dial))
		if node := c.ask(h); node != h.Upstreams[2].Dial {
			t.Errorf("a browser with a cookie got %s", node)
		}
		for _, path := range []string{"/restpp/query_status", "/gsqlserver/gsql/login"} {
			want := from(client, path).ask(hashing)
			if node := from(client, path).ask(h); node != want {
				t.Errorf("%s went to %s, want %s by its hash", path, node, want)
			}
			nodes[want] = true
		}
		// Nobody would keep the answer.
		want := from(client, "/").ask(hashing)
		if node := dialOf(h.LoadBalancing.SelectionPolicy.Select(h.Upstreams, from(client, "/").Request, nil)); node != want {
			t.Errorf("without a writer it is %s, want %s by the hash", node, want)
		}
	}
	if len(nodes) != 3 {
		t.Errorf("sixty clients use the nodes %v", nodes)
	}
}

func TestAFallbackThatIsOursAsWellLeavesOneCookie(t *testing.T) {
	h := provisionHandler(t, `{"policy":"tigergraph","cookie":{"secrets":["new"],`+lifetimeText+`},"fallback":`+pinning+`}`, 3)
	c := from("198.51.100.7", "/")
	seen := make(map[string]bool)
	for range 3 {
		node := c.ask(h)
		seen[node] = true
		if value, times := c.ours(); times != 1 || value != token("new", 0, node) {
			t.Errorf("%s: set %q", node, c.set())
		}
	}
	if len(seen) != 3 || seen[""] {
		t.Errorf("three attempts chose %v", seen)
	}
	if node := c.ask(h); node != "" || len(c.set()) != 0 {
		t.Errorf("after all failed: %q, set %q", node, c.set())
	}
}
