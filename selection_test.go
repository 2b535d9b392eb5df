package tigergraph_test

import (
	"crypto/tls"
	"fmt"
	"math"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/affinity"
)

// lifetime is so long that no test sees an epoch end.
const (
	lifetime     = 200_000 * time.Hour
	lifetimeText = `"lifetime":"200000h"`
	pinning      = `{"policy":"tigergraph","cookie":{"secrets":["new","old"],` + lifetimeText + `}}`
	ourName      = "TigerGraphNode"
)

// token returns the cookie's value for a node, some epochs from now.
func token(secret string, epochs int64, address string) string {
	return affinity.Token([]byte(secret), affinity.Epoch(time.Now(), lifetime)+epochs, address)
}

// caller is one request as the proxy hands it to its policy, and what is left
// of it and of the response.
type caller struct {
	*http.Request
	writer nothing
}

// from makes a request of a client. The fields are pairs of name and value.
func from(client, path string, fields ...string) *caller {
	writer := nothing{make(http.Header)}
	plain := httptest.NewRequest(http.MethodGet, "http://graph.example.com/", nil)
	plain.URL.Path = path
	for i := 0; i < len(fields); i += 2 {
		plain.Header[fields[i]] = append(plain.Header[fields[i]], fields[i+1])
	}
	c := &caller{prepare(plain, writer), writer}
	caddyhttp.SetVar(c.Context(), caddyhttp.ClientIPVarKey, client)
	return c
}

// overTLS makes the request one that came over TLS.
func (c *caller) overTLS() *caller {
	c.TLS = new(tls.ConnectionState)
	return c
}

// ask has a proxy's policy choose, and returns the node's address, "" for none.
func (c *caller) ask(h *reverseproxy.Handler) string {
	return c.askFor(h, h.Upstreams)
}

func (c *caller) askFor(h *reverseproxy.Handler, pool reverseproxy.UpstreamPool) string {
	return dialOf(h.LoadBalancing.SelectionPolicy.Select(pool, c.Request, c.writer))
}

func dialOf(upstream *reverseproxy.Upstream) string {
	if upstream == nil {
		return ""
	}
	return upstream.Dial
}

// set returns the Set-Cookie lines so far.
func (c *caller) set() []string { return c.writer.header["Set-Cookie"] }

// ours returns the value of our cookie in the response, and how often it is set.
func (c *caller) ours() (value string, times int) {
	for _, line := range c.set() {
		// One without a value ends another variant of the cookie.
		if rest, found := strings.CutPrefix(line, ourName+"="); found && !strings.HasPrefix(rest, ";") {
			value, _, _ = strings.Cut(rest, ";")
			times++
		}
	}
	return value, times
}

// placeholder returns the value of one of the policy's placeholders.
func (c *caller) placeholder(name string) string {
	return c.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer).ReplaceAll("{http.tigergraph."+name+"}", "unset")
}

// elsewhere returns a client's address whose home is not this node.
func elsewhere(t *testing.T, h *reverseproxy.Handler, node string) string {
	t.Helper()
	for host := 1; host < 250; host++ {
		client := fmt.Sprintf("198.51.100.%d", host)
		if from(client, "/gsql/v1/schema").ask(h) != node {
			return client
		}
	}
	t.Fatalf("every client's home is %s", node)
	return ""
}

func TestTheCookieHasTheAttributesOfItsSettings(t *testing.T) {
	const plainly, securely = false, true
	// What is left of this epoch and the next.
	left := time.Until(affinity.EpochEnd(affinity.Epoch(time.Now(), lifetime)+1, lifetime))
	maxAge, aSecondLess := fmt.Sprint(int(left.Seconds())), fmt.Sprint(int(left.Seconds())-1)
	for name, test := range map[string]struct {
		cookie string
		tls    bool
		want   string // after the name and value
		called string // if not by the usual name
	}{
		"by default over plain HTTP":       {``, plainly, "; Path=/; HttpOnly; SameSite=Lax", ""},
		"by default over TLS":              {``, securely, "; Path=/; HttpOnly; Secure; SameSite=None", ""},
		"lax over plain HTTP":              {`,"same_site":"lax"`, plainly, "; Path=/; HttpOnly; SameSite=Lax", ""},
		"lax over TLS":                     {`,"same_site":"lax"`, securely, "; Path=/; HttpOnly; Secure; SameSite=Lax", ""},
		"strict over plain HTTP":           {`,"same_site":"strict"`, plainly, "; Path=/; HttpOnly; SameSite=Strict", ""},
		"strict over TLS":                  {`,"same_site":"strict"`, securely, "; Path=/; HttpOnly; Secure; SameSite=Strict", ""},
		"none over plain HTTP goes as lax": {`,"same_site":"none"`, plainly, "; Path=/; HttpOnly; SameSite=Lax", ""},
		"none over TLS":                    {`,"same_site":"none"`, securely, "; Path=/; HttpOnly; Secure; SameSite=None", ""},
		"name":                             {`,"name":"sticky"`, plainly, "; Path=/; HttpOnly; SameSite=Lax", "sticky"},
		"host prefix":                      {`,"name":"__Host-node"`, securely, "; Path=/; HttpOnly; Secure; SameSite=None", "__Host-node"},
		"path":                             {`,"path":"/graph"`, plainly, "; Path=/graph; HttpOnly; SameSite=Lax", ""},
		"domain":                           {`,"domain":"example.com"`, plainly, "; Path=/; Domain=example.com; HttpOnly; SameSite=Lax", ""},
		"persistent":                       {`,"persistent":true`, plainly, "; Path=/; Max-Age=" + maxAge + "; HttpOnly; SameSite=Lax", ""},
	} {
		t.Run(name, func(t *testing.T) {
			h := provisionHandler(t, `{"policy":"tigergraph","cookie":{"secrets":["new"],`+lifetimeText+test.cookie+`}}`, 3)
			c := from("198.51.100.7", "/api/ping")
			if test.tls {
				c.overTLS()
			}
			node := c.ask(h)
			if test.called == "" {
				test.called = ourName
			}
			want := test.called + "=" + token("new", 0, node) + test.want
			if got := c.set(); len(got) != 1 || got[0] != want && got[0] != strings.Replace(want, maxAge, aSecondLess, 1) {
				t.Errorf("set %q, want %q", got, want)
			}
		})
	}
}

func TestTheCookieIsSecureWhereATrustedProxySaysHTTPS(t *testing.T) {
	h := provisionHandler(t, pinning, 3)
	for name, test := range map[string]struct {
		trusted bool
		proto   []string
		want    bool
	}{
		"a trusted proxy says https":        {true, []string{"https"}, true},
		"a trusted proxy says http":         {true, []string{"http"}, false},
		"a trusted proxy says nothing":      {true, nil, false},
		"an untrusted client says https":    {false, []string{"https"}, false},
		"the proxy's own word is the last":  {true, []string{"http", "https"}, true},
		"a client's word before it is none": {true, []string{"https", "http"}, false},
	} {
		t.Run(name, func(t *testing.T) {
			c := from("198.51.100.7", "/")
			c.Header["X-Forwarded-Proto"] = test.proto
			caddyhttp.SetVar(c.Context(), caddyhttp.TrustedProxyVarKey, test.trusted)
			c.ask(h)
			if got := strings.Contains(c.set()[0], "; Secure"); got != test.want {
				t.Errorf("set %q", c.set())
			}
			// The retry, whose headers may have been rewritten, goes by the first.
			c.Header["X-Forwarded-Proto"] = []string{"https"}
			if test.want {
				c.Header["X-Forwarded-Proto"] = []string{"http"}
			}
			c.ask(h)
			if got := strings.Contains(c.set()[0], "; Secure"); got != test.want {
				t.Errorf("the retry set %q", c.set())
			}
		})
	}
}

func TestOnlyTheGUISetsACookieAndEveryServiceHonoursIt(t *testing.T) {
	h := provisionHandler(t, pinning, 3)
	for path, service := range map[string]string{
		"/":                          "gui",
		"/api/auth/login":            "gui",
		"/informant/metrics":         "gui",
		"/gsql":                      "gui", // the web shell
		"/gsqlserver/gsql/login":     "gsql",
		"/gsql/v1/statements":        "gsql",
		"/gsql/scim/v2/Users":        "gsql",
		"/restpp/query/g/q":          "restpp",
		"/api/../restpp/echo":        "restpp",
		"//gsqlserver//gsql/command": "gsql",
	} {
		t.Run(path, func(t *testing.T) {
			c := from("198.51.100.7", path)
			c.ask(h)
			_, times := c.ours()
			if want := map[bool]int{true: 1}[service == "gui"]; times != want {
				t.Errorf("the cookie is set %d times, want %d", times, want)
			}
			if got := c.placeholder("service"); got != service {
				t.Errorf("the service is %s, want %s", got, service)
			}
			for _, upstream := range h.Upstreams {
				for _, secret := range []string{"new", "old"} {
					c := from("198.51.100.7", path, "Cookie", ourName+"="+token(secret, 0, upstream.Dial))
					if got := c.ask(h); got != upstream.Dial {
						t.Errorf("the cookie of %s led to %s", upstream.Dial, got)
					}
					if len(c.Header["Cookie"]) != 0 {
						t.Errorf("the node sees %q", c.Header["Cookie"])
					}
					if _, times := c.ours(); times != map[bool]int{true: 1}[service == "gui" && secret == "old"] {
						t.Errorf("with a cookie by the %s key, the cookie is set %d times", secret, times)
					}
					// Nor does a retry, or its failure, on other services.
					for range 3 {
						c.ask(h)
						if _, times := c.ours(); service != "gui" && times != 0 {
							t.Errorf("a retry sets %q", c.set())
						}
					}
				}
			}
		})
	}
}

func TestACookieIsRewrittenUnlessItIsOfThisEpochAndTheFirstKey(t *testing.T) {
	h := provisionHandler(t, pinning, 3)
	node := h.Upstreams[1].Dial
	client := elsewhere(t, h, node)
	home := from(client, "/gsql/v1/schema").ask(h)
	valid := token("new", 0, node)
	for name, test := range map[string]struct {
		value   string
		honours bool
		rewrite bool
	}{
		"current":                        {valid, true, false},
		"current, quoted":                {`"` + valid + `"`, true, false},
		"of the last epoch":              {token("new", -1, node), true, true},
		"of the next epoch":              {token("new", +1, node), true, true},
		"by the previous key":            {token("old", 0, node), true, true},
		"by the previous key, last time": {token("old", -1, node), true, true},
		"two epochs old":                 {token("new", -2, node), false, true},
		"two epochs ahead":               {token("new", +2, node), false, true},
		"by another key":                 {token("stolen", 0, node), false, true},
		"for another node":               {token("new", 0, "10.9.9.9:14240"), false, true},
		"truncated":                      {valid[:len(valid)-1], false, true},
		"extended":                       {valid + "A", false, true},
		"in another case":                {strings.ToLower(valid) + "x", false, true},
		"empty":                          {"", false, true},
		"the node's address":             {node, false, true},
		"padded base64":                  {valid + "==", false, true},
		"very long":                      {strings.Repeat("A", 1<<16), false, true},
		"percent-encoded":                {"%41" + valid[1:], false, true},
	} {
		t.Run(name, func(t *testing.T) {
			c := from(client, "/", "Cookie", ourName+"="+test.value)
			want := home
			if test.honours {
				want = node
			}
			if got := c.ask(h); got != want {
				t.Errorf("chose %s, want %s", got, want)
			}
			value, times := c.ours()
			switch {
			case !test.rewrite && times != 0:
				t.Errorf("set %q, want none", c.set())
			case test.rewrite && (times != 1 || value != token("new", 0, want)):
				t.Errorf("set %q, want the current one of %s", c.set(), want)
			}
			if len(c.Header["Cookie"]) != 0 {
				t.Errorf("the node sees %q", c.Header["Cookie"])
			}
			why := "client_ip"
			if test.honours {
				why = "cookie"
			}
			if got := c.placeholder("affinity"); got != why {
				t.Errorf("the affinity is %s, want %s", got, why)
			}
		})
	}
}

func TestOtherCookiesReachTheNodeByteForByte(t *testing.T) {
	h := provisionHandler(t, pinning, 3)
	node := h.Upstreams[2].Dial
	ours := ourName + "=" + token("new", 0, node)
	session := `{"terminalWidth":80,"fromGsqlClient":true,"graph":"a; b","sessionId":"00000000561","auth":"Basic dDp0"}`
	for name, test := range map[string]struct {
		before, after []string
		pinned        bool
	}{
		"raw JSON alone":        {[]string{session}, []string{session}, false},
		"raw JSON and ours":     {[]string{session, ours}, []string{session}, true},
		"ours before raw JSON":  {[]string{ours + "; GSQLCookie=" + session}, []string{"GSQLCookie=" + session}, true},
		"ours first":            {[]string{ours + "; a=1; b=2"}, []string{"a=1; b=2"}, true},
		"ours in between":       {[]string{"a=1; " + ours + "; b=2"}, []string{"a=1; b=2"}, true},
		"ours last":             {[]string{"a=1; b=2; " + ours}, []string{"a=1; b=2"}, true},
		"ours twice":            {[]string{ours + "; a=1; " + ours}, []string{"a=1"}, true},
		"a bogus one, then it":  {[]string{ourName + "=bogus; " + ours + "; a=1"}, []string{"a=1"}, true},
		"odd bytes":             {[]string{"a=\"x\x80,y\"; " + ours + ";b =2"}, []string{"a=\"x\x80,y\";b =2"}, true},
		"a longer name":         {[]string{ourName + "2=x; my" + ourName + "=y"}, []string{ourName + "2=x; my" + ourName + "=y"}, false},
		"another case":          {[]string{strings.ToLower(ours)}, []string{strings.ToLower(ours)}, false},
		"a value like our name": {[]string{"a=" + ourName + "; b"}, []string{"a=" + ourName + "; b"}, false},
	} {
		t.Run(name, func(t *testing.T) {
			c := from(elsewhere(t, h, node), "/api/ping")
			c.Header["Cookie"] = slices.Clone(test.before)
			if got := c.ask(h); (got == node) != test.pinned {
				t.Errorf("chose %s; the cookie's node is %s", got, node)
			}
			if got := c.Header["Cookie"]; !slices.Equal(got, test.after) {
				t.Errorf("left %q, want %q", got, test.after)
			}
		})
	}
}

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

func TestTheCookieIsTakenBackWithTheHeaderItCameIn(t *testing.T) {
	h := provisionHandler(t, pinning, 1)
	c := from("198.51.100.7", "/")
	c.ask(h)
	c.ask(h)
	if _, set := c.writer.header["Set-Cookie"]; set {
		t.Errorf("an empty Set-Cookie is left: %q", c.writer.header)
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

// randomAddresses returns random IPv4 addresses, the same ones in each run.
func randomAddresses(count int) []string {
	random := rand.New(rand.NewPCG(7, 9))
	addresses := make([]string, count)
	for i := range addresses {
		v4 := random.Uint32()
		addresses[i] = netip.AddrFrom4([4]byte{byte(v4 >> 24), byte(v4 >> 16), byte(v4 >> 8), byte(v4)}).String()
	}
	return addresses
}

// turnstile lets the same request through again and again.
type turnstile struct {
	*caller
	vars     map[string]any
	replacer *caddy.Replacer
	pristine caddy.Replacer
}

func newTurnstile(path string) *turnstile {
	c := from("198.51.100.7", path)
	replacer := c.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
	return &turnstile{c, c.Context().Value(caddyhttp.VarsCtxKey).(map[string]any), replacer, *replacer}
}

// reset makes the request forget that it has been here.
func (s *turnstile) reset() {
	delete(s.vars, "tigergraph.visit")
	*s.replacer = s.pristine
	delete(s.writer.header, "Set-Cookie")
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

func TestJSONThatCannotBeMeantIsRefusedByName(t *testing.T) {
	t.Setenv("TIGERGRAPH_TEST_EMPTY", "")
	const secret = "hunter2-hunter2"
	for policy, want := range map[string]string{
		`{"policy":"tigergraph","affinity":"sticky"}`:                                                   "affinity",
		`{"policy":"tigergraph","affinity":"header"}`:                                                   "header",
		`{"policy":"tigergraph","affinity":"header","header":"X User"}`:                                 "header",
		`{"policy":"tigergraph","header":"X-User"}`:                                                     "header",
		`{"policy":"tigergraph","ipv4_prefix":33}`:                                                      "ipv4_prefix",
		`{"policy":"tigergraph","ipv4_prefix":-1}`:                                                      "ipv4_prefix",
		`{"policy":"tigergraph","ipv6_prefix":129}`:                                                     "ipv6_prefix",
		`{"policy":"tigergraph","affinity":"none","cookie":{}}`:                                         "cookie",
		`{"policy":"tigergraph","affinity":"none","fallback":{"policy":"first"}}`:                       "fallback",
		`{"policy":"tigergraph","fallback":{"policy":"unheard_of"}}`:                                    "fallback",
		`{"policy":"tigergraph","fallback":{"policy":"tigergraph","ipv4_prefix":33}}`:                   "fallback",
		`{"policy":"tigergraph","surprise":true}`:                                                       "surprise",
		`{"policy":"tigergraph","cookie":{"secrets":["` + secret + `",""]}}`:                            "secret",
		`{"policy":"tigergraph","cookie":{"secrets":["` + secret + `"],"same_site":"both"}}`:            "same_site",
		`{"policy":"tigergraph","cookie":{"secrets":["` + secret + `"],"lifetime":"10ms"}}`:             "lifetime",
		`{"policy":"tigergraph","cookie":{"secrets":["` + secret + `"],"name":"a b"}}`:                  "name",
		`{"policy":"tigergraph","cookie":{"secrets":["` + secret + `"],"path":"graph"}}`:                "path",
		`{"policy":"tigergraph","cookie":{"secrets":["` + secret + `"],"domain":"a;b"}}`:                "domain",
		`{"policy":"tigergraph","cookie":{"secrets":["` + secret + `{env.TIGERGRAPH_TEST_UNSET}"]}}`:    "secret 1",
		`{"policy":"tigergraph","cookie":{"secrets":["` + secret + `","{env.TIGERGRAPH_TEST_EMPTY}"]}}`: "secret 2",
		`{"policy":"tigergraph","cookie":{"secrets":["` + secret + `","{file./nonexistent/key}"]}}`:     "secret 2",
	} {
		_, err := tryProvision(t, policy, "10.0.0.1:14240")
		switch {
		case err == nil:
			t.Errorf("accepted %s", policy)
		case !strings.Contains(err.Error(), want):
			t.Errorf("%s was refused without a word of %s: %v", policy, want, err)
		case strings.Contains(err.Error(), secret):
			t.Errorf("the error tells the secret: %v", err)
		}
	}
}

func TestSecretsComeFromTheEnvironment(t *testing.T) {
	t.Setenv("TIGERGRAPH_TEST_SECRET", "new")
	h := provisionHandler(t, `{"policy":"tigergraph","cookie":{"secrets":["{env.TIGERGRAPH_TEST_SECRET}"],`+lifetimeText+`}}`, 3)
	c := from("198.51.100.7", "/")
	node := c.ask(h)
	if value, _ := c.ours(); value != token("new", 0, node) {
		t.Errorf("set %q", c.set())
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

func TestTheCookieOfANodeThatLeftThePoolIsMissing(t *testing.T) {
	h := provisionHandler(t, pinning, 3)
	gone := h.Upstreams[2].Dial
	pool := h.Upstreams[:2]
	c := from("198.51.100.7", "/", "Cookie", ourName+"="+token("new", 0, gone))
	node := c.askFor(h, pool)
	if want := from("198.51.100.7", "/").askFor(h, pool); node != want {
		t.Errorf("chose %s, want %s", node, want)
	}
	if value, times := c.ours(); times != 1 || value != token("new", 0, node) {
		t.Errorf("set %q", c.set())
	}
	// It is back: so is its cookie.
	c = from("198.51.100.7", "/", "Cookie", ourName+"="+token("new", 0, gone))
	if node := c.ask(h); node != gone {
		t.Errorf("chose %s, want %s", node, gone)
	}
}

func TestACookieIsHonouredForANodeThatThePolicyHasNotMet(t *testing.T) {
	h := provisionHandler(t, pinning, 3)
	pool := slices.Clone(h.Upstreams)
	for i := range 9 {
		dial := fmt.Sprintf("10.1.0.%d:14240", i+1)
		pool = append(pool, &reverseproxy.Upstream{Host: new(reverseproxy.Host), Dial: dial})
		c := from("198.51.100.7", "/", "Cookie", ourName+"="+token("new", 0, dial))
		if node := c.askFor(h, pool); node != dial || len(c.set()) != 0 {
			t.Errorf("the cookie of %s led to %s and set %q", dial, node, c.set())
		}
	}
}
