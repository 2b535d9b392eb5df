package integration_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/tgnode"
)

// secondProxies are sites with a proxy to other nodes behind the first.
func secondProxies(first, second []*tgnode.Node) map[string]string {
	behind := cluster(second, "health_check off")
	return map[string]string{
		"handle_errors":   cluster(first, "health_check off\nmax_fails 1000") + "\nhandle_errors {\n" + behind + "\n}",
		"handle_response": cluster(first, "health_check off\nmax_fails 1000\n@broken status 5xx\nhandle_response @broken {\n"+behind+"\n}"),
		"intercept behind forward_auth": "forward_auth " + second[0].Addr() + " {\nuri /api/ping\n}\n" +
			"intercept {\n@broken status 5xx\nhandle_response @broken {\n" + behind + "\n}\n}\n" + cluster(first, "health_check off\nmax_fails 1000"),
		"intercept": "intercept {\n@broken status 5xx\nhandle_response @broken {\n" + behind + "\n}\n}\n" + cluster(first, "health_check off\nmax_fails 1000"),
	}
}

func TestASecondProxyDoesNothingTwice(t *testing.T) {
	firstCluster, first := startCluster(t, 2)
	secondCluster, second := startCluster(t, 1)
	for name, site := range secondProxies(first, second) {
		t.Run(name, func(t *testing.T) {
			fault := tgnode.Fault{Mode: tgnode.Reset}
			if name != "handle_errors" {
				fault.Mode = tgnode.Died // the first has the node's answer
			}
			for _, node := range first {
				node.SetFault(tgnode.All, fault)
			}
			e := newEdge(t)
			e.load(site)
			b := e.newBrowser(2)
			for i, act := range acts {
				firstCluster.Ledger().Reset()
				secondCluster.Ledger().Reset()
				if strings.HasPrefix(act.target, "/api/restpp/") {
					continue // which the stand-in's application server does not pass on
				}
				var body []byte
				if act.body != "" {
					body = []byte(act.body)
				}
				a := b.do(act.method, act.target, body, act.fields...)
				if done := firstCluster.Ledger().Total(); done != 1 && act.method != http.MethodOptions {
					t.Errorf("%d: %s %s was done %d times by the first", i, act.method, act.target, done)
				}
				if done := secondCluster.Ledger().Total(); done != 0 || a.StatusCode != http.StatusBadGateway || len(a.Cookies()) > 0 {
					t.Errorf("%d: %s %s: %d, done %d times by the second, %v", i, act.method, act.target, a.StatusCode, done, a.Header)
				}
			}
			// What does no harm gets an answer, and the second's cookie.
			a := b.get("/studio/")
			if value, times := a.cookie("TigerGraphNode"); a.StatusCode != http.StatusOK || times != 1 || value == "" || a.Header.Get("Retry-After") != "" {
				t.Errorf("a read: %d %v", a.StatusCode, a.Header)
			}
		})
	}
}

// Our transport reads short bodies before it dials; Caddy's does not.
func TestAnotherProxyGetsTheBodyOfWhatNeverLeft(t *testing.T) {
	_, first := startCluster(t, 2)
	_, plain := startCluster(t, 1)
	encrypted, _ := startTLSNodes(t, 1, "localhost")
	for _, node := range first {
		node.Stop()
	}
	const overTLS = "transport http {\ntls\ntls_insecure_skip_verify\n}\n"
	bare := "reverse_proxy " + addresses(first) + " {\nlb_policy tigergraph {\nhealth_check off\n}\ntransport tigergraph\n}"
	for _, test := range []struct {
		name, first, second string
		node                *tgnode.Node // nil if none can get it
	}{
		{"reverse_proxy", cluster(first, "health_check off"), "reverse_proxy " + addresses(plain), plain[0]},
		{"reverse_proxy over TLS", cluster(first, "health_check off"), "reverse_proxy " + addresses(encrypted) + " {\n" + overTLS + "}", encrypted[0]},
		{"tigergraph", cluster(first, "health_check off"), cluster(plain, "health_check off"), plain[0]},
		{"tigergraph over TLS", cluster(first, "health_check off"), cluster(encrypted, "health_check off\n"+strings.Replace(overTLS, "http", "tigergraph", 1)), encrypted[0]},
		{"tigergraph by Go's client", cluster(first, "health_check off"), cluster(plain, "health_check off\ntransport http"), plain[0]},
		{"the transport behind the transport alone", bare, strings.Replace(bare, addresses(first), addresses(plain), 1), plain[0]},
		{
			"the transport over TLS behind the transport alone", bare,
			"reverse_proxy " + addresses(encrypted) + " {\n" + strings.Replace(overTLS, "http", "tigergraph", 1) + "}", encrypted[0],
		},
		// Only the directive's handler can give a body back to a transport that is not ours.
		{"another transport behind the transport alone", bare, "reverse_proxy " + addresses(plain), nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			e := newEdge(t)
			e.load(test.first + "\nhandle_errors {\n" + test.second + "\n}")
			const body = `{"vertices":{}}`
			a := e.newBrowser(2).do(http.MethodPost, "/restpp/__echo", []byte(body))
			if test.node == nil {
				if a.StatusCode < http.StatusInternalServerError {
					t.Errorf("%d %s", a.StatusCode, a.body)
				}
				return
			}
			if echo := a.echo(t); echo.Node != test.node.Name() || echo.BodyBytes != int64(len(body)) {
				t.Errorf("%s got %d bytes, want %d", echo.Node, echo.BodyBytes, len(body))
			}
		})
	}
}

func TestASecondProxyGetsWhatNeverLeft(t *testing.T) {
	firstCluster, first := startCluster(t, 2)
	secondCluster, second := startCluster(t, 1)
	e := newEdge(t)
	e.load(secondProxies(first, second)["handle_errors"])
	for _, node := range first {
		node.Stop()
	}
	b := e.newBrowser(2)
	for _, act := range []struct{ method, target, body string }{
		{http.MethodGet, "/gsql/v1/drop-all", ""},
		{http.MethodGet, "/api/__echo", ""},
		{http.MethodPost, "/restpp/graph/social", `{"vertices":{}}`},
	} {
		a := b.do(act.method, act.target, []byte(act.body))
		if a.StatusCode != http.StatusOK || a.Header.Get("Retry-After") != "" {
			t.Errorf("%s %s: %d %v %s", act.method, act.target, a.StatusCode, a.Header, a.body)
		}
		if _, times := a.cookie("TigerGraphNode"); act.target == "/api/__echo" && times != 1 {
			t.Errorf("the second's cookie is set %d times: %v", times, a.Header)
		}
	}
	if first, second := firstCluster.Ledger().Total(), secondCluster.Ledger().Total(); first != 0 || second != 2 {
		t.Errorf("done %d times by the first, %d times by the second", first, second)
	}
	second[0].Stop()
	if a := b.get("/gsql/v1/drop-all"); a.StatusCode != http.StatusServiceUnavailable || a.Header.Get("Retry-After") == "" || len(a.Cookies()) > 0 {
		t.Errorf("nobody is left: %d %v", a.StatusCode, a.Header)
	}
}

// What the first proxy could send to nobody is to be tried again, but not what the second
// one, which has our policy alone, may have had done.
func TestWhatASecondProxyMayHaveDoneIsNotAskedForAgain(t *testing.T) {
	withEachTransport(t, func(t *testing.T, transport string) {
		_, first := startCluster(t, 1)
		second, nodes := startCluster(t, 1)
		e := newEdge(t)
		e.load(cluster(first, "health_check off") + "\nhandle_errors {\n" + retrying(nodes, transport) + "\n}")
		first[0].Stop()
		a := e.newBrowser(2).do(http.MethodPost, "/restpp/ddl/social", []byte("1,2"))
		if a.StatusCode != http.StatusOK || a.Header.Get("Retry-After") != "" {
			t.Errorf("answered by the second: %d %v", a.StatusCode, a.Header)
		}
		nodes[0].SetFault(tgnode.All, tgnode.Fault{Mode: tgnode.Reset})
		a = e.newBrowser(2).do(http.MethodPost, "/restpp/ddl/social", []byte("3,4"))
		if a.StatusCode/100 != 5 || a.Header.Get("Retry-After") != "" || second.Ledger().Total() != 2 {
			t.Errorf("done by the second: %d %v, done %d times in all", a.StatusCode, a.Header, second.Ledger().Total())
		}
	})
}

// The answer of a node that is turned into an error is an answer nevertheless.
func TestASecondProxyDoesNotDoAgainWhatWasAnswered(t *testing.T) {
	firstCluster, first := startCluster(t, 1)
	secondCluster, second := startCluster(t, 1)
	nobody := freeAddress(t)
	for name, routes := range map[string]string{
		"an error of 503":               "error 503",
		"a proxy that reaches nobody":   "reverse_proxy " + nobody,
		"a proxy without a node to ask": "reverse_proxy {\ndynamic a {\nname nowhere.invalid\nresolvers " + nobody + "\n}\n}",
	} {
		t.Run(name, func(t *testing.T) {
			first[0].SetFault(tgnode.All, tgnode.Fault{Mode: tgnode.Died})
			e := newEdge(t)
			e.load(cluster(first, "health_check off\n@broken status 5xx\nhandle_response @broken {\n"+routes+"\n}") +
				"\nhandle_errors {\n" + cluster(second, "health_check off") + "\n}")
			firstCluster.Ledger().Reset()
			secondCluster.Ledger().Reset()
			a := e.newBrowser(2).get("/gsql/v1/drop-all")
			if once, again := firstCluster.Ledger().Total(), secondCluster.Ledger().Total(); once != 1 || again != 0 {
				t.Errorf("%d: done %d times by the first, %d times by the second", a.StatusCode, once, again)
			}
		})
	}
}

// anyProxies are the ways to write a proxy that has our policy, our transport or both, to
// nodes and with more options.
var anyProxies = map[string]func(nodes []*tgnode.Node, more string) string{
	"tigergraph": func(nodes []*tgnode.Node, more string) string { return cluster(nodes, "health_check off\n"+more) },
	"our policy": func(nodes []*tgnode.Node, more string) string { return proxyTo(nodes, "tigergraph", more) },
	"our policy and transport": func(nodes []*tgnode.Node, more string) string {
		return proxyTo(nodes, "tigergraph", "transport tigergraph", more)
	},
	"our transport": func(nodes []*tgnode.Node, more string) string {
		return proxyTo(nodes, "first", "transport tigergraph", more)
	},
}

// A proxy that is not written as `tigergraph` has no handler of ours: its policy or its
// transport sees to it.
func TestASecondProxyDoesNothingTwiceHoweverItIsWritten(t *testing.T) {
	firstCluster, first := startCluster(t, 1)
	secondCluster, second := startCluster(t, 1)
	const opening, end = "@broken status 5xx\nhandle_response @broken {\n", "\n}\n"
	for route, test := range map[string]struct {
		site func(before, behind func(more string) string) string
		mode tgnode.Mode
	}{
		"handle_errors": {func(before, behind func(string) string) string {
			return before("") + "\nhandle_errors {\n" + behind("") + end
		}, tgnode.Reset},
		"handle_response": {func(before, behind func(string) string) string {
			return before(opening + behind("") + end)
		}, tgnode.Died},
		"intercept": {func(before, behind func(string) string) string {
			return "intercept {\n" + opening + behind("") + end + end + before("")
		}, tgnode.Died},
	} {
		for one, before := range anyProxies {
			for other, behind := range anyProxies {
				t.Run(one+", "+route+", "+other, func(t *testing.T) {
					first[0].SetFault(tgnode.All, tgnode.Fault{Mode: test.mode})
					e := newEdge(t)
					e.load(test.site(func(more string) string { return before(first, more) }, func(more string) string { return behind(second, more) }))
					b := e.newBrowser(2)
					for _, act := range []struct{ method, target, body string }{
						{http.MethodGet, "/gsql/v1/drop-all", ""},
						{http.MethodDelete, "/restpp/graph/social/vertices/p/1", ""},
						{http.MethodPost, "/gsql/v1/statements", "DROP ALL"},
						{http.MethodPost, "/restpp/ddl/social", strings.Repeat("1,2,3\n", 20_000)},
					} {
						firstCluster.Ledger().Reset()
						secondCluster.Ledger().Reset()
						a := b.do(act.method, act.target, []byte(act.body))
						if once, again := firstCluster.Ledger().Total(), secondCluster.Ledger().Total(); once != 1 || again != 0 {
							t.Errorf("%s %s: done %d times by the first, %d times by the second", act.method, act.target, once, again)
						}
						if a.StatusCode != http.StatusBadGateway && a.StatusCode != http.StatusServiceUnavailable || a.Header.Get("Retry-After") != "" {
							t.Errorf("%s %s: %d %v", act.method, act.target, a.StatusCode, a.Header)
						}
					}
					if route == "intercept" {
						return // which leaves the length of the first one's answer to the second's
					}
					if a := b.get("/studio/"); a.StatusCode != http.StatusOK {
						t.Errorf("a read: %d", a.StatusCode)
					}
				})
			}
		}
	}
}

// The last error of a proxy is not the whole story where it was told to try again.
func TestWhatLeftBeforeADialFailedMayHaveBeenDone(t *testing.T) {
	const lax = "lb_retries 1\nlb_retry_match {\nmethod GET POST\n}"
	for name, proxy := range anyProxies {
		if name == "our transport" {
			continue // whose proxy would go on to the first node
		}
		t.Run(name, func(t *testing.T) {
			firstCluster, first := startCluster(t, 2)
			secondCluster, second := startCluster(t, 1)
			e := newEdge(t)
			e.load(proxy(first, lax) + "\nhandle_errors {\n" + cluster(second, "health_check off") + "\n}")
			b := e.newBrowser(2)
			home := named(t, first, b.get("/api/__echo").served(t))
			home.SetFault(tgnode.All, tgnode.Fault{Mode: tgnode.Reset})
			for _, node := range first {
				if node != home {
					node.Stop()
				}
			}
			for _, method := range []string{http.MethodGet, http.MethodPost} {
				firstCluster.Ledger().Reset()
				a := b.do(method, "/restpp/query/social/friends", nil)
				if once, again := firstCluster.Ledger().Total(), secondCluster.Ledger().Total(); once != 1 || again != 0 {
					t.Errorf("%s: done %d times by the first, %d times by the second", method, once, again)
				}
				if a.StatusCode != http.StatusBadGateway || a.Header.Get("Retry-After") != "" {
					t.Errorf("%s: %d %v", method, a.StatusCode, a.Header)
				}
			}
		})
	}
}
