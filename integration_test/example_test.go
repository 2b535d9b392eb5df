package integration_test

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/tgnode"
)

// serveExample loads an example with other names for the host and nodes.
func serveExample(t *testing.T, e *edge, file string, replacements ...string) {
	t.Helper()
	content, err := os.ReadFile("../" + file)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(content), replacements[0]) {
		t.Fatalf("the example does not contain %q", replacements[0])
	}
	example := strings.NewReplacer(replacements...).Replace(string(content))
	// The example has a log and a block "servers" of its own.
	globals, _, _ := strings.Cut(strings.TrimPrefix(e.globals, "{\n"), "\tlog {")
	example = strings.Replace(example, "\n{\n", "\n{\n"+globals, 1)
	if strings.Contains(e.globals, "trusted_proxies") {
		example = strings.Replace(example, "servers {\n", "servers {\ntrusted_proxies static 127.0.0.0/8\n", 1)
	}
	if err := e.tryLoadCaddyfile(example); err != nil {
		t.Fatal(err)
	}
}

func TestTheExamplesAreWorkingEdges(t *testing.T) {
	for file, example := range map[string]struct {
		nodes      string
		status     int // with every node dead
		retryAfter string
	}{
		"example.Caddyfile":               {"m1 m2 m3", http.StatusServiceUnavailable, "2"},
		"example.reverse_proxy.Caddyfile": {"m1:14240 m2:14240 m3:14240", http.StatusBadGateway, ""},
	} {
		t.Run(file, func(t *testing.T) {
			_, nodes := startCluster(t, 3)
			e := newEdge(t)
			log := filepath.Join(t.TempDir(), "access.log")
			serveExample(t, e, file, "graph.example.com {", "http://"+e.address+" {",
				"tigergraph "+example.nodes, "tigergraph "+addresses(nodes),
				"reverse_proxy "+example.nodes, "reverse_proxy "+addresses(nodes),
				"log {", "log {\noutput file "+log)

			b := e.newBrowser(2)
			home := b.login()
			if node, _ := b.whoami(); node != home {
				t.Errorf("the session moved from %s to %s", home, node)
			}

			scripts := b.get("/assets/main.js", "Accept-Encoding", "gzip")
			if scripts.Header.Get("Content-Encoding") != "gzip" {
				t.Error("scripts are not compressed")
			}

			gsql := &tgnode.GSQLClient{Address: e.address, User: "tigergraph"}
			// The long form lacks the middleware that keeps the session's case.
			if err := gsql.Login(t.Context()); err != nil && !errors.Is(err, tgnode.ErrNoSession) {
				t.Fatal(err)
			}
			b.do("POST", "/gsqlserver/gsql/login", nil, "GSQL-Cookie", `{"sessionId":"1","auth":"Basic swordfish"}`)
			eventually(t, "the requests are in the access log", func() bool {
				content, _ := os.ReadFile(log)
				return strings.Count(string(content), `"uri":"/gsqlserver/gsql/login"`) == 2
			})
			content, err := os.ReadFile(log)
			if err != nil {
				t.Fatal(err)
			}
			for _, secret := range []string{"swordfish", "sessionId"} {
				if strings.Contains(string(content), secret) {
					t.Errorf("the access log holds %q:\n%s", secret, content)
				}
			}

			// Nobody is asked to repeat what may have been done.
			for _, node := range nodes {
				node.SetFault(tgnode.All, tgnode.Fault{Mode: tgnode.Close})
			}
			broken := b.get("/restpp/query/g/q")
			if broken.StatusCode != http.StatusBadGateway || broken.Header.Get("Retry-After") != "" {
				t.Errorf("a query that broke: %d %v", broken.StatusCode, broken.Header)
			}

			for _, node := range nodes {
				node.Stop()
			}
			down := b.get("/")
			if down.StatusCode != example.status || !strings.Contains(string(down.body), "cannot be reached") ||
				!strings.HasPrefix(down.Header.Get("Content-Type"), "text/html") || down.Header.Get("Retry-After") != example.retryAfter {
				t.Errorf("with every node dead: %d %v\n%s", down.StatusCode, down.Header, down.body)
			}
		})
	}
}

func TestTheExampleKeepsStrangersFromGSQL(t *testing.T) {
	_, nodes := startCluster(t, 3)
	e := newEdge(t)
	e.trustLoopback()
	serveExample(t, e, "example.Caddyfile", "graph.example.com {", "http://"+e.address+" {",
		"tigergraph m1 m2 m3", "tigergraph "+addresses(nodes), "log {", "log {\noutput discard")
	b := e.newBrowser(2)
	for path, want := range map[string]int{
		"/gsqlserver/gsql/version": http.StatusForbidden,
		"/gsql/v1/version":         http.StatusForbidden,
		"//gsqlserver/gsql/x":      http.StatusForbidden,
		"/%67sqlserver/gsql/x":     http.StatusForbidden,
		"/admin":                   http.StatusForbidden,
		"/gsql":                    http.StatusForbidden,
		"/gsql/":                   http.StatusForbidden,
		"/admin/#/users":           http.StatusForbidden,
		"/%61dmin/":                http.StatusForbidden,
		"/api/ping":                http.StatusOK,
		"/restpp/echo":             http.StatusOK,
		"/studio/":                 http.StatusOK,
	} {
		if a := b.get(path, "X-Forwarded-For", "203.0.113.7"); a.StatusCode != want {
			t.Errorf("%s from outside: %d, want %d", path, a.StatusCode, want)
		}
		if a := b.get(path, "X-Forwarded-For", "10.1.2.3"); a.StatusCode == http.StatusForbidden {
			t.Errorf("%s from inside: %d", path, a.StatusCode)
		}
	}
}

// Neither the access log nor what Caddy says of errors shows a credential, even where
// it says all that it can.
func TestTheLogsOfTheExamplesHoldNoSecret(t *testing.T) {
	for file, nodesOf := range map[string]string{
		"example.Caddyfile":               "tigergraph m1 m2 m3",
		"example.reverse_proxy.Caddyfile": "reverse_proxy m1:14240 m2:14240 m3:14240",
	} {
		t.Run(file, func(t *testing.T) {
			_, nodes := startCluster(t, 1)
			e := newEdge(t)
			log := filepath.Join(t.TempDir(), "log")
			name, _, _ := strings.Cut(nodesOf, " ")
			serveExample(t, e, file, "graph.example.com {", "http://"+e.address+" {", nodesOf, name+" "+addresses(nodes),
				"log {", "log {\nlevel DEBUG\noutput file "+log)
			b := e.newBrowser(2)
			send := func(path string) {
				_, err := b.try(http.MethodGet, path, nil, "GSQL-Cookie", `{"sessionId":"swordfish"}`, "Authorization", "Bearer swordfish",
					"X-TG-Username", "swordfish", "X-TG-Password", "swordfish", "X-TG-Secret", "swordfish",
					"X-TG-API-Token", "swordfish", "X-TG-JWT-Token", "swordfish", "X-TG-Token", "swordfish", "Cookie", "TigerGraphApp=swordfish")
				if err != nil {
					t.Error(err)
				}
			}
			nodes[0].SetFault(tgnode.GSQL, tgnode.Fault{Mode: tgnode.Answer, Status: 200, Fields: []tgnode.Field{{Name: "Set-GSQL-Cookie", Value: "swordfish"}}})
			paths := []string{"/restpp/requesttoken?secret=swordfish&n=", "/gsqlserver/gsql/login?n=", "/restpp/query/g/q?token=swordfish&n="}
			for i, path := range paths {
				send(fmt.Sprintf("%s1%d", path, i))
			}
			nodes[0].SetFault(tgnode.All, tgnode.Fault{Mode: tgnode.Close})
			for i, path := range paths {
				send(fmt.Sprintf("%s2%d", path, i))
			}
			nodes[0].Stop()
			for i, path := range paths {
				send(fmt.Sprintf("%s3%d", path, i))
			}
			var content []byte
			eventually(t, "all is logged", func() bool {
				content, _ = os.ReadFile(log)
				return strings.Count(string(content), "handled request") >= 3*len(paths)
			})
			if !strings.Contains(string(content), "log.error") {
				t.Error("no error is logged")
			}
			for line := range strings.Lines(string(content)) {
				if strings.Contains(line, "swordfish") {
					t.Errorf("the log has a secret: %s", line)
				}
			}
		})
	}
}
