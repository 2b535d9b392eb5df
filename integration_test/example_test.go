package integration_test

import (
	"net/http"
	"os"
	"strings"
	"testing"
)

// serveExample loads example.Caddyfile with other names for the host and nodes.
func serveExample(t *testing.T, e *edge, replacements ...string) {
	t.Helper()
	content, err := os.ReadFile("../example.Caddyfile")
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(replacements); i += 2 {
		if !strings.Contains(string(content), replacements[i]) {
			t.Fatalf("the example does not contain %q", replacements[i])
		}
	}
	example := strings.NewReplacer(replacements...).Replace(string(content))
	if err := e.tryLoadCaddyfile(e.globals + "}\n" + example); err != nil {
		t.Fatal(err)
	}
}

func TestTheExampleIsAWorkingEdge(t *testing.T) {
	_, nodes := startCluster(t, 3)
	e := newEdge(t)
	serveExample(t, e, "graph.example.com {", "http://"+e.address+" {", "m1:14240 m2:14240 m3:14240", addresses(nodes))

	b := e.newBrowser(2)
	home := b.login()
	if node, _ := b.whoami(); node != home {
		t.Errorf("the session moved from %s to %s", home, node)
	}

	scripts := b.get("/assets/main.js", "Accept-Encoding", "gzip")
	if scripts.Header.Get("Content-Encoding") != "gzip" {
		t.Error("scripts are not compressed")
	}

	for _, node := range nodes {
		node.Stop()
	}
	down := b.get("/")
	if down.StatusCode != http.StatusBadGateway || !strings.Contains(string(down.body), "cannot be reached") ||
		!strings.HasPrefix(down.Header.Get("Content-Type"), "text/html") || down.Header.Get("Retry-After") == "" {
		t.Errorf("with every node dead: %d %v\n%s", down.StatusCode, down.Header, down.body)
	}
}
