package integration_test

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/tgnode"
)

func TestAStolenCookieIsNoLogin(t *testing.T) {
	_, nodes := startCluster(t, 3)
	e := newEdge(t)
	e.load(cluster(nodes, ""))
	victim := e.newBrowser(2)
	home := victim.login()
	var thief *browser
	for host := byte(3); thief == nil; host++ {
		if other := e.newBrowser(host); other.pinnedTo() != home {
			thief = other
		}
	}
	thief.forget()
	stolen := "TigerGraphNode=" + victim.ourCookie()
	if node := thief.get("/api/__echo", "Cookie", stolen).served(t); node != home {
		t.Errorf("the cookie of %s led to %s: is it one?", home, node)
	}
	if a := thief.get("/api/auth/whoami", "Cookie", stolen); a.StatusCode != http.StatusUnauthorized {
		t.Errorf("the cookie alone is answered %d %s", a.StatusCode, a.body)
	}
}

func TestTheApplicationServerIsAWayToTheOthers(t *testing.T) {
	_, nodes := startCluster(t, 1)
	e := newEdge(t)
	e.load("@closed tigergraph_service gsql restpp\nrespond @closed 403\n" + cluster(nodes, ""))
	b := e.newBrowser(2)
	for path, want := range map[string]int{
		"/gsqlserver/gsql/version": 403, "/restpp/query/g/q": 403, "/%72estpp/query/g/q": 403, "//gsqlserver//gsql/version": 403, "/api/../restpp/query/g/q": 403,
		"/api/restpp/query/g/q": 401, "/api/gsql-server/gsql/v1/version": 401,
	} {
		if status := b.get(path).StatusCode; status != want {
			t.Errorf("%s: %d, want %d", path, status, want)
		}
	}
	b.login()
	for path, want := range map[string]int{"/api/restpp/query/g/q": 202, "/api/gsql-server/gsql/v1/version": 200} {
		if status := b.get(path).StatusCode; status != want {
			t.Errorf("%s, logged in: %d, want %d", path, status, want)
		}
	}
}

func TestAWebPageCannotDrainANode(t *testing.T) {
	_, nodes := startCluster(t, 2)
	e := newEdge(t)
	endpoint := freeAddress(t)
	e.globals = strings.Replace(e.globals, "admin off", "admin "+endpoint, 1)
	e.load(cluster(nodes, ""))
	body := fmt.Sprintf(`{"node": %q}`, nodes[0].Addr())
	for name, test := range map[string]struct {
		host, origin, site string
		may                bool
	}{
		"the administrator":             {endpoint, "", "", true},
		"a page of another site":        {endpoint, "https://evil.example", "cross-site", false},
		"a page that hides where it is": {endpoint, "null", "cross-site", false},
		"a name that leads here":        {"evil.example", "", "", false},
		"a page under a name that does": {"evil.example", "http://evil.example", "same-origin", false},
	} {
		request, err := http.NewRequest(http.MethodPost, "http://"+endpoint+"/tigergraph/drain", strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		request.Host = test.host
		for field, value := range map[string]string{"Origin": test.origin, "Sec-Fetch-Site": test.site} {
			if value != "" {
				request.Header.Set(field, value)
			}
		}
		if test.site != "" {
			request.Header.Set("Sec-Fetch-Mode", "cors")
		}
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		if response.StatusCode >= http.StatusInternalServerError || (response.StatusCode == http.StatusOK) != test.may {
			t.Errorf("%s: %d", name, response.StatusCode)
		}
	}
	http.DefaultClient.CloseIdleConnections()
}

func TestAPlaceholderKeepsASecretOutOfTheConfiguration(t *testing.T) {
	const secret = "never-to-be-seen"
	t.Setenv("SOAK_COOKIE_KEY", secret)
	file := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(file, []byte(secret), 0o600); err != nil {
		t.Fatal(err)
	}
	_, nodes := startCluster(t, 1)
	for name, placeholder := range map[string]string{"of the environment": "{env.SOAK_COOKIE_KEY}", "of a file": "{file." + file + "}"} {
		t.Run(name, func(t *testing.T) {
			e, a := newAdminEdge(t)
			e.load(cluster(nodes, "cookie {\nsecret "+placeholder+"\n}"))
			if e.newBrowser(2).login() == "" {
				t.Error("nobody can log in")
			}
			for _, path := range []string{"/config/", "/tigergraph/nodes"} {
				reply := a.call(http.MethodGet, path, "")
				if reply.StatusCode != http.StatusOK || strings.Contains(string(reply.body), secret) {
					t.Errorf("%s: %d %s", path, reply.StatusCode, reply.body)
				}
			}
		})
	}
}

// The filters are those of SECURITY.md; the names and the place of the logs are
// the test's.
func TestLogsKeepTheGSQLSessionToThemselves(t *testing.T) {
	content, err := os.ReadFile("../SECURITY.md")
	if err != nil {
		t.Fatal(err)
	}
	block := regexp.MustCompile("(?ms)^```caddyfile\n(.*?)^```$").FindStringSubmatch(string(content))
	if block == nil {
		t.Fatal("SECURITY.md has no Caddyfile")
	}
	_, nodes := startCluster(t, 1)
	folder, address := t.TempDir(), freeAddress(t)
	log, accessLog := filepath.Join(folder, "log"), filepath.Join(folder, "access.log")
	credentials := base64.StdEncoding.EncodeToString([]byte("anna:" + tgnode.Password))
	for _, filtered := range []bool{true, false} {
		site := block[1]
		if !filtered {
			site = strings.ReplaceAll(site, "import no_secrets", "format json")
		}
		for _, file := range []string{log, accessLog} {
			site = strings.Replace(site, "log {\n", "log  {\noutput file "+file+"\n", 1)
		}
		site = strings.NewReplacer("graph.example.com", "http://"+address, "tigergraph m1 m2 m3", "tigergraph "+addresses(nodes)).Replace(site)
		site = strings.Replace(site, "\n{\n", "\n"+processOptions(t.TempDir()), 1)
		p := startProcess(t, caddyBinary, site)
		p.listening(address)
		client := tgnode.GSQLClient{Address: address, User: "anna"}
		if err := client.Login(t.Context()); err != nil {
			t.Fatal(err)
		}
		if _, err := client.Command(t.Context(), "ls"); err != nil {
			t.Fatal(err)
		}
		nodes[0].SetFault(tgnode.GSQL, tgnode.Fault{Mode: tgnode.Cut})
		conn, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = fmt.Fprintf(conn, "POST /gsqlserver/gsql/command HTTP/1.1\r\nHost: %s\r\nGSQL-Cookie: %s\r\nContent-Length: 2\r\nConnection: close\r\n\r\nls", address, client.Session())
		_, _ = io.Copy(io.Discard, conn)
		_ = conn.Close()
		nodes[0].ClearFaults()
		var written string
		eventually(t, "both logs are written", func() bool {
			plain, _ := os.ReadFile(log)
			access, _ := os.ReadFile(accessLog)
			written = string(plain) + string(access)
			return strings.Contains(string(plain), "incomplete response") && strings.Count(string(access), "\n") >= 3
		})
		if shown := strings.Contains(written, credentials); shown == filtered {
			t.Errorf("with the filters: %t, the logs show a password: %t\n%s", filtered, shown, written)
		}
		_ = p.command.Process.Kill()
		<-p.ended
		for _, file := range []string{log, accessLog} {
			if err := os.Remove(file); err != nil {
				t.Error(err)
			}
		}
	}
}

func TestANodeCannotSayWhereItsClientsBelong(t *testing.T) {
	_, nodes := startCluster(t, 1)
	e := newEdge(t)
	e.load(cluster(nodes, ""))
	nodes[0].SetFault(tgnode.GUI, tgnode.Fault{
		Mode: tgnode.Answer, Status: 200, Path: "/api/forge", Body: "{}",
		Fields: []tgnode.Field{{Name: "Set-Cookie", Value: "TigerGraphNode=forged; Path=/"}, {Name: "Set-Cookie", Value: "TigerGraphNodes=another; Path=/"}},
	})
	b := e.newBrowser(2)
	first := b.get("/api/forge")
	value, times := first.cookie("TigerGraphNode")
	if times != 1 || value == "forged" || value != b.ourCookie() {
		t.Errorf("a new client gets %q", first.Header["Set-Cookie"])
	}
	second := b.get("/api/forge")
	if _, times := second.cookie("TigerGraphNode"); times != 0 || b.ourCookie() != value {
		t.Errorf("a client that has one gets %q", second.Header["Set-Cookie"])
	}
	if other, _ := second.cookie("TigerGraphNodes"); other != "another" {
		t.Errorf("the node's own cookie is lost in %q", second.Header["Set-Cookie"])
	}
}

// Caddy's own logs are another matter.
func TestThePluginLogsNothingOfAClient(t *testing.T) {
	const key = "key-secret-of-the-cookies"
	_, nodes := startCluster(t, 3)
	e := newEdge(t)
	e.globals = strings.Replace(e.globals, "level INFO", "level DEBUG", 1)
	e.load(cluster(nodes, quick+"\ncookie {\nsecret "+key+"\n}"))
	b := e.newBrowser(2)
	home := named(t, nodes, b.login())
	secrets := []string{key, b.ourCookie(), "authorization-secret", "session-secret", "body-secret", "query-secret", "app-secret"}
	ask := func() {
		for _, target := range []string{
			"/api/auth/whoami", "/restpp/query/social/q?secret=query-secret", "/restpp/query_status?requestid=unknown&secret=query-secret",
			"/gsqlserver/gsql/command", "/gsql/v1/schema?secret=query-secret",
		} {
			for _, method := range []string{http.MethodGet, http.MethodPost} {
				_, _ = b.try(method, target, []byte("body-secret"), "Authorization", "Bearer authorization-secret",
					"GSQL-Cookie", `{"id":"session-secret"}`, "Cookie", "TigerGraphApp=app-secret; TigerGraphNode="+b.ourCookie(), "GSQL-ASYNC", "true")
			}
		}
	}
	ask()
	for _, mode := range []tgnode.Mode{tgnode.Reset, tgnode.Dead, tgnode.Cut} {
		home.SetFault(tgnode.All, tgnode.Fault{Mode: mode})
		ask()
	}
	eventually(t, "the node is down", func() bool { return len(e.logs("node is down")) > 0 })
	ask()
	e.load(cluster(nodes, quick+"\ncookie {\nsecret "+key+"\n}\nheader_up X-Reload 1"))
	ask()
	ours := linesWith(e.logs(`"logger":"`), "tigergraph")
	if len(ours) == 0 {
		t.Error("the plugin logs nothing")
	}
	for _, line := range ours {
		var entry struct{ Logger string }
		if err := json.Unmarshal([]byte(line), &entry); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		if !strings.Contains(entry.Logger, "tigergraph") {
			continue
		}
		for _, secret := range secrets {
			if strings.Contains(line, secret) {
				t.Errorf("the log shows the %s: %.1000s", secret, line)
			}
		}
	}
}

// The ids of GSQL sessions are numbers that count up, so that a node need not be told them.
func TestANodeCanClaimAGSQLSession(t *testing.T) {
	_, nodes := startCluster(t, 2)
	e := newEdge(t)
	e.load(cluster(nodes, "health_check off"))
	at := func(node *tgnode.Node, first byte) *browser {
		for host := first; ; host++ {
			if b := e.stranger(host); b.get("/gsqlserver/gsql/__echo").served(t) == node.Name() {
				return b
			}
		}
	}
	const session = `{"sessionId":"00000000561"}`
	begin := func(node *tgnode.Node, first byte) (b *browser) {
		b = at(node, first)
		node.SetFault(tgnode.GSQL, tgnode.Fault{
			Mode: tgnode.Answer, Status: 200, Path: "/gsqlserver/gsql/login", Body: "{}",
			Fields: []tgnode.Field{{Name: "Set-GSQL-Cookie", Value: session}},
		})
		b.do(http.MethodPost, "/gsqlserver/gsql/login", nil)
		return b
	}
	victim := begin(nodes[0], 2)
	where := func() string { return victim.get("/gsqlserver/gsql/__echo", "GSQL-Cookie", session).served(t) }
	if node := where(); node != nodes[0].Name() {
		t.Fatalf("the session of %s was sent to %s", nodes[0].Name(), node)
	}
	begin(nodes[1], 100)
	if node := where(); node != nodes[1].Name() {
		t.Errorf("the session that %s claims was sent to %s: what it cannot do should be said", nodes[1].Name(), node)
	}
}
