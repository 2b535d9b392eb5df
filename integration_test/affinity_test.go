package integration_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/tgnode"
)

// proxyTo returns the site's directives: a proxy to the nodes with this policy
// and these further options. Nodes are not checked, so that what arrives there is
// what clients sent.
func proxyTo(nodes []*tgnode.Node, policy string, options ...string) string {
	if strings.HasPrefix(policy, "tigergraph") {
		if !strings.HasSuffix(policy, "}") {
			policy += " {\n}"
		}
		policy = strings.TrimSuffix(policy, "}") + "health_check off\n}"
	}
	return "reverse_proxy " + addresses(nodes) + " {\nlb_policy " + policy + "\n" + strings.Join(options, "\n") + "\n}"
}

func TestALoginStaysOnItsNode(t *testing.T) {
	_, nodes := startCluster(t, 3)
	e := newEdge(t)
	e.load(proxyTo(nodes, "tigergraph"))
	seen := make(map[string]bool)
	for host := byte(2); host < 22; host++ {
		b := e.newBrowser(host)
		node := b.login()
		seen[node] = true
		for range 10 {
			if now, status := b.whoami(); now != node || status != http.StatusOK {
				t.Fatalf("a session of %s was sent to %q: %d", node, now, status)
			}
		}
	}
	if len(seen) != 3 {
		t.Errorf("twenty clients use the nodes %v, want all three", seen)
	}
}

func TestABrowserKeepsItsNodeWhenItsAddressChanges(t *testing.T) {
	_, nodes := startCluster(t, 3)
	e := newEdge(t)
	e.load(proxyTo(nodes, "tigergraph"))
	b := e.newBrowser(2)
	node := b.login()
	for host := byte(3); host < 23; host++ {
		moved := e.newBrowser(host)
		moved.http.Jar = b.http.Jar
		if now, status := moved.whoami(); now != node || status != http.StatusOK {
			t.Fatalf("from another address the session of %s was sent to %q: %d", node, now, status)
		}
		for _, path := range []string{"/restpp/__echo", "/gsqlserver/gsql/__echo"} {
			a := moved.get(path)
			if now := a.served(t); now != node || len(a.Header["Set-Cookie"]) != 0 {
				t.Fatalf("%s was sent to %s, which is not %s, or set %q", path, now, node, a.Header["Set-Cookie"])
			}
		}
	}
}

func TestAClientIPIsTheOneThatTrustedProxiesGive(t *testing.T) {
	_, nodes := startCluster(t, 3)
	e := newEdge(t)
	site := proxyTo(nodes, "tigergraph client_ip")
	e.load(site)
	b := e.newBrowser(2)
	direct := b.pinnedTo()
	for host := range 30 {
		if node := b.get("/api/__echo", "X-Forwarded-For", fmt.Sprintf("198.51.100.%d", host)).served(t); node != direct {
			t.Fatalf("an untrusted client moved itself from %s to %s", direct, node)
		}
	}

	e.trustLoopback()
	e.load(site)
	homes := make(map[string]string)
	uses := make(map[string]int)
	for host := range 30 {
		client := fmt.Sprintf("198.51.100.%d", host)
		homes[client] = b.get("/api/__echo", "X-Forwarded-For", client).served(t)
		uses[homes[client]]++
	}
	if len(uses) != 3 {
		t.Errorf("thirty clients behind a trusted proxy use %v", uses)
	}
	other := e.newBrowser(3)
	for client, home := range homes {
		for _, path := range []string{"/api/__echo", "/restpp/__echo", "/gsqlserver/__echo"} {
			a := other.get(path, "X-Forwarded-For", client)
			if node := a.served(t); node != home || len(a.Header["Set-Cookie"]) != 0 {
				t.Errorf("%s of %s is sent to %s, want %s; cookies %q", path, client, node, home, a.Header["Set-Cookie"])
			}
		}
	}
}

func TestANetworkSharesANodeWithAnIPv4PrefixOf24(t *testing.T) {
	_, nodes := startCluster(t, 3)
	e := newEdge(t)
	e.trustLoopback()
	e.load(proxyTo(nodes, "tigergraph client_ip {\nipv4_prefix 24\n}"))
	b := e.newBrowser(2)
	uses := make(map[string]bool)
	for network := range 20 {
		homes := make(map[string]bool)
		for host := range 5 {
			homes[b.get("/api/__echo", "X-Forwarded-For", fmt.Sprintf("198.51.%d.%d", network, 50*host)).served(t)] = true
		}
		if len(homes) != 1 {
			t.Errorf("198.51.%d.0/24 is spread over %v", network, homes)
		}
		for home := range homes {
			uses[home] = true
		}
	}
	if len(uses) != 3 {
		t.Errorf("twenty networks use %v", uses)
	}
}

func TestAHeaderKeepsItsNodeFromAnyAddress(t *testing.T) {
	_, nodes := startCluster(t, 3)
	e := newEdge(t)
	e.load(proxyTo(nodes, "tigergraph header X-User"))
	uses := make(map[string]bool)
	for user := range 20 {
		homes := make(map[string]bool)
		for host := byte(2); host < 6; host++ {
			a := e.newBrowser(host).get("/api/__echo", "X-User", fmt.Sprintf("user%d", user))
			homes[a.served(t)] = true
			if len(a.Header["Set-Cookie"]) != 0 {
				t.Errorf("set %q", a.Header["Set-Cookie"])
			}
		}
		if len(homes) != 1 {
			t.Errorf("user%d is spread over %v", user, homes)
		}
		for home := range homes {
			uses[home] = true
		}
	}
	if len(uses) != 3 {
		t.Errorf("twenty users use %v", uses)
	}
}

func TestWithoutAffinityTheIdleNodeIsChosen(t *testing.T) {
	_, nodes := startCluster(t, 3)
	e := newEdge(t)
	e.load(proxyTo(nodes, "tigergraph none"))
	for _, node := range nodes {
		node.SetFault(tgnode.RESTPP, tgnode.Fault{Mode: tgnode.Hang, Path: "/restpp/query"})
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	for range 2 {
		before := countRESTPP(nodes)
		go func() {
			request, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+e.address+"/restpp/query/g/q", nil)
			if err != nil {
				return
			}
			if response, err := http.DefaultClient.Do(request); err == nil {
				_ = response.Body.Close()
			}
		}()
		eventually(t, "the query is under way", func() bool { return countRESTPP(nodes) > before })
	}
	busy := make(map[string]bool)
	for _, node := range nodes {
		if node.Count(tgnode.RESTPP) > 0 {
			busy[node.Name()] = true
		}
	}
	if len(busy) != 2 {
		t.Fatalf("two queries are with the nodes %v", busy)
	}
	b := e.newBrowser(2)
	for range 50 {
		if node := b.pinnedTo(); busy[node] {
			t.Fatalf("chose %s, but a node is idle", node)
		}
	}
}

func countRESTPP(nodes []*tgnode.Node) (count int) {
	for _, node := range nodes {
		count += node.Count(tgnode.RESTPP)
	}
	return count
}

func TestTheFallbackPolicyPlacesNewBrowsers(t *testing.T) {
	_, nodes := startCluster(t, 3)
	e := newEdge(t)
	e.load(proxyTo(nodes, "tigergraph {\nfallback round_robin\n}"))
	uses := make(map[string]int)
	for range 9 {
		b := e.newBrowser(2) // one address, nine browsers
		node := b.login()
		uses[node]++
		for range 5 {
			if now := b.pinnedTo(); now != node {
				t.Errorf("a browser of %s was sent to %s", node, now)
			}
		}
	}
	for _, node := range nodes {
		if uses[node.Name()] != 3 {
			t.Errorf("nine browsers took turns as %v", uses)
			break
		}
	}
}

func TestAGSQLClientKeepsItsSession(t *testing.T) {
	for name, fields := range map[string]struct{ node, client string }{
		// Go's server writes names in its own case, so these are the clients
		// that the policy alone can serve.
		"session in Set-Cookie":                 {"Set-Cookie", "Set-Cookie"},
		"session in a field of its own":         {"Set-GSQL-Cookie", "Set-Gsql-Cookie"},
		"session in Set-cookie, as Go makes it": {"Set-cookie", "Set-Cookie"},
	} {
		t.Run(name, func(t *testing.T) {
			_, nodes := startCluster(t, 3)
			for _, node := range nodes {
				node.Update(func(o *tgnode.Options) { o.GSQLSessionHeader = fields.node })
			}
			e := newEdge(t)
			e.load(proxyTo(nodes, "tigergraph"))
			ctx, cancel := context.WithTimeout(t.Context(), enough)
			defer cancel()
			client := &tgnode.GSQLClient{Address: e.address, User: "tigergraph", SessionField: fields.client}
			if err := client.Login(ctx); err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(client.Session(), `"sessionId"`) {
				t.Fatalf("took %q for the session", client.Session())
			}
			for range 20 {
				if _, err := client.Command(ctx, "ls"); err != nil {
					t.Fatal(err)
				}
			}
			if err := client.Exit(ctx); err != nil {
				t.Fatal(err)
			}
			used := 0
			for _, node := range nodes {
				if node.Count(tgnode.GSQL) > 0 {
					used++
				}
				for _, request := range node.Requests() {
					for _, line := range request.Values("Cookie") {
						if !strings.HasPrefix(line, "{") || !strings.HasSuffix(line, "}") {
							t.Errorf("the node got the session as %q", line)
						}
					}
				}
			}
			if used != 1 {
				t.Errorf("the session used %d nodes", used)
			}
		})
	}
}

func TestAGSQLLoginHasOneSetCookieThatOfTheServer(t *testing.T) {
	cluster, nodes := startCluster(t, 3)
	for _, node := range nodes {
		node.Update(func(o *tgnode.Options) { o.GSQLSessionHeader = "Set-Cookie" })
	}
	e := newEdge(t)
	// Caddy sends a body to a second node only if it has all of it.
	e.load(proxyTo(nodes, "tigergraph", "lb_retries 2", "request_buffers 4KiB"))
	login := func() *answer {
		return e.newBrowser(2).do(http.MethodPost, "/gsqlserver/gsql/login", []byte("dGlnZXJncmFwaDp0aWdlcmdyYXBo"), "Cookie", `{"fromGsqlClient":true}`)
	}
	check := func(a *answer) {
		t.Helper()
		if set := a.Header["Set-Cookie"]; a.StatusCode == http.StatusOK && (len(set) != 1 || !strings.HasPrefix(set[0], "{")) {
			t.Errorf("%d, set %q", a.StatusCode, set)
		}
	}
	a := login()
	if a.StatusCode != http.StatusOK {
		t.Fatalf("%d", a.StatusCode)
	}
	check(a)
	for i, node := range nodes { // the second choice does not set one either
		if node.Count(tgnode.GSQL) > 0 {
			if err := cluster.SwitchLeader(nodes[(i+1)%3].Name(), 0); err != nil {
				t.Fatal(err)
			}
			node.Stop()
		}
	}
	// A login that fails on a stale connection is not sent again by anybody.
	eventually(t, "another node takes the login", func() bool {
		a := login()
		check(a)
		return a.StatusCode == http.StatusOK
	})
}

func TestThePlaceholdersReachTheAccessLogAndHeaders(t *testing.T) {
	cluster, nodes := startCluster(t, 3)
	e := newEdge(t)
	e.load("header >X-Chosen \"{http.tigergraph.node} {http.tigergraph.service} {http.tigergraph.affinity}\"\n" +
		"log_append node {http.tigergraph.node}\nlog\n" + proxyTo(nodes, "tigergraph", "lb_retries 2"))
	b := e.newBrowser(2)
	check := func(path, affinity, service string) *tgnode.Node {
		t.Helper()
		a := b.get(path)
		node := cluster.Node(a.served(t))
		if got, want := a.Header.Get("X-Chosen"), node.Addr()+" "+service+" "+affinity; got != want {
			t.Errorf("the placeholders say %q, want %q", got, want)
		}
		eventually(t, "the node is in the access log", func() bool { return len(e.logs(`"node":"`+node.Addr()+`"`)) > 0 })
		return node
	}
	check("/restpp/__echo", "spread", "restpp")
	check("/restpp/showprocesslist/__echo", "client_ip", "restpp")
	check("/api/__echo", "client_ip", "gui")
	first := check("/gsqlserver/__echo", "cookie", "gsql")
	first.Stop()
	if second := check("/api/__echo", "failover", "gui"); second == first {
		t.Error("the dead node answered")
	}
	check("/api/__echo", "cookie", "gui")
}

func TestTheGraphAndTheQueryReachTheAccessLogAndHeaders(t *testing.T) {
	_, nodes := startCluster(t, 2)
	const shown = "header_down X-Query \"{http.tigergraph.graph}/{http.tigergraph.query}\"\n"
	for name, proxy := range map[string]string{
		"directive": "tigergraph " + addresses(nodes) + " {\nhealth_check off\n" + shown + "}",
		"policy":    "reverse_proxy " + addresses(nodes) + " {\nlb_policy tigergraph {\nhealth_check off\n}\n" + shown + "}",
	} {
		t.Run(name, func(t *testing.T) {
			e := newEdge(t)
			e.load("log\nlog_append graph {http.tigergraph.graph}\nlog_append query {http.tigergraph.query}\n" + proxy)
			b := e.newBrowser(2)
			for target, want := range map[string]string{
				"/restpp/query/social/friends?person=1":           "social/friends",
				"//restpp/./query/soc%69al/friends":               "social/friends",
				"/restpp/graph/social/vertices/person":            "social/",
				"/restpp/query_status?graph_name=g&requestid=all": "g/",
				"/restpp/echo":                           "/",
				"/api/ping":                              "/",
				"/gsql/v1/queries/q?graph_name=social":   "/",
				"/gsqlserver/gsql/version?graph_name=g":  "/",
				"/restpp/query/a%0d%0aSet-Cookie:%20x/q": "a  Set-Cookie: x/q",
			} {
				if got := b.get(target).Header.Get("X-Query"); got != want {
					t.Errorf("%s has %q, want %q", target, got, want)
				}
			}
			for _, field := range []string{`"graph":"social"`, `"query":"friends"`, `"graph":""`, `"query":""`} {
				eventually(t, field+" is in the access log", func() bool { return len(e.logs(field)) > 1 })
			}
		})
	}
}
