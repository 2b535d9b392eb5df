package tigergraph_test

import (
	"context"
	"fmt"
	"net/http/httptrace"
	"runtime"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	tigergraph "github.com/caddy-tigergraph/caddy-tigergraph"
	"github.com/caddy-tigergraph/caddy-tigergraph/internal/affinity"
)

// tabs are the requests of browsers without a node.
type tabs struct {
	t *testing.T
	h *reverseproxy.Handler
}

// behindFallback returns browsers in front of nodes whose policy has this fallback.
func behindFallback(t *testing.T, fallback string, nodes int) tabs {
	const policy = `{"policy":"tigergraph","health_check_off":true,"fallback":%s,"cookie":{"secrets":["new"]}}`
	return tabs{t, provisionHandler(t, fmt.Sprintf(policy, fallback), nodes)}
}

// ask sends a request, and returns its node and what ends it.
func (b tabs) ask(client, agent, path string, fields ...string) (c *caller, node string, end func()) {
	c = from(client, path, append(fields, "User-Agent", agent)...)
	ctx, end := context.WithCancel(c.Context())
	c.Request = c.WithContext(ctx)
	return c, c.ask(b.h), end
}

// forgotten waits until nothing is remembered.
func (b tabs) forgotten() {
	b.t.Helper()
	policy := b.h.LoadBalancing.SelectionPolicy.(*tigergraph.Policy)
	for deadline := time.Now().Add(time.Minute); policy.Unanswered() > 0; runtime.Gosched() {
		if time.Now().After(deadline) {
			b.t.Fatal("something is remembered of clients whose requests are answered")
		}
	}
}

// fallbacks are the policies of Caddy, with what each of them needs.
var fallbacks = map[string]string{
	"random":               `{"policy":"random"}`,
	"random_choose":        `{"policy":"random_choose","choose":2}`,
	"least_conn":           `{"policy":"least_conn"}`,
	"round_robin":          `{"policy":"round_robin"}`,
	"weighted_round_robin": `{"policy":"weighted_round_robin","weights":[1,1,1,1,1]}`,
	"first":                `{"policy":"first"}`,
	"ip_hash":              `{"policy":"ip_hash"}`,
	"client_ip_hash":       `{"policy":"client_ip_hash"}`,
	"uri_hash":             `{"policy":"uri_hash"}`,
	"header":               `{"policy":"header","field":"X-Tab"}`,
	"query":                `{"policy":"query","key":"tab"}`,
	"cookie":               `{"policy":"cookie"}`,
}

func TestUnansweredRequestsOfOneBrowserEndOnOneNodeWhateverTheFallback(t *testing.T) {
	for name, fallback := range fallbacks {
		t.Run(name, func(t *testing.T) {
			b := behindFallback(t, fallback, 5)
			nodes := make(map[string]int)
			var ends []func()
			for tab := range 12 {
				c, node, end := b.ask("198.51.100.7", "Firefox", fmt.Sprintf("/studio/%d", tab), "X-Tab", fmt.Sprint(tab))
				nodes[node]++
				ends = append(ends, end)
				if value, times := c.ours(); times != 1 || value == "" {
					t.Errorf("set %q", c.set())
				}
			}
			if len(nodes) != 1 || nodes[""] > 0 {
				t.Errorf("twelve tabs went to %v", nodes)
			}
			for _, end := range ends {
				end()
			}
			b.forgotten()
		})
	}
}

func TestATabWhoseNodeFailsTakesTheLaterOnesAlong(t *testing.T) {
	b := behindFallback(t, fallbacks["round_robin"], 3)
	c, first, end := b.ask("198.51.100.7", "Firefox", "/studio/")
	defer end()
	second := c.ask(b.h)
	if second == first || second == "" {
		t.Fatalf("the retry of %s went to %q", first, second)
	}
	for range 3 {
		_, node, end := b.ask("198.51.100.7", "Firefox", "/studio/")
		defer end()
		if node != second {
			t.Errorf("a later tab went to %s, the first one is on %s by now", node, second)
		}
	}
}

func TestUnansweredRequestsOfOneBrowserEndOnOneNode(t *testing.T) {
	b := behindFallback(t, fallbacks["round_robin"], 3)
	_, first, endFirst := b.ask("198.51.100.7", "Firefox", "/studio/")
	_, second, endSecond := b.ask("198.51.100.7", "Firefox", "/studio/")
	_, other, endOther := b.ask("198.51.100.7", "Chrome", "/studio/")
	_, neighbour, endNeighbour := b.ask("198.51.100.8", "Firefox", "/studio/")
	if second != first {
		t.Errorf("the second tab went to %s, the first to %s", second, first)
	}
	if other == first || neighbour == first || neighbour == other {
		t.Errorf("other browsers went to %s and %s, the first to %s", other, neighbour, first)
	}
	endFirst()
	if _, third, end := b.ask("198.51.100.7", "Firefox", "/studio/"); third != first {
		t.Errorf("while the second tab waits, a third went to %s, not to %s", third, first)
	} else {
		end()
	}
	endSecond()
	endOther()
	endNeighbour()
	b.forgotten()

	// Those that come one after another still spread.
	counts := make(map[string]int)
	for range 30 {
		_, node, end := b.ask("198.51.100.7", "Firefox", "/studio/")
		end()
		b.forgotten()
		counts[node]++
	}
	if len(counts) != 3 {
		t.Errorf("thirty browsers in turn went to %v", counts)
	}
}

// Without the middleware, nobody tells when the header of the answer goes out.
func TestAnEndlessAnswerIsOne(t *testing.T) {
	b := behindFallback(t, fallbacks["round_robin"], 3)
	counts := make(map[string]int)
	for range 9 {
		c, node, end := b.ask("198.51.100.7", "Firefox", "/studio/events")
		defer end()
		httptrace.ContextClientTrace(c.Context()).GotFirstResponseByte() // as a transport does
		b.forgotten()
		counts[node]++
	}
	if len(counts) != 3 {
		t.Errorf("nine browsers, each of which has an endless answer, went to %v", counts)
	}
}

func TestABrowserThatLosesItsNodeWithSeveralRequestsIsCountedOnce(t *testing.T) {
	b := behindFallback(t, fallbacks["round_robin"], 3)
	lost := b.h.Upstreams[1]
	ours := ourName + "=" + affinity.Token([]byte("new"), affinity.Epoch(time.Now(), 24*time.Hour), lost.Dial)
	before := tigergraph.Displaced(lost.Dial)
	lose := func(session string) (end func()) {
		c, first, end := b.ask("198.51.100.7", "Firefox", "/api/me", "Cookie", ours+"; TigerGraphApp="+session)
		if second := c.ask(b.h); first != lost.Dial || second == first || second == "" {
			t.Errorf("went to %s and to %s, want %s and another", first, second, lost.Dial)
		}
		return end
	}
	check := func(want float64) {
		t.Helper()
		if got := tigergraph.Displaced(lost.Dial) - before; got != want {
			t.Errorf("%v browsers are counted, want %v", got, want)
		}
	}
	var ends []func()
	for range 6 {
		ends = append(ends, lose("ann"))
	}
	check(1)
	ends = append(ends, lose("bob")) // from the same office
	check(2)
	for _, end := range ends {
		end()
	}
	lose("ann")() // sent before an answer could tell it where it is
	check(2)
	lose("carl")()
	check(3)
	b.forgotten()
}

func TestWhatABrowserHasSentBeforeItWasMovedGoesWhereItWasMoved(t *testing.T) {
	b := behindFallback(t, fallbacks["round_robin"], 4)
	lost := b.h.Upstreams[1]
	ours := ourName + "=" + affinity.Token([]byte("new"), affinity.Epoch(time.Now(), 24*time.Hour), lost.Dial)
	lose := func(session string) (node string) {
		c, _, end := b.ask("198.51.100.7", "Firefox", "/api/me", "Cookie", ours+session)
		defer end()
		return c.ask(b.h)
	}
	seen := make(map[string]bool)
	for range 6 { // without a session they have none to lose, and are not known
		seen[lose("")] = true
		b.forgotten()
	}
	if len(seen) != 3 || seen[lost.Dial] {
		t.Errorf("browsers that came one after another were moved to %v", seen)
	}
	clear(seen)
	for _, session := range []string{"ann", "bob", "carl"} { // three browsers of one office
		first := lose("; TigerGraphApp=" + session)
		seen[first] = true
		for range 5 {
			if node := lose("; TigerGraphApp=" + session); node != first {
				t.Errorf("%s was moved to %s, and then to %s", session, first, node)
			}
		}
	}
	if len(seen) != 3 || seen[lost.Dial] {
		t.Errorf("three browsers were moved to %v", seen)
	}
	b.forgotten()
}
