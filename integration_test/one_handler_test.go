package integration_test

import (
	"slices"
	"testing"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/tgnode"
)

// Wherever the directive stands, the proxy is behind it, and the handler before it.
func TestTheDirectiveProxiesWhereverItStands(t *testing.T) {
	_, nodes := startCluster(t, 2)
	e := newEdge(t)
	directive := "tigergraph " + addresses(nodes)
	for _, test := range []struct{ name, before, site, path string }{
		{"a named route", "&(cluster) {\n" + directive + "\n}\n", "invoke cluster", "/api/__echo"},
		{"a named route with a block", "&(cluster) {\n" + directive + " {\n" + quick + "\n}\n}\n", "handle /api/* {\ninvoke cluster\n}", "/api/__echo"},
		{"a named route with a matcher", "&(cluster) {\n@api path /api/*\ntigergraph @api " + addresses(nodes) + "\n}\n", "invoke cluster", "/api/__echo"},
		{"handle", "", "handle /api/* {\n" + directive + "\n}", "/api/__echo"},
		{"handle_path", "", "handle_path /graph/* {\n" + directive + "\n}", "/graph/api/__echo"},
		{"route", "", "route {\nheader X-Site here\n" + directive + "\n}", "/api/__echo"},
		{"a matcher", "", directive[:10] + " /api/* " + addresses(nodes), "/api/__echo"},
		{"handle_errors", "", "error 500\nhandle_errors {\n" + directive + "\n}", "/api/__echo"},
		{"handle_response", "", "reverse_proxy " + nodes[0].Addr() + " {\nrewrite /no/such\n@all status 2xx 3xx 4xx\nhandle_response @all {\nrewrite /api/__echo\n" + directive + "\n}\n}", "/api/x"},
	} {
		t.Run(test.name, func(t *testing.T) {
			e.t = t
			if err := e.tryLoadCaddyfile(e.globals + "}\n" + test.before + "http://" + e.address + " {\n" + test.site + "\n}\n"); err != nil {
				t.Fatal(err)
			}
			b := e.newBrowser(2)
			got := b.get(test.path)
			if node := got.echo(t).Node; node != "m1" && node != "m2" {
				t.Errorf("%d %s", got.StatusCode, got.body)
			}
			if b.ourCookie() == "" {
				t.Errorf("no cookie of ours in %v", got.Header)
			}
			for _, node := range nodes {
				if slices.ContainsFunc(node.Requests(), func(r tgnode.Request) bool { return r.Target == "/api/__echo" && len(r.Values("Via")) > 0 }) {
					t.Error("the node got Via")
				}
				node.ResetRequests()
			}
		})
	}
}

// Two clusters by path on one host, of which one has a name, keep both sessions.
func TestTwoClustersOnOneHostKeepBothSessions(t *testing.T) {
	_, nodes := startCluster(t, 3)
	_, others := startCluster(t, 3)
	e := newEdge(t)
	e.load("handle_path /a/* {\ntigergraph " + addresses(nodes) + "\n}\nhandle_path /b/* {\ntigergraph " + addresses(others) + " {\ncluster b\n}\n}")
	b := e.newBrowser(2)
	first, second := b.get("/a/api/__echo").echo(t).Node, b.get("/b/api/__echo").echo(t).Node
	if b.ourCookie() == "" {
		t.Fatal("there is no cookie")
	}
	// From another address, so that nothing but the cookies keeps it on its nodes.
	moved := e.newBrowser(77)
	moved.http.Jar = b.http.Jar
	for range 5 {
		for path, want := range map[string]string{"/a": first, "/b": second} {
			got := moved.get(path + "/api/__echo")
			if node := got.echo(t).Node; node != want {
				t.Errorf("%s is answered by %s, want %s", path, node, want)
			}
			if set := got.Header.Values("Set-Cookie"); len(set) > 0 {
				t.Errorf("%s sets a cookie again: %v", path, set)
			}
		}
	}
	if lines := e.logs("cookie name"); len(lines) > 0 {
		t.Errorf("warned of %v", lines)
	}
}
