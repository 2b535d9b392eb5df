package browser_test

import (
	"encoding/json"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/tgnode"
)

// studio is a page that works as GraphStudio does: it has six requests under way at a
// time, and logs in when it is told that nobody is.
const studio = `<!DOCTYPE html><html><head><meta charset="utf-8"><title>Studio</title><link rel="icon" href="data:,"></head><body>
<script>
const state = {logins: 0, lost: 0, rounds: 0, node: "", downloads: []};
const pause = ms => new Promise(r => setTimeout(r, ms));
let session = 0, entering = null;
function login() {
	return entering ??= (async () => {
		for (;;) {
			const a = await fetch("/api/auth/login", {
				method: "POST", headers: {"Content-Type": "application/json"}, body: JSON.stringify({username: "tigergraph", password: "PASSWORD"}),
			}).catch(() => null);
			if (a && a.ok) break;
			await pause(30);
		}
		session++;
		state.logins++;
		entering = null;
	})();
}
async function ask(path) {
	const before = session;
	const a = await fetch(path, {cache: "no-store"}).catch(() => null);
	if (a && a.status === 401 && session > 0 && session === before && !entering) {
		state.lost++;
		await login();
	}
	return a && a.ok ? a : null;
}
async function who() {
	const a = await ask("/api/auth/whoami");
	if (a) state.node = (await a.json()).results.node;
}
async function work() {
	for (;;) {
		await Promise.all([who(), ...["/api/graphs", "/api/schema", "/api/queries", "/studio/", "/api/users"].map(ask)]);
		state.rounds++;
		await pause(20);
	}
}
async function download() {
	const entry = {bytes: 0, end: ""};
	state.downloads.push(entry);
	try {
		const reader = (await fetch("/assets/main.js?download", {cache: "no-store"})).body.getReader();
		for (let piece; !(piece = await reader.read()).done;) entry.bytes += piece.value.length;
		entry.end = "whole";
	} catch { entry.end = "broken"; }
}
Promise.all(["/api/ping", "/studio/", "/insights/", "/api/__echo", "/api/ping?again", "/admin/"].map(p => fetch(p))).then(login).then(work);
</script></body></html>`

type studioState struct {
	Logins    int    `json:"logins"`
	Lost      int    `json:"lost"`
	Rounds    int    `json:"rounds"`
	Node      string `json:"node"`
	Downloads []struct {
		Bytes int    `json:"bytes"`
		End   string `json:"end"`
	} `json:"downloads"`
}

// studioPage is the page in a browser.
type studioPage struct{ *tab }

func (s studioPage) state() studioState {
	s.t.Helper()
	return eval[studioState](s.tab, "state")
}

// works waits until the page has worked for some rounds more, and returns what it says.
func (s studioPage) works() (now studioState) {
	s.t.Helper()
	from := s.state().Rounds
	eventually(s.t, "the page works on", func() bool {
		now = s.state()
		return now.Rounds >= from+8
	})
	return now
}

// ourCookies returns how many cookies of our name the browser holds for the page.
func (s studioPage) ourCookies() (count int) {
	s.t.Helper()
	for _, cookie := range call(s.tab, network.GetCookies, network.GetCookiesParams{}).Cookies {
		if cookie.Name == "TigerGraphNode" {
			count++
		}
	}
	return count
}

// up reports whether the edge finds all services of a node up.
func (e *edge) up(node *tgnode.Node) bool {
	e.t.Helper()
	response, err := e.admin.Get("http://127.0.0.1/tigergraph/nodes")
	if err != nil {
		e.t.Fatal(err)
	}
	defer response.Body.Close()
	type status struct {
		Address  string
		Services map[string]struct{ Verdict string }
	}
	var nodes []status
	if err := json.NewDecoder(response.Body).Decode(&nodes); err != nil {
		e.t.Fatal(err)
	}
	return slices.ContainsFunc(nodes, func(n status) bool {
		return n.Address == node.Addr() && n.Services["gui"].Verdict == "up" && n.Services["gsql"].Verdict == "up" && n.Services["restpp"].Verdict == "up"
	})
}

func TestAStudioLogsInOncePerLostNode(t *testing.T) {
	for name, fallback := range map[string]string{"placed by its address": "", "placed in turn": "fallback round_robin"} {
		t.Run(name, func(t *testing.T) {
			nodes := startCluster(t, 3, tgnode.Options{Index: []byte(strings.Replace(studio, "PASSWORD", tgnode.Password, 1))})
			byName := make(map[string]*tgnode.Node)
			for _, node := range nodes {
				byName[node.Name()] = node
				node.SetFault(tgnode.All, tgnode.Fault{Mode: tgnode.Trickle, Path: "/assets/main.js", Delay: 3 * time.Second})
			}
			e := newEdge(t)
			with := func(cookie string) string {
				return behind(nodes, quick+"\n"+fallback+"\ncookie {\n"+cookie+"\n}")
			}
			e.run(with("secret first"))
			_, port, _ := net.SplitHostPort(e.address)
			host := net.JoinHostPort("graph.example.com", port)
			page := studioPage{newTab(t, host)}
			page.do(chromedp.Navigate("http://" + host + "/"))
			expect := func(when string, logins, lost int, on string) studioState {
				t.Helper()
				now := page.works()
				if now.Logins != logins || now.Lost != lost || on != "" && now.Node != on {
					t.Errorf("%s: %d logins, %d of them for a lost session, on %s; want %d, %d, %s", when, now.Logins, now.Lost, now.Node, logins, lost, on)
				}
				return now
			}
			home := expect("at first", 1, 0, "").Node

			// A drain: a download and everything else stay, until the user logs in anew.
			eval[bool](page.tab, "download(), true")
			eventually(t, "the download has begun", func() bool { return page.state().Downloads[0].Bytes > 0 })
			e.drain(byName[home], "1h")
			expect("during the drain", 1, 0, home)
			eventually(t, "the download ends", func() bool { return page.state().Downloads[0].End != "" })
			if got := page.state().Downloads[0]; got.End != "whole" || got.Bytes != 200_000 {
				t.Errorf("the download is %s, with %d bytes", got.End, got.Bytes)
			}
			eval[bool](page.tab, "login(), true")
			eventually(t, "the second login has worked", func() bool { return page.state().Logins == 2 })
			next := expect("after a login during the drain", 2, 0, "").Node
			if next == home {
				t.Errorf("the login stayed on %s, which drains", home)
			}
			e.call("/tigergraph/ready", "application/json", fmt.Sprintf(`{"node": %q}`, byName[home].Addr()))
			expect("after the drain", 2, 0, next)

			fail := func(what, node string, logins, lost int) (refuge string) {
				t.Helper()
				eval[bool](page.tab, "download(), true")
				began := func() bool {
					downloads := page.state().Downloads
					return downloads[len(downloads)-1].Bytes > 0
				}
				eventually(t, "the download has begun", began)
				byName[node].Stop()
				eventually(t, "the session is lost", func() bool { return page.state().Lost >= lost })
				eventually(t, "it is begun again", func() bool { return page.state().Logins >= logins })
				refuge = expect(what, logins, lost, "").Node
				if refuge == node {
					t.Errorf("%s: still on %s", what, node)
				}
				if err := byName[node].Start(); err != nil {
					t.Fatal(err)
				}
				eventually(t, "the node is up again", func() bool { return e.up(byName[node]) })
				expect(what+", with the node back", logins, lost, refuge)
				return refuge
			}
			refuge := fail("after a failover", next, 3, 1)

			// Reloads that make other cookies, and a failover with both in the browser.
			e.reload(with("secret second first\ndomain example.com"))
			expect("with a domain and another key", 3, 1, refuge)
			refuge = fail("after a failover with a domain", refuge, 4, 2)
			e.reload(with("secret second first\npath /api\nsame_site strict"))
			expect("with a path", 4, 2, refuge)
			refuge = fail("after a failover with a path", refuge, 5, 3)
			e.reload(with("secret third second first\npersistent\nlifetime 24h"))
			expect("with a persistent cookie", 5, 3, refuge)
			fail("after a failover with a persistent cookie", refuge, 6, 4)
			if count := page.ourCookies(); count != 1 {
				t.Errorf("the browser is left with %d cookies of our name", count)
			}
			page.forgive("Failed to load resource")
			page.forgive("net::ERR_")
		})
	}
}
