package tigergraph_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	tigergraph "github.com/caddy-tigergraph/caddy-tigergraph"
)

// drainingFirst is a policy whose first node takes no new clients.
const drainingFirst = `{"policy":"tigergraph","health_check_off":true,"drain":["` + node1 + `"],"cookie":{"secrets":["new"],` + lifetimeText + `%s}}`

// uncheckedNodes is one whose nodes are all as good as up.
const uncheckedNodes = `{"policy":"tigergraph","health_check_off":true,"cookie":{"secrets":["new"],` + lifetimeText + `%s}}`

func TestOfSeveralCookiesTheFirstWhoseNodeCanServeCounts(t *testing.T) {
	h := provisionHandler(t, fmt.Sprintf(uncheckedNodes, ""), 3)
	first, second := h.Upstreams[0].Dial, h.Upstreams[1].Dial
	both := ourName + "=" + token("new", 0, first) + "; " + ourName + "=" + token("new", 0, second)

	c := from("198.51.100.7", "/api/me", "Cookie", both)
	if node := c.ask(h); node != first {
		t.Errorf("with both nodes well %s was chosen, want the first, %s", node, first)
	}
	if got := c.Header["Cookie"]; got != nil {
		t.Errorf("the node sees %q", got)
	}

	// A forged one is none.
	c = from("198.51.100.7", "/api/me", "Cookie", ourName+"=forged; "+ourName+"="+token("new", 0, second))
	if node := c.ask(h); node != second {
		t.Errorf("behind a forged cookie %s was chosen, want %s", node, second)
	}
}

func TestABrowserWhoseNodeFailsGoesWhereItsNextCookieSays(t *testing.T) {
	h := provisionHandler(t, `{"policy":"tigergraph","health_check_off":true,"fallback":{"policy":"first"},"cookie":{"secrets":["new"],`+lifetimeText+`}}`, 5)
	dial := func(i int) string { return h.Upstreams[i].Dial }
	cookies := make([]string, 5)
	for i := range cookies {
		cookies[i] = ourName + "=" + token("new", 0, dial(i))
	}
	for _, path := range []string{"/api/me", "/gsqlserver/gsql/version", "/restpp/echo"} {
		c := from("198.51.100.7", path, "Cookie", strings.Join([]string{cookies[3], ourName + "=forged", cookies[3], cookies[4], cookies[2]}, "; "))
		before := tigergraph.Displaced(dial(3))
		for i, want := range []string{dial(3), dial(4), dial(2)} {
			if node := c.ask(h); node != want {
				t.Errorf("%s: attempt %d went to %s, want %s", path, i+1, node, want)
			}
			if value, times := c.ours(); path == "/api/me" && (times != 1 || value != token("new", 0, want)) {
				t.Errorf("%s: attempt %d set %q", path, i+1, c.set())
			}
		}
		if count := tigergraph.Displaced(dial(3)) - before; count != 0 {
			t.Errorf("%s: %v browsers are counted as displaced, although its cookies name where it went", path, count)
		}
		if node := c.ask(h); node != dial(0) && node != dial(1) {
			t.Errorf("%s: the fourth attempt went to %q", path, node)
		}
	}
}

func TestAnAnswerEndsTheCookiesThatOtherSettingsMade(t *testing.T) {
	const host, above = "; Domain=graph.example.com", "; Domain=example.com"
	for name, test := range map[string]struct {
		cookie, path string
		ended        []string // what follows the name, up to Max-Age
	}{
		"no domain": {``, "/", []string{"Path=/" + host, "Path=/" + above}},
		"a domain":  {`,"domain":"example.com"`, "/", []string{"Path=/", "Path=/" + host}},
		"a path": {`,"domain":"example.com","path":"/graph"`, "/", []string{
			"Path=/", "Path=/graph", "Path=/" + above, "Path=/" + host, "Path=/graph" + host,
		}},
		"another path before": {`,"domain":"example.com"`, "/api/me", []string{
			"Path=/", "Path=/" + host,
			"Path=/api", "Path=/api" + above, "Path=/api" + host,
			"Path=/api/", "Path=/api/" + above, "Path=/api/" + host,
			"Path=/api/me", "Path=/api/me" + above, "Path=/api/me" + host,
		}},
		"__Host-": {`,"name":"__Host-node"`, "/", nil},
	} {
		t.Run(name, func(t *testing.T) {
			h := provisionHandler(t, fmt.Sprintf(uncheckedNodes, test.cookie), 3)
			called := ourName
			if strings.Contains(test.cookie, "__Host-") {
				called = "__Host-node"
			}
			value := token("new", 0, h.Upstreams[1].Dial)
			one, two := called+"="+value, called+"="+token("new", -1, h.Upstreams[2].Dial)

			c := from("198.51.100.7", test.path, "Cookie", one)
			if c.ask(h); len(c.set()) != 0 {
				t.Errorf("one current cookie was answered by %q", c.set())
			}
			c = asked(test.path, "Cookie", one+"; "+two)
			c.ask(h)
			lines := c.set()
			if len(lines) != len(test.ended)+1 || !strings.HasPrefix(lines[len(lines)-1], one+";") {
				t.Fatalf("two cookies were answered by %q", lines)
			}
			for _, want := range test.ended {
				if !slices.ContainsFunc(lines, func(line string) bool { return strings.HasPrefix(line, called+"=; "+want+"; Max-Age=0;") }) {
					t.Errorf("%q does not end %q", lines, want)
				}
			}
		})
	}
}

func TestOutsideThePathOfItsCookieABrowserIsGivenNone(t *testing.T) {
	for path, test := range map[string]struct{ within, outside []string }{
		"/api":  {[]string{"/api", "/api/", "/api/me", "/api/auth/whoami"}, []string{"/", "/apis", "/studio/api", "/Api/me"}},
		"/api/": {[]string{"/api/", "/api/me"}, []string{"/", "/api", "/studio/"}},
		"/":     {[]string{"/", "/api/me", "/studio/"}, nil},
	} {
		h := provisionHandler(t, fmt.Sprintf(uncheckedNodes, `,"path":"`+path+`"`), 3)
		ask := func(target string, fields ...string) (times int) {
			c := asked(target, fields...)
			c.URL.Path = "/api/me" // the site rewrites it; the browser does not know
			c.ask(h)
			_, times = c.ours()
			return times
		}
		earlier := ourName + "=" + token("new", -1, h.Upstreams[1].Dial)
		for _, target := range test.within {
			for _, cookies := range []string{"TigerGraphApp=x", earlier, earlier + "; TigerGraphApp=x"} {
				if ask(target, "Cookie", cookies) != 1 {
					t.Errorf("path %s: no cookie for %s with %q", path, target, cookies)
				}
			}
		}
		for _, target := range test.outside {
			for _, cookies := range []string{"TigerGraphApp=x", earlier, earlier + "; TigerGraphApp=x"} {
				if ask(target, "Cookie", cookies) != 0 {
					t.Errorf("path %s: a cookie for %s with %q", path, target, cookies)
				}
			}
			if ask(target) != 1 {
				t.Errorf("path %s: no cookie for a new browser that begins with %s", path, target)
			}
		}
	}
}

// asked makes a request whose first line has this path.
func asked(path string, fields ...string) *caller {
	request := httptest.NewRequest(http.MethodGet, "http://graph.example.com"+path, nil)
	for i := 0; i < len(fields); i += 2 {
		request.Header[fields[i]] = append(request.Header[fields[i]], fields[i+1])
	}
	writer := nothing{make(http.Header)}
	return &caller{prepare(request, writer), writer}
}

func TestCookiesEndWhereTheBrowserHasThem(t *testing.T) {
	h := provisionHandler(t, fmt.Sprintf(uncheckedNodes, ""), 3)
	several := ourName + "=a; " + ourName + "=b"

	// The site has rewritten the path; the proxy has rewritten the host by the time it
	// asks for another node.
	c := asked("/graph/studio", "Cookie", several)
	c.URL.Path = "/studio"
	c.ask(h)
	first := c.set()
	clone := *c.Request
	clone.Host = "m1:14240"
	retry := &caller{&clone, c.writer}
	retry.ask(h)
	if !slices.ContainsFunc(first, func(line string) bool { return strings.Contains(line, "; Path=/graph; Domain=graph.example.com;") }) {
		t.Errorf("%q ends no cookie of the path that the browser knows", first)
	}
	if again := c.set(); !slices.Equal(again[:len(again)-1], first[:len(first)-1]) {
		t.Errorf("the retry ends %q, the first attempt %q", again, first)
	}

	// What no cookie can have is in no line, and the header stays short.
	for _, host := range []string{
		"", "localhost", "a_b.example.com", "[::1]:443", "127.0.0.1:80", "graph.example.com.", "..", "\x80.example.com", strings.Repeat("a.", 500) + "com",
	} {
		for _, path := range []string{"/", "", "*", "/a;b/c", "/%00/%0d%0a", "//", "/" + strings.Repeat("a/", 5000), "/\x80/x"} {
			c := from("198.51.100.7", path, "Cookie", several)
			c.Host = host
			c.ask(h)
			lines, length := c.set(), 0
			for _, line := range lines {
				length += len(line)
			}
			if len(lines) == 0 || len(lines) > 30 || length > 8<<10 {
				t.Errorf("%.100q%.100q is answered by %d cookies of %d bytes", host, path, len(lines), length)
			}
			for i, line := range lines {
				parsed, err := http.ParseSetCookie(line)
				if err != nil || (parsed.Value == "") != (i < len(lines)-1) {
					t.Errorf("%.100q%.100q is answered by %q: %v", host, path, line, err)
				}
			}
		}
	}
}

func TestAPasswordLoginLeavesANodeThatIsDraining(t *testing.T) {
	h := provisionHandler(t, fmt.Sprintf(drainingFirst, ""), 3)
	pinned := func(method, path string) *caller {
		c := from("198.51.100.7", path, "Cookie", ourName+"="+token("new", 0, node1))
		c.Method = method
		return c
	}
	for _, test := range []struct {
		method, path string
		stays        bool
	}{
		{http.MethodPost, "/api/auth/login", false},
		{http.MethodPost, "//api/auth/./login", false},
		{http.MethodGet, "/api/auth/login", true},
		{http.MethodPost, "/api/auth/saml/acs", true},
		{http.MethodPost, "/api/queries/g/q", true},
	} {
		c := pinned(test.method, test.path)
		node := c.ask(h)
		if stays := node == node1; stays != test.stays {
			t.Errorf("%s %s went to %s", test.method, test.path, node)
		}
		if value, times := c.ours(); !test.stays && (times != 1 || value != token("new", 0, node)) {
			t.Errorf("%s %s set %q", test.method, test.path, c.set())
		}
	}
	well := provisionHandler(t, fmt.Sprintf(uncheckedNodes, ""), 3)
	if node := pinned(http.MethodPost, "/api/auth/login").ask(well); node != node1 {
		t.Errorf("a login on a node that is not draining went to %s", node)
	}
}
