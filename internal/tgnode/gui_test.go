package tgnode

import (
	"regexp"
	"strings"
	"testing"
)

// logIn returns the Cookie field of a GUI session.
func logIn(t *testing.T, node *Node, user string) string {
	t.Helper()
	got := dial(t, node).do("POST", "/api/auth/login", `{"username":"`+user+`","password":"`+Password+`"}`)
	return cookieOf(t, got)
}

func cookieOf(t *testing.T, got reply) string {
	t.Helper()
	cookie, _, _ := strings.Cut(got.header.Get("Set-Cookie"), ";")
	if cookie == "" {
		t.Fatalf("no session in\n%s\n\n%s", got.head, got.body)
	}
	return "Cookie: other=1; " + cookie
}

func TestPingHasThreeHealthyForms(t *testing.T) {
	node := startNode(t, Options{})
	for form, body := range map[PingForm]string{
		PingDocumented: `{"error":"false","message":"pong","results":{}}`,
		PingNull:       `{"error":false,"message":"pong","results":null}`,
		PingShort:      `{"error":false,"message":"pong"}`,
	} {
		node.Update(func(o *Options) { o.Ping = form })
		wantBody(t, get(t, node, "/api/ping"), 200, body)
	}
}

func TestGUISessionsLiveOnTheNodeOfTheLogin(t *testing.T) {
	nodes := startNodes(t, Options{}, Options{})
	got := dial(t, nodes[0]).do("POST", "/api/auth/login", `{"username":"anna","password":"tigergraph"}`)
	if set := got.header.Get("Set-Cookie"); !regexp.MustCompile(`^TigerGraphApp=[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}; Path=/; Max-Age=86400; SameSite=Strict$`).MatchString(set) {
		t.Errorf("cookie is %q", set)
	}
	cookie := cookieOf(t, got)
	wantBody(t, get(t, nodes[0], "/api/auth/whoami", cookie), 200, `{"error":false,"message":"","results":{"username":"anna","node":"m1"}}`)
	wantBody(t, get(t, nodes[1], "/api/auth/whoami", cookie), 401, unauthorized)
	wantBody(t, get(t, nodes[0], "/api/auth/whoami"), 401, unauthorized)
	if nodes[0].Sessions() != 1 || nodes[1].Sessions() != 0 {
		t.Errorf("%d and %d sessions", nodes[0].Sessions(), nodes[1].Sessions())
	}
	if got := get(t, nodes[0], "/api/restpp/query/g/q", cookie); got.status != 202 {
		t.Errorf("a query through the GUI is answered %d, want 202", got.status)
	}
	dial(t, nodes[0]).do("POST", "/api/auth/logout", "", cookie)
	wantBody(t, get(t, nodes[0], "/api/auth/whoami", cookie), 401, unauthorized)
}

func TestWrongPasswordIsNoSession(t *testing.T) {
	node := startNode(t, Options{SameSite: "Lax"})
	got := dial(t, node).do("POST", "/api/auth/login", `{"username":"anna","password":"guess"}`)
	if got.status != 401 || got.header.Get("Set-Cookie") != "" {
		t.Errorf("got %d\n%s", got.status, got.head)
	}
	if n := node.cluster.Ledger().Count(Login); n != 1 {
		t.Errorf("%d logins counted, want 1: failed ones lock the account", n)
	}
}

func TestSSOEndsOnTheNodeWhereItBegan(t *testing.T) {
	nodes := startNodes(t, Options{}, Options{})
	for _, test := range []struct{ name, begin, separator, method, target, body string }{
		{"SAML", "/api/auth/saml/login", "SAMLRequest=", "POST", "/api/auth/saml/acs", "SAMLResponse=ID&NameID=anna"},
		{"OIDC", "/api/auth/oidc/login", "state=", "GET", "/api/auth/oidc/callback?state=ID&code=anna", ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, id, _ := strings.Cut(get(t, nodes[0], test.begin).header.Get("Location"), test.separator)
			back := func(node *Node) reply {
				return dial(t, node).do(test.method, strings.Replace(test.target, "ID", id, 1), strings.Replace(test.body, "ID", id, 1), "Origin: https://idp.example")
			}
			wantBody(t, back(nodes[1]), 401, unauthorized)
			got := back(nodes[0])
			if got.status != 302 {
				t.Errorf("status %d, want 302", got.status)
			}
			if who := get(t, nodes[0], "/api/auth/whoami", cookieOf(t, got)); !strings.Contains(who.body, `"anna"`) {
				t.Errorf("whoami: %s", who.body)
			}
			wantBody(t, back(nodes[0]), 401, unauthorized) // an assertion is good once
		})
	}
}
