package integration_test

import (
	"encoding/base64"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/tgnode"
)

func TestTheNodeNeverSeesOurCookie(t *testing.T) {
	_, nodes := startCluster(t, 3)
	e := newEdge(t)
	e.load(proxyTo(nodes, "tigergraph"))
	b := e.newBrowser(2)
	node := b.login()
	ours := "TigerGraphNode=" + b.ourCookie()
	const session = `{"terminalWidth":80,"fromGsqlClient":true,"graph":"a; b","auth":"Basic dDp0"}`
	stranger := e.newBrowser(3)
	for _, test := range []struct{ sent, want string }{
		{ours, ""},
		{"a=1; " + ours + "; TigerGraphApp=x", "a=1; TigerGraphApp=x"},
		{ours + "; GSQLCookie=" + session, "GSQLCookie=" + session},
		{session, session},
		{"TigerGraphNode=bogus", ""},
		{"TigerGraphNode=bogus;b =\"2\",3", "b =\"2\",3"},
	} {
		for _, path := range []string{"/api/__echo", "/restpp/__echo", "/gsqlserver/gsql/__echo"} {
			stranger.forget()
			echo := stranger.get(path, "Cookie", test.sent).echo(t)
			if got := strings.Join(received(echo, "Cookie"), " | "); got != test.want {
				t.Errorf("%s: of %q the node saw %q, want %q", path, test.sent, got, test.want)
			}
			if strings.Contains(test.sent, ours) && echo.Node != node {
				t.Errorf("%s: %q led to %s, want %s", path, test.sent, echo.Node, node)
			}
		}
	}
}

func TestTheCookieOverTLSIsSecure(t *testing.T) {
	_, nodes := startCluster(t, 3)
	e := newEdge(t)
	e.loadTLS(proxyTo(nodes, "tigergraph"))
	line := e.newBrowserTLS(2).get("/api/ping").Header.Get("Set-Cookie")
	if !strings.HasPrefix(line, "TigerGraphNode=") || !strings.HasSuffix(line, "; Path=/; HttpOnly; Secure; SameSite=None") {
		t.Errorf("set %q", line)
	}
}

func TestTheCookieIsSecureBehindATrustedProxyThatSaysHTTPS(t *testing.T) {
	_, nodes := startCluster(t, 3)
	for name, test := range map[string]struct {
		trust, trustHere bool
		proto            string
		want             bool
	}{
		"the server trusts the proxy":         {true, false, "https", true},
		"the reverse proxy trusts the proxy":  {false, true, "https", true},
		"nobody trusts the client":            {false, false, "https", false},
		"the trusted proxy got it over http":  {true, false, "http", false},
		"the trusted proxy here got it plain": {false, true, "http", false},
	} {
		t.Run(name, func(t *testing.T) {
			e := newEdge(t)
			if test.trust {
				e.trustLoopback()
			}
			option := ""
			if test.trustHere {
				option = "trusted_proxies 127.0.0.0/8"
			}
			e.load(proxyTo(nodes, "tigergraph", option))
			line := e.newBrowser(2).get("/api/ping", "X-Forwarded-Proto", test.proto, "X-Forwarded-For", "198.51.100.7").Header.Get("Set-Cookie")
			if got := strings.Contains(line, "; Secure; SameSite=None"); got != test.want || line == "" {
				t.Errorf("set %q", line)
			}
		})
	}
}

func TestACookieInUseIsRenewedBeforeItDies(t *testing.T) {
	_, nodes := startCluster(t, 3)
	e := newEdge(t)
	e.load(proxyTo(nodes, "tigergraph {\ncookie {\nlifetime 2s\nsecret rotating\n}\n}"))
	b := e.newBrowser(2)
	node := b.login()
	first := b.ourCookie()
	values := map[string]bool{first: true}
	eventually(t, "the cookie has had three values", func() bool {
		before := b.ourCookie()
		a := b.get("/api/auth/whoami")
		if a.StatusCode != http.StatusOK || b.pinnedTo() != node {
			t.Fatalf("the session of %s is lost: %d", node, a.StatusCode)
		}
		if value, times := a.cookie("TigerGraphNode"); times > 1 || times == 1 && value == before {
			t.Fatalf("the cookie %s was set %d times to %s", before, times, value)
		}
		values[b.ourCookie()] = true
		return len(values) >= 3
	})
	// A stolen value is dead by now.
	for host := byte(3); ; host++ {
		thief := e.newBrowser(host)
		a := thief.get("/api/__echo", "Cookie", "TigerGraphNode="+first)
		if a.served(t) != node {
			break
		}
		if host > 60 {
			t.Fatal("a value of two lifetimes ago still leads to its node")
		}
	}
}

// keyFile is where the generated key lies.
func (e *edge) keyFile() string { return filepath.Join(e.storage, "tigergraph", "cookie.key") }

func (e *edge) readKey() string {
	e.t.Helper()
	content, err := os.ReadFile(e.keyFile())
	if err != nil {
		e.t.Fatal(err)
	}
	return string(content)
}

func TestTheGeneratedKeyIsMadeOnceAndKeepsSessionsOverARestart(t *testing.T) {
	_, nodes := startCluster(t, 3)
	e := newEdge(t)
	site := proxyTo(nodes, "tigergraph")
	e.load(site)
	key := e.readKey()
	if decoded, err := base64.StdEncoding.DecodeString(strings.TrimSpace(key)); err != nil || len(decoded) != 32 {
		t.Errorf("the key %q is %d bytes: %v", key, len(decoded), err)
	}
	if info, err := os.Stat(e.keyFile()); err != nil || info.Mode().Perm()&0o077 != 0 {
		t.Errorf("others may read the key: %v %v", info.Mode(), err)
	}
	b := e.newBrowser(2)
	node, cookie := b.login(), b.ourCookie()
	elsewhere := e.newBrowser(3) // whose home may be another node
	elsewhere.http.Jar = b.http.Jar
	for range 3 {
		e.restart(site)
		for _, who := range []*browser{b, elsewhere} {
			who.http.CloseIdleConnections()
			a := who.get("/api/auth/whoami")
			if _, times := a.cookie("TigerGraphNode"); a.StatusCode != http.StatusOK || times != 0 {
				t.Errorf("after the restart: %d, the cookie set %d times", a.StatusCode, times)
			}
		}
		if e.readKey() != key || b.ourCookie() != cookie || b.pinnedTo() != node {
			t.Error("the restart changed the key, the cookie or the node")
		}
	}
}

func TestLookingAtAConfigurationMakesNoKey(t *testing.T) {
	_, nodes := startCluster(t, 1)
	e := newEdge(t)
	config := e.adapt("http://"+e.address, proxyTo(nodes, "tigergraph"))
	var parsed caddy.Config
	if err := caddy.StrictUnmarshalJSON([]byte(config), &parsed); err != nil {
		t.Fatal(err)
	}
	if err := caddy.Validate(&parsed); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(e.keyFile()); !os.IsNotExist(err) {
		t.Errorf("a key was made: %v", err)
	}
	// Nor does an edge that has no use for one.
	for _, policy := range []string{"tigergraph client_ip", "tigergraph none", "tigergraph header X-User", "tigergraph {\ncookie {\nsecret mine\n}\n}"} {
		e.load(proxyTo(nodes, policy))
		e.newBrowser(2).get("/api/ping")
		if _, err := os.Stat(e.keyFile()); !os.IsNotExist(err) {
			t.Errorf("%s made a key: %v", policy, err)
		}
	}
}

func TestABrokenKeyFileIsAnErrorThatSaysWhatToDo(t *testing.T) {
	_, nodes := startCluster(t, 3)
	for name, content := range map[string]string{
		"empty":     "",
		"no base64": "not a key!",
		"too short": base64.StdEncoding.EncodeToString([]byte("short")),
		"too long":  base64.StdEncoding.EncodeToString(make([]byte, 64)),
	} {
		t.Run(name, func(t *testing.T) {
			e := newEdge(t)
			if err := os.MkdirAll(filepath.Dir(e.keyFile()), 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(e.keyFile(), []byte(content), 0o600); err != nil {
				t.Fatal(err)
			}
			site := proxyTo(nodes, "tigergraph")
			err := e.tryLoad("http://"+e.address, site)
			if err == nil {
				t.Fatal("the edge started")
			}
			for _, word := range []string{"tigergraph/cookie.key", "remove it", "secret"} {
				if !strings.Contains(err.Error(), word) {
					t.Errorf("the error does not say %q: %v", word, err)
				}
			}
			if content != "" && strings.Contains(err.Error(), content) {
				t.Errorf("the error shows the file: %v", err)
			}
			// Doing what it says helps.
			if err := os.Remove(e.keyFile()); err != nil {
				t.Fatal(err)
			}
			e.load(site)
			e.newBrowser(2).login()
		})
	}
}

func TestAPersistentCookieOfAnotherNameAndPathWorks(t *testing.T) {
	_, nodes := startCluster(t, 3)
	e := newEdge(t)
	e.load(proxyTo(nodes, "tigergraph {\ncookie {\nname edge\npath /api\npersistent\nlifetime 2d\nsame_site strict\nsecret mine\n}\n}"))
	b := e.newBrowser(2)
	a := b.get("/api/ping")
	line := a.Header.Get("Set-Cookie")
	if !regexp.MustCompile(`^edge=[\w-]{22}; Path=/api; Max-Age=\d+; HttpOnly; SameSite=Strict$`).MatchString(line) {
		t.Errorf("set %q", line)
	}
	// The value is valid for what is left of its lifetime, and for another.
	const lifetime = 48 * time.Hour
	if age := time.Duration(a.Cookies()[0].MaxAge) * time.Second; age < lifetime || age > 2*lifetime {
		t.Errorf("the browser may keep it for %s", age)
	}
	node := b.login()
	for range 5 {
		if now := b.pinnedTo(); now != node {
			t.Errorf("went to %s, want %s", now, node)
		}
	}
}

// Meanwhile the user may have been moved, and have logged in elsewhere.
func TestALateAnswerOfANodeThatIsDownByThenSetsNoCookie(t *testing.T) {
	for name, old := range map[string]string{
		"of a new browser":               "",
		"of one with a forged cookie":    "TigerGraphNode=forged",
		"of one with several cookies":    "TigerGraphNode=forged; TigerGraphNode=another",
		"of one with a renewable cookie": "by the old key",
	} {
		for _, version := range []string{"HTTP/1.1", "HTTP/2.0"} {
			t.Run(name+" over "+version, func(t *testing.T) {
				_, nodes := startCluster(t, 2)
				for _, node := range nodes {
					node.SetFault(tgnode.All, tgnode.Fault{Mode: tgnode.SlowHeader, Path: "/studio/", Delay: 3 * time.Second})
				}
				e := newEdge(t)
				load, visit := e.load, func() *browser { return e.newBrowser(2) }
				if version == "HTTP/2.0" {
					load, visit = e.loadTLS, func() *browser { return e.newBrowserTLS(2) }
				}
				cookie := old
				if cookie == "by the old key" {
					load(cluster(nodes, "cookie {\nsecret old\n}"))
					b := visit()
					b.pinnedTo()
					cookie = "TigerGraphNode=" + b.ourCookie()
				}
				load(cluster(nodes, "cookie {\nsecret new old\n}\nhealth_check {\ninterval 100ms\nfails 1\n}"))
				b := visit()
				late := make(chan *answer, 1)
				go func() {
					a, _ := b.try(http.MethodGet, "/studio/", nil, "Cookie", cookie)
					late <- a
				}()
				eventually(t, "a node has the request", func() bool {
					for _, node := range nodes {
						if countTarget(node, "/studio/") > 0 {
							node.SetFault(tgnode.GUI, tgnode.Fault{Mode: tgnode.Dead, Path: "/api/ping"})
							return true
						}
					}
					return false
				})
				eventually(t, "it is down", func() bool { return len(e.logs("node is down")) > 0 })
				a := <-late
				if a == nil || a.StatusCode != http.StatusOK || a.Proto != version || len(a.Cookies()) > 0 {
					t.Errorf("%v", a)
				}
			})
		}
	}
}

func TestAnAnswerHasTheCookieOfTheNodeThatAnsweredOnceAndAnErrorHasNone(t *testing.T) {
	const ok = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
	for name, test := range map[string]struct {
		faults []tgnode.Fault // of each node
		status int
		times  int
	}{
		"an answer":                     {nil, http.StatusOK, 1},
		"after two refusals":            {[]tgnode.Fault{{Mode: tgnode.Close}, {Mode: tgnode.Reset}, {}}, http.StatusOK, 1},
		"after an early hint":           {[]tgnode.Fault{{Mode: tgnode.Raw, Body: "HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n" + ok}}, http.StatusOK, 1},
		"the node's own of our name":    {[]tgnode.Fault{{Mode: tgnode.Answer, Status: 200, Fields: []tgnode.Field{{Name: "Set-Cookie", Value: "TigerGraphNode=x"}}}}, http.StatusOK, 1},
		"an error of the service":       {[]tgnode.Fault{tgnode.StatusFault(http.StatusInternalServerError)}, http.StatusInternalServerError, 1},
		"nginx cannot reach the server": {[]tgnode.Fault{{Mode: tgnode.Dead}}, http.StatusBadGateway, 0},
		"nginx has waited too long":     {[]tgnode.Fault{tgnode.StatusFault(http.StatusGatewayTimeout)}, http.StatusGatewayTimeout, 0},
		"every node breaks off":         {[]tgnode.Fault{{Mode: tgnode.Close}}, http.StatusServiceUnavailable, 0},
	} {
		for _, version := range []string{"HTTP/1.1", "HTTP/2.0"} {
			t.Run(name+" over "+version, func(t *testing.T) {
				_, nodes := startCluster(t, 3)
				for i, node := range nodes {
					if len(test.faults) > 0 {
						fault := test.faults[min(i, len(test.faults)-1)]
						fault.Path = "/studio/"
						node.SetFault(tgnode.All, fault)
					}
				}
				e := newEdge(t)
				load, visit := e.load, e.newBrowser
				if version == "HTTP/2.0" {
					load, visit = e.loadTLS, e.newBrowserTLS
				}
				load(cluster(nodes, "health_check off"))
				for host := byte(2); host < 7; host++ {
					for _, old := range []string{"", "TigerGraphNode=forged"} {
						a := visit(host).get("/studio/", "Cookie", old)
						if _, times := a.cookie("TigerGraphNode"); a.StatusCode != test.status || times != test.times || a.Proto != version {
							t.Errorf("%s %d, set %q", a.Proto, a.StatusCode, a.Header["Set-Cookie"])
						}
					}
				}
			})
		}
	}
}
