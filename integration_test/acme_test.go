package integration_test

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"testing"
)

// The edge gets its certificate as in production, but from an authority on this
// machine: another Caddy. Both are processes of their own.
func TestALoginStaysOnItsNodeBehindACertificateByACME(t *testing.T) {
	_, nodes := startCluster(t, 3)
	address := freeAddress(t)
	_, securePort, _ := net.SplitHostPort(address)
	_, plainPort, _ := net.SplitHostPort(freeAddress(t))

	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	storage, authority := t.TempDir(), freeAddress(t)
	_, authorityPort, _ := net.SplitHostPort(authority)
	p := startProcess(t, program, processOptions(storage)+"skip_install_trust\n}\nhttps://localhost:"+authorityPort+" {\ntls internal\nacme_server\n}\n",
		acmePorts+"="+plainPort+","+securePort)
	p.listening(authority)
	root := filepath.Join(storage, "pki", "authorities", "local", "root.crt")
	trusted := x509.NewCertPool()
	eventually(t, "the authority has a root and a certificate", func() bool {
		certificate, err := os.ReadFile(root)
		if err != nil || !trusted.AppendCertsFromPEM(certificate) {
			return false
		}
		conn, err := tls.Dial("tcp", authority, &tls.Config{RootCAs: trusted, ServerName: "localhost"})
		if err == nil {
			_ = conn.Close()
		}
		return err == nil
	})

	edge := startProcess(t, caddyBinary, processOptions(t.TempDir())+
		fmt.Sprintf("http_port %s\nhttps_port %s\n}\nhttps://localhost {\ntls {\nissuer acme {\ndir https://localhost:%s/acme/local/directory\ntrusted_roots %s\n}\n}\n",
			plainPort, securePort, authorityPort, root)+proxyTo(nodes, "tigergraph")+"\n}\n")
	edge.listening(address)
	defer func() {
		if t.Failed() {
			t.Logf("the authority: %s\nthe edge: %s", p.output, edge.output)
		}
	}()
	config := &tls.Config{RootCAs: trusted, ServerName: "localhost"}
	eventually(t, "the edge has its certificate", func() bool {
		conn, err := tls.Dial("tcp", address, config)
		if err == nil {
			_ = conn.Close()
		}
		return err == nil
	})

	b := newBrowser(t, "https://localhost:"+securePort, 2, config)
	node := b.login()
	for range 200 {
		if now, status := b.whoami(); now != node || status != http.StatusOK {
			t.Fatalf("a session of %s was sent to %q: %d", node, now, status)
		}
	}
}
