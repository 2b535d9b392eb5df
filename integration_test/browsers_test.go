package integration_test

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/tgnode"
)

// everyHost loads a site for whatever the edge is called, with metrics.
func (e *edge) everyHost(directives string) {
	e.t.Helper()
	_, port, _ := net.SplitHostPort(e.address)
	if err := e.tryLoad("http://:"+port, withMetrics(directives)); err != nil {
		e.t.Fatal(err)
	}
}

// visiting returns a browser at 127.0.0.<host> that calls the edge by this name. Its
// jar follows RFC 6265: cookies of one name are kept apart by domain and path, and sent
// by the length of their paths, the older ones first.
func (e *edge) visiting(name string, host byte) *browser {
	e.t.Helper()
	_, port, _ := net.SplitHostPort(e.address)
	return newBrowser(e.t, "http://"+net.JoinHostPort(name, port), host, nil)
}

// ourCookies returns the values of our cookie that the browser sends to a path.
func (b *browser) ourCookies(path string) (values []string) {
	b.t.Helper()
	target, err := url.Parse(b.base + path)
	if err != nil {
		b.t.Fatal(err)
	}
	for _, cookie := range b.http.Jar.Cookies(target) {
		if cookie.Name == "TigerGraphNode" {
			values = append(values, cookie.Value)
		}
	}
	return values
}

// displaced returns how many browsers are counted as having lost a node.
func (e *edge) displaced(node *tgnode.Node) float64 {
	return e.scrape()[fmt.Sprintf("caddy_tigergraph_displaced_total{node=%q}", node.Addr())]
}

// loginAwayFromHome logs a browser in on a node that is not the home of its address, so
// that nothing but the cookie keeps it there.
func (e *edge) loginAwayFromHome(name string, nodes []*tgnode.Node) (b *browser, node *tgnode.Node) {
	e.t.Helper()
	b = e.visiting(name, 2)
	home := b.login()
	for host := byte(3); host < 100; host++ {
		elsewhere := e.visiting(name, host)
		if elsewhere.pinnedTo() != home {
			elsewhere.http.Jar = b.http.Jar
			return elsewhere, named(e.t, nodes, home)
		}
	}
	e.t.Fatal("every address has the same home")
	return nil, nil
}

func TestABrowserKeepsItsNodeOverReloadsThatChangeTheCookie(t *testing.T) {
	for name, test := range map[string]struct{ before, after string }{
		"a domain":                {"", "domain example.test"},
		"no domain any more":      {"domain example.test", ""},
		"the domain of the host":  {"domain example.test", "domain graph.example.test"},
		"a domain above":          {"domain graph.example.test", "domain example.test"},
		"a path":                  {"", "path /api"},
		"no path any more":        {"path /api", ""},
		"a longer path":           {"path /api", "path /api/auth"},
		"a shorter path":          {"path /api/auth", "path /api/"},
		"domain and path":         {"domain example.test\npath /api", "path /"},
		"SameSite":                {"same_site strict", "same_site lax"},
		"persistent":              {"", "persistent"},
		"not persistent any more": {"persistent", ""},
		"the secret":              {"secret first", "secret second first"},
		"secret and domain":       {"secret first", "secret second first\ndomain example.test"},
		"secret and path":         {"secret first\npath /api", "secret second first"},
	} {
		t.Run(name, func(t *testing.T) {
			_, nodes := startCluster(t, 3)
			e := newEdge(t)
			load := func(cookie string) {
				t.Helper()
				if !strings.Contains(cookie, "secret") {
					cookie += "\nsecret first"
				}
				e.everyHost(cluster(nodes, quick+"\ncookie {\n"+cookie+"\n}"))
			}
			load(test.before)
			b, lost := e.loginAwayFromHome("graph.example.test", nodes)
			load(test.after)
			stays := func(node *tgnode.Node) {
				t.Helper()
				for range 4 {
					if now, status := b.whoami(); now != node.Name() || status != http.StatusOK {
						t.Fatalf("the session of %s is on %q: %d", node.Name(), now, status)
					}
				}
			}
			stays(lost)
			if count := e.displaced(lost); count != 0 {
				t.Errorf("%v browsers are counted as displaced by the reload", count)
			}

			// Its node dies: one login, and it stays where it is when the node is back.
			lost.Stop()
			next := named(t, nodes, b.relogin())
			stays(next)
			if err := lost.Start(); err != nil {
				t.Fatal(err)
			}
			eventually(t, "the node is up again", func() bool { return len(e.logs("node is up")) >= 3 })
			stays(next)
			if count := e.displaced(lost); count != 1 {
				t.Errorf("%v browsers are counted as displaced, want one", count)
			}
			if values := b.ourCookies("/api/auth/whoami"); len(values) != 1 {
				t.Errorf("the browser is left with the cookies %q", values)
			}
			if a := b.get("/api/auth/whoami"); len(a.Header["Set-Cookie"]) > 0 {
				t.Errorf("it is still given %q", a.Header["Set-Cookie"])
			}
		})
	}
}

// What a new name or lifetime makes of the old cookie is no cookie at all: its value says
// nothing any more. The browser is a new one, for once.
func TestAReloadWithAnotherNameOrLifetimePlacesABrowserAnewForOnce(t *testing.T) {
	for name, after := range map[string]string{"name": "name Sticky", "lifetime": "lifetime 7h"} {
		t.Run(name, func(t *testing.T) {
			_, nodes := startCluster(t, 3)
			e := newEdge(t)
			e.everyHost(cluster(nodes, quick))
			b, before := e.loginAwayFromHome("graph.example.test", nodes)
			e.everyHost(cluster(nodes, quick+"\ncookie {\n"+after+"\n}"))
			a := b.get("/api/__echo")
			if len(a.Header["Set-Cookie"]) != 1 {
				t.Errorf("set %q", a.Header["Set-Cookie"])
			}
			node := a.served(t)
			if again := b.login(); again != node {
				t.Errorf("the login went to %s, want %s", again, node)
			}
			for range 5 {
				a := b.get("/api/__echo")
				if a.served(t) != node || len(a.Header["Set-Cookie"]) > 0 {
					t.Errorf("went to %s, want %s; set %q", a.served(t), node, a.Header["Set-Cookie"])
				}
			}
			if count := e.displaced(before); count != 0 {
				t.Errorf("%v browsers are counted as displaced, although no node was lost", count)
			}
		})
	}
}

func TestAPersistentSessionInUseIsNeverLostAndAnIdleOneIs(t *testing.T) {
	_, nodes := startCluster(t, 3)
	e := newEdge(t)
	e.everyHost(cluster(nodes, "health_check off\ncookie {\npersistent\nlifetime 4s\n}"))
	b, node := e.loginAwayFromHome("graph.example.test", nodes)
	values := make(map[string]bool)
	eventually(t, "the cookie has had four values", func() bool {
		if now, status := b.whoami(); now != node.Name() || status != http.StatusOK {
			t.Fatalf("the session of %s is on %q after %d values: %d", node.Name(), now, len(values), status)
		}
		values[b.ourCookie()] = true
		return len(values) >= 4
	})
	eventually(t, "the idle browser forgets the cookie", func() bool { return b.ourCookie() == "" })
}

func TestTwoClustersOnOneHostKeepTheirBrowsersApart(t *testing.T) {
	_, all := startCluster(t, 6)
	first, second := all[:3], all[3:]
	for name, options := range map[string][2]string{
		"by their names":         {"cluster a", "cluster b"},
		"by the cookies' names":  {"cookie {\nname A\n}", "cookie {\nname B\n}"},
		"by the cookies' paths":  {"cookie {\npath /a\n}", "cookie {\npath /b\n}"},
		"by the cookies' path":   {"cookie {\npath /a/\nsecret one\n}", "cookie {\nsecret two\nname B\n}"},
		"and with one fallback":  {"cluster a\nfallback round_robin", "cluster b\nfallback round_robin"},
		"and with one secret":    {"cluster a\ncookie {\nsecret one\n}", "cluster b\ncookie {\nsecret one\n}"},
		"and with other domains": {"cluster a\ncookie {\ndomain example.test\n}", "cluster b"},
	} {
		t.Run(name, func(t *testing.T) {
			e := newEdge(t)
			e.everyHost("handle_path /a/* {\n" + cluster(first, quick+"\n"+options[0]) + "\n}\nhandle_path /b/* {\n" + cluster(second, quick+"\n"+options[1]) + "\n}")
			b := e.visiting("graph.example.test", 2)
			ask := func(prefix string) string { return b.get(prefix + "/api/__echo").served(t) }
			a1, b1 := ask("/a"), ask("/b")
			if a1 == b1 {
				t.Fatalf("both clusters have %s", a1)
			}
			elsewhere := e.visiting("graph.example.test", 3)
			elsewhere.http.Jar = b.http.Jar
			for range 4 {
				for _, who := range []*browser{b, elsewhere} {
					b = who
					if a, b := ask("/a"), ask("/b"); a != a1 || b != b1 {
						t.Fatalf("the browser of %s and %s went to %s and %s", a1, b1, a, b)
					}
				}
			}
			lost := named(t, all, a1)
			lost.Stop()
			a2 := ask("/a")
			if err := lost.Start(); err != nil {
				t.Fatal(err)
			}
			eventually(t, "the node is up again", func() bool { return len(e.logs("node is up")) >= len(e.logs("node is down")) })
			for range 4 {
				if a, b := ask("/a"), ask("/b"); a != a2 || a == a1 || b != b1 {
					t.Fatalf("the browser of %s and %s went to %s and %s", a2, b1, a, b)
				}
			}
		})
	}
}

// takeTurns asks as so many new browsers, one after another, and returns how many each
// node gets.
func (e *edge) takeTurns(browsers int) map[string]int {
	e.t.Helper()
	b := e.newBrowser(2) // one address, and one User-Agent
	turns := make(map[string]int)
	for range browsers {
		b.forget()
		turns[b.get("/api/__echo").served(e.t)]++
	}
	return turns
}

func TestBrowsersBehindOneAddressSpreadWhenTheyComeOneAfterAnother(t *testing.T) {
	for name, site := range map[string]func(nodes []*tgnode.Node) string{
		"the directive": func(nodes []*tgnode.Node) string {
			return cluster(nodes, "health_check off\nfallback round_robin\nlb_retries 0")
		},
		"the policy alone": func(nodes []*tgnode.Node) string {
			return proxyTo(nodes, "tigergraph {\nfallback round_robin\n}")
		},
		"the policy and our transport": func(nodes []*tgnode.Node) string {
			return proxyTo(nodes, "tigergraph {\nfallback round_robin\n}", "transport tigergraph")
		},
	} {
		t.Run(name, func(t *testing.T) {
			_, nodes := startCluster(t, 3)
			for _, node := range nodes {
				node.Update(func(o *tgnode.Options) { o.Streaming = true })
			}
			e := newEdge(t)
			e.load("break_off /api/panic\n" + site(nodes))
			check := func(what string) {
				t.Helper()
				for range 3 {
					if turns := e.takeTurns(33); turns["m1"] != 11 || turns["m2"] != 11 || turns["m3"] != 11 {
						t.Errorf("%s the browsers took turns as %v", what, turns)
					}
				}
			}
			check("at first")

			// WebSockets and events go on for as long as the client likes.
			for range 4 {
				socket, err := http.NewRequest(http.MethodGet, "http://"+e.address+"/api/__echo", nil)
				if err != nil {
					t.Fatal(err)
				}
				for field, value := range map[string]string{
					"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
				} {
					socket.Header.Set(field, value)
				}
				switched, err := e.newBrowser(2).http.Transport.RoundTrip(socket)
				if err != nil || switched.StatusCode != http.StatusSwitchingProtocols {
					t.Fatalf("%v %v", switched, err)
				}
				defer switched.Body.Close()
				events, err := e.newBrowser(2).http.Get("http://" + e.address + "/api/__events?n=100000&every=20ms")
				if err != nil {
					t.Fatal(err)
				}
				defer events.Body.Close()
			}
			check("while WebSockets and events are open")

			// Requests that are given up, and handlers that panic, leave nothing behind.
			for _, node := range nodes {
				node.SetFault(tgnode.GUI, tgnode.Fault{Mode: tgnode.Hang, Path: "/api/hang"})
			}
			ctx, cancel := context.WithCancel(t.Context())
			for range 3 {
				request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+e.address+"/api/hang", nil)
				if err != nil {
					t.Fatal(err)
				}
				go func() {
					if response, err := e.newBrowser(2).http.Do(request); err == nil {
						_ = response.Body.Close()
					}
				}()
			}
			eventually(t, "the requests are under way", func() bool {
				return countTarget(nodes[0], "/api/hang")+countTarget(nodes[1], "/api/hang")+countTarget(nodes[2], "/api/hang") == 3
			})
			if turns := e.takeTurns(12); len(turns) != 1 {
				t.Errorf("while a browser's request is unanswered, the others of its kind went to %v", turns)
			}
			cancel()
			for range 3 {
				if a, err := e.newBrowser(2).try(http.MethodGet, "/api/panic", nil); err == nil {
					t.Errorf("the panic was answered: %d", a.StatusCode)
				}
			}
			eventually(t, "the edge notices that they are given up", func() bool { return len(e.takeTurns(9)) == 3 })
			check("after requests without an answer")
		})
	}
}

// breakOff is a handler whose answers end in a panic when they begin.
type breakOff struct{}

func init() {
	caddy.RegisterModule(breakOff{})
	httpcaddyfile.RegisterHandlerDirective("break_off", func(httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
		return breakOff{}, nil
	})
	httpcaddyfile.RegisterDirectiveOrder("break_off", httpcaddyfile.Before, "header")
}

func (breakOff) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.handlers.break_off", New: func() caddy.Module { return new(breakOff) }}
}

func (breakOff) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	return next.ServeHTTP(breaking{w}, r)
}

type breaking struct{ http.ResponseWriter }

func (breaking) WriteHeader(int) { panic(http.ErrAbortHandler) }
