package integration_test

import (
	"encoding/base64"
	"net/http"
	"os"
	"strings"
	"testing"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/tgnode"
)

// What identifies somebody is nowhere in the log of the image.
func TestTheImagesAccessLogHoldsNoSecret(t *testing.T) {
	_, nodes := startCluster(t, 1)
	content, err := os.ReadFile("../deploy/docker/Caddyfile")
	if err != nil {
		t.Fatal(err)
	}
	address := freeAddress(t)
	p := startAdapted(t, caddyBinary, "tigergraph", strings.Replace(string(content), "persist_config off", "persist_config off\nadmin off", 1),
		"SITE=http://"+address, "TIGERGRAPH_NODES="+addresses(nodes), "LOG_LEVEL=DEBUG", "COOKIE_KEY=0123456789abcdef")
	p.listening(address)
	b := newBrowser(t, "http://"+address, 2, nil)
	b.login()
	credentials := base64.StdEncoding.EncodeToString([]byte("tigergraph:" + tgnode.Password))
	a := b.do(http.MethodPost, "/gsqlserver/gsql/login", []byte(credentials))
	session := ""
	for name, values := range a.Header {
		if strings.EqualFold(name, "Set-GSQL-Cookie") {
			session = values[0]
		}
	}
	if session == "" {
		t.Fatalf("no session: %d %v", a.StatusCode, a.Header)
	}
	b.do(http.MethodPost, "/gsqlserver/gsql/command", []byte("ls"), "GSQL-Cookie", session, "Authorization", "Basic "+credentials)
	b.get("/restpp/requesttoken?secret=my-secret&lifetime=1", "X-TG-Password", "my-password", "X-TG-Secret", "my-secret")
	b.get("/restpp/echo?token=my-token", "Authorization", "Bearer my-bearer")
	b.get("/api/auth/oidc/callback?state=1&code=my-code")
	eventually(t, "all is logged", func() bool { return strings.Contains(p.output.String(), "/api/auth/oidc/callback") })

	log := p.output.String()
	for _, line := range []string{"/gsqlserver/gsql/login", "/gsqlserver/gsql/command", "lifetime=1", `"node":"`, `"service":"gsql"`} {
		if !strings.Contains(log, line) {
			t.Errorf("the log does not have %q", line)
		}
	}
	secrets := []string{credentials, "my-secret", "my-password", "my-token", "my-bearer", "my-code", b.ourCookie(), "serverId", "sessionId", "0123456789abcdef"}
	for _, secret := range secrets {
		if secret == "" || strings.Contains(log, secret) {
			for line := range strings.Lines(log) {
				if strings.Contains(line, secret) {
					t.Errorf("the log has %q: %s", secret, line)
				}
			}
		}
	}
}
