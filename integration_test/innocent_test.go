package integration_test

import (
	"bytes"
	"context"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/tgnode"
)

// calm is a health check that a busy machine does not disturb.
const calm = "health_check {\ninterval 500ms\ntimeout 20s\n}\n"

// innocents are clients that do nothing wrong: a user of GraphStudio who is logged
// in, newcomers, a GSQL client and an application.
type innocents struct {
	t    *testing.T
	user *browser
	home string
	new  func() *browser
}

// newInnocents returns clients at addresses of their own, of a site over TLS.
func newInnocents(t *testing.T, e *edge) *innocents {
	t.Helper()
	i := &innocents{t: t, user: e.newBrowserTLS(2)}
	i.user.t = t
	i.home = i.user.login()
	host := byte(10)
	i.new = func() *browser {
		b := e.newBrowserTLS(host)
		b.t = t
		if host++; host > 200 {
			host = 10
		}
		return b
	}
	return i
}

// ask asks as each of them once. All must be served, and nobody may lose a session.
func (i *innocents) ask(turn int) {
	i.t.Helper()
	if node, status := i.user.whoami(); node != i.home || status != http.StatusOK {
		i.t.Errorf("in turn %d the user of %s is answered %d by %q", turn, i.home, status, node)
	}
	i.askForAnything(turn)
}

// askForAnything asks as those who have no session.
func (i *innocents) askForAnything(turn int) {
	i.t.Helper()
	newcomer := i.new()
	for _, path := range []string{"/", "/api/ping", "/api/__echo", "/gsqlserver/gsql/version", "/gsqlserver/__echo", "/restpp/echo", "/restpp/__echo"} {
		if a := newcomer.get(path); a.StatusCode != http.StatusOK {
			i.t.Errorf("in turn %d a newcomer's %s is answered %d %.100s", turn, path, a.StatusCode, a.body)
		}
	}
	newcomer.http.CloseIdleConnections()
}

// staysUp fails if a check found any service down.
func (e *edge) staysUp(t *testing.T) {
	t.Helper()
	if down := e.logs("node is down"); len(down) > 0 {
		t.Errorf("a service was found down: %s", down[0])
	}
}

func TestNoClientsFaultCostsAnother(t *testing.T) {
	_, nodes := startCluster(t, 3)
	for _, node := range nodes {
		hangingPaths(node)
	}
	e := newEdge(t)
	e.globals += misdeedGlobals
	e.loadTLS(misdeedSite + cluster(nodes, misdeedProxy+calm))
	for _, o := range offenders(e) {
		for _, misdeed := range misdeeds {
			t.Run(misdeed.name+" over "+o.protocol, func(t *testing.T) {
				i := newInnocents(t, e)
				whileItGoesOn(t, func(ctx context.Context, turn int) {
					misdeed.commit(ctx, o, uploads[turn%len(uploads)])
				}, i.ask)
				e.staysUp(t)
			})
		}
	}
}

// Whoever does wrong is told what it was.
func TestAFaultOfAClientsIsAnsweredAsOne(t *testing.T) {
	_, nodes := startCluster(t, 1)
	e := newEdge(t)
	e.globals += misdeedGlobals
	e.loadTLS(misdeedSite + cluster(nodes, calm))
	stall := func(ctx context.Context) io.Reader { return io.MultiReader(strings.NewReader("1,2"), stalled{ctx}) }
	much := func(context.Context) io.Reader {
		return io.MultiReader(bytes.NewReader(make([]byte, 2*mostOfABody)))
	}
	for _, o := range offenders(e) {
		o.http.Timeout = enough
		for name, test := range map[string]struct {
			body   func(ctx context.Context) io.Reader
			length int64
			want   int
		}{
			"stalled, of known length":   {stall, mostOfABody, http.StatusRequestTimeout},
			"stalled":                    {stall, -1, http.StatusRequestTimeout},
			"too large, of known length": {much, 2 * mostOfABody, http.StatusRequestEntityTooLarge},
			"too large":                  {much, -1, http.StatusRequestEntityTooLarge},
		} {
			post := func() (*http.Response, error) {
				// Go's client may find that the connection has ended before it has read the
				// answer on it, and then waits for the body to end.
				ctx, end := context.WithTimeout(t.Context(), 5*time.Second)
				defer end()
				request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "https://"+o.address+uploads[1], test.body(ctx))
				if err != nil {
					t.Fatal(err)
				}
				request.ContentLength = test.length
				return o.http.Do(request)
			}
			response, err := post()
			if err != nil {
				t.Errorf("%s over %s: %v", name, o.protocol, err)
				continue
			}
			_ = response.Body.Close()
			// Over HTTP/1.1 this ends the request as well, and Go may notice that first.
			early := name == "stalled" && o.protocol == "HTTP1.1" && response.StatusCode == 499
			if response.StatusCode != test.want && !early {
				t.Errorf("%s over %s is answered %d", name, o.protocol, response.StatusCode)
			}
		}
	}
}

// All at once, with other ways to the nodes, and with checks of Caddy's that take a
// node out after one failure, whosever it was.
func TestNoClientsFaultEmptiesAPool(t *testing.T) {
	for name, proxy := range map[string]func(nodes []*tgnode.Node) string{
		"the directive over Go's transport": func(nodes []*tgnode.Node) string {
			return cluster(nodes, misdeedProxy+calm+"transport http\n")
		},
		"the policy alone": func(nodes []*tgnode.Node) string {
			return "reverse_proxy " + addresses(nodes) + " {\n" + misdeedProxy + "lb_policy tigergraph {\n" + calm + "}\n}"
		},
		"passive checks of the user's": func(nodes []*tgnode.Node) string {
			return cluster(nodes, misdeedProxy+calm+"fail_duration 1m\nmax_fails 1\n")
		},
		"passive checks with the policy alone": func(nodes []*tgnode.Node) string {
			return "reverse_proxy " + addresses(nodes) + " {\n" + misdeedProxy + "lb_policy tigergraph {\n" + calm + "}\nfail_duration 1m\nmax_fails 1\n}"
		},
	} {
		t.Run(name, func(t *testing.T) {
			_, nodes := startCluster(t, 3)
			for _, node := range nodes {
				hangingPaths(node)
			}
			e := newEdge(t)
			e.globals += misdeedGlobals
			e.loadTLS(misdeedSite + proxy(nodes))
			i := newInnocents(t, e)
			all := offenders(e)
			whileItGoesOn(t, func(ctx context.Context, turn int) {
				o, misdeed := all[turn%len(all)], misdeeds[turn/len(all)%len(misdeeds)]
				for _, path := range uploads {
					misdeed.commit(ctx, o, path)
				}
			}, i.askForAnything)
			e.staysUp(t)
		})
	}
}
