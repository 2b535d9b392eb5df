package tigergraph_test

import (
	"slices"
	"testing"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
)

func TestEachAttemptGoesElsewhereUntilNoNodeIsLeft(t *testing.T) {
	h := provisionHandler(t, pinning, 3)
	const foreign = "TigerGraphApp=1; Path=/"
	for _, cookie := range []string{"", token("new", 0, h.Upstreams[0].Dial), token("old", 0, h.Upstreams[0].Dial)} {
		c := from("198.51.100.7", "/api/ping", "Cookie", ourName+"="+cookie)
		c.writer.header["Set-Cookie"] = []string{foreign}
		tried := make(map[string]bool)
		for attempt := range 3 {
			node := c.ask(h)
			if node == "" || tried[node] {
				t.Fatalf("attempt %d chose %q after %v", attempt+1, node, tried)
			}
			tried[node] = true
			value, times := c.ours()
			if pinned := attempt == 0 && cookie == token("new", 0, node); pinned {
				if times != 0 {
					t.Errorf("the current cookie was set once more: %q", c.set())
				}
			} else if times != 1 || value != token("new", 0, node) {
				t.Errorf("attempt %d of %s set %q", attempt+1, node, c.set())
			}
			if !slices.Contains(c.set(), foreign) || len(c.set()) != times+1 {
				t.Errorf("attempt %d left %q", attempt+1, c.set())
			}
		}
		if node := c.ask(h); node != "" || !slices.Equal(c.set(), []string{foreign}) {
			t.Errorf("after every node failed: %q and %q", node, c.set())
		}
		node := c.ask(h)
		if node == "" {
			t.Error("no node may be tried anew")
		}
		if cookie != "" && node != h.Upstreams[0].Dial {
			t.Errorf("of all nodes %s is tried anew, want the pinned one", node)
		}
		if again := c.ask(h); again == "" || again == node {
			t.Errorf("after %s failed again: %q", node, again)
		}
	}
}

func TestAPinnedClientThatComesBackToItsNodeKeepsItsCookie(t *testing.T) {
	h := provisionHandler(t, pinning, 2)
	home := h.Upstreams[0].Dial
	c := from("198.51.100.7", "/", "Cookie", ourName+"="+token("new", 0, home))
	if first, second, third := c.ask(h), c.ask(h), c.ask(h); first != home || second == home || third != "" {
		t.Fatalf("chose %q, %q, %q", first, second, third)
	}
	node := c.ask(h)
	if value, times := c.ours(); node != home || times > 1 || times == 1 && value != token("new", 0, home) {
		t.Errorf("came back to %s, and set %q", node, c.set())
	}
}

func TestTwoPoliciesOnOneRequestKeepTheirMemoriesApart(t *testing.T) {
	inner, outer := provisionHandler(t, oursByClientIP, 3), provisionHandler(t, pinning, 3)
	pinned := outer.Upstreams[0].Dial
	c := from(elsewhere(t, outer, pinned), "/", "Cookie", ourName+"="+token("new", 0, pinned))
	home := from(elsewhere(t, outer, pinned), "/").ask(inner)
	if node := c.ask(outer); node != pinned {
		t.Fatalf("the outer chose %s", node)
	}
	if node := c.ask(inner); node != home || c.placeholder("node") != home {
		t.Fatalf("the inner chose %s, want %s as if it were alone", node, home)
	}
	if got := c.placeholder("affinity"); got != "client_ip" {
		t.Errorf("the last to choose did so by %s", got)
	}
	for name, h := range map[string]*reverseproxy.Handler{"outer": outer, "inner": inner} {
		first := map[*reverseproxy.Handler]string{outer: pinned, inner: home}[h]
		seen := map[string]bool{first: true}
		for range 2 {
			seen[c.ask(h)] = true
		}
		if len(seen) != 3 || seen[""] {
			t.Errorf("the %s policy chose %v", name, seen)
		}
		if left := c.ask(h); left != "" {
			t.Errorf("the %s policy has %s left", name, left)
		}
	}
}
