package integration_test

import (
	"os"
	"os/exec"
	"strings"
	"testing"
)

// reloadOfTheImage is the guide's command that reloads within the container.
func reloadOfTheImage(t *testing.T) (arguments []string) {
	t.Helper()
	const command = "$ docker exec edge caddy reload "
	_, line, found := strings.Cut(blockOf(t, "deployment.md", "console", command), command)
	if !found {
		t.Fatal("the guide does not reload")
	}
	line, _, _ = strings.Cut(line, "\n")
	return append([]string{"reload"}, strings.Fields(line)...)
}

// A key's file is not part of the Caddyfile, which is the same after the file has
// changed; nor is a certificate's.
func TestTheGuidesReloadOfTheImageReadsTheKeysFileAgain(t *testing.T) {
	_, nodes := startCluster(t, 1)
	content, err := os.ReadFile("../deploy/docker/Caddyfile")
	if err != nil {
		t.Fatal(err)
	}
	key := writeCaddyfile(t, "0123456789abcdef\n")
	address := freeAddress(t)
	variables := []string{
		"SITE=http://" + address, "TIGERGRAPH_NODES=" + addresses(nodes), "COOKIE_KEY=", "COOKIE_KEY_FILE=" + key,
		"CADDY_ADMIN=" + freeAddress(t), "GLOBAL_OPTIONS=default_bind 127.0.0.1",
	}
	startAdapted(t, caddyBinary, "tigergraph", string(content), variables...).listening(address)
	b := newBrowser(t, "http://"+address, 2, nil)
	b.login()
	before := b.ourCookie()
	b.get("/api/__echo")
	if before == "" || b.ourCookie() != before {
		t.Fatalf("the cookie %q becomes %q", before, b.ourCookie())
	}
	if err := os.WriteFile(key, []byte("fedcba9876543210\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	arguments := reloadOfTheImage(t)
	for i, argument := range arguments {
		if argument == "/etc/caddy/Caddyfile" {
			arguments[i] = writeCaddyfile(t, string(content))
		}
	}
	if output, err := inHome(t, exec.Command(caddyBinary, arguments...), variables...).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, output)
	}
	eventually(t, "cookies are made with the new key", func() bool {
		b.get("/api/__echo")
		return b.ourCookie() != before
	})
}
