package integration_test

import (
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Permissions do not bind root, so what may not be written is a file where the folder
// should be.
func replaceByFile(t *testing.T, folder string) {
	t.Helper()
	if err := os.RemoveAll(folder); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(folder, []byte("not a folder"), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestAStorageThatCannotBeWrittenCostsNobodyASession(t *testing.T) {
	_, nodes := startCluster(t, 3)
	e := newEdge(t)
	e.globals = strings.Replace(e.globals, "skip_install_trust\n", "", 1) // with it, Caddy has an authority read from the storage
	site := proxyTo(nodes, "tigergraph")
	e.load(site)
	b := e.newBrowser(2)
	node, cookie := b.login(), b.ourCookie()
	key := strings.TrimSpace(e.readKey())
	const warning = "the known one stays in force"
	check := func(when string, warnings int) {
		t.Helper()
		b.http.CloseIdleConnections()
		if now, status := b.whoami(); now != node || status != http.StatusOK || b.ourCookie() != cookie {
			t.Errorf("%s a session of %s is sent to %q: %d", when, node, now, status)
		}
		if found := e.logs(warning); len(found) != warnings {
			t.Errorf("%s there are %d warnings, want %d: %s", when, len(found), warnings, strings.Join(found, "\n"))
		}
		if len(e.logs(key)) > 0 {
			t.Errorf("%s the key is in the log", when)
		}
	}

	replaceByFile(t, filepath.Join(e.storage, "locks"))
	e.load(proxyTo(nodes, "tigergraph", "lb_retries 1"))
	check("while the storage can be read", 0)
	if err := os.Remove(e.keyFile()); err != nil {
		t.Fatal(err)
	}
	e.load(proxyTo(nodes, "tigergraph", "lb_retries 2"))
	check("when the key cannot be put back", 1)
	replaceByFile(t, e.storage)
	e.load(proxyTo(nodes, "tigergraph", "lb_retries 1"))
	check("when nothing can be read", 2)

	// Without the key in memory there is no way on.
	e.globals = strings.ReplaceAll(e.globals, e.storage, e.storage+"2")
	e.storage += "2"
	replaceByFile(t, e.storage)
	if err := e.tryLoad("http://"+e.address, site); err == nil || !strings.Contains(err.Error(), "secret") {
		t.Errorf("an edge without a key: %v", err)
	}
	eventually(t, "the listener of the configuration that failed is closed", func() bool { return e.listeners() <= 1 })
	check("after a reload that failed", 2)
}

func TestAnEdgeStartsWithAStorageThatCanOnlyBeRead(t *testing.T) {
	_, nodes := startCluster(t, 3)
	e := newEdge(t)
	site := proxyTo(nodes, "tigergraph")
	e.load(site)
	b := e.newBrowser(2)
	node, cookie := b.login(), b.ourCookie()
	// The process knows nothing of another folder.
	other := e.storage + "2"
	if err := os.CopyFS(other, os.DirFS(e.storage)); err != nil {
		t.Fatal(err)
	}
	replaceByFile(t, filepath.Join(other, "locks"))
	e.globals = strings.ReplaceAll(e.globals, e.storage, other)
	e.restart(site)
	b.http.CloseIdleConnections()
	if now, status := b.whoami(); now != node || status != http.StatusOK || b.ourCookie() != cookie {
		t.Errorf("a session of %s is sent to %q: %d", node, now, status)
	}
}
