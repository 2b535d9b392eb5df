package integration_test

import (
	"context"
	"crypto/tls"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"
)

func TestALoginStaysOnItsNodeOverEveryVersionOfHTTP(t *testing.T) {
	_, nodes := startCluster(t, 3)
	e := newEdge(t)
	e.loadTLS(proxyTo(nodes, "tigergraph"))
	_, port, _ := net.SplitHostPort(e.address)
	config := &tls.Config{InsecureSkipVerify: true, ServerName: "localhost"}

	for version, newTransport := range map[string]func(t *testing.T, host byte) http.RoundTripper{
		"HTTP/1.1": func(_ *testing.T, host byte) http.RoundTripper {
			transport := e.newBrowserTLS(host).http.Transport.(*http.Transport)
			transport.ForceAttemptHTTP2 = false
			return transport
		},
		"HTTP/2.0": func(_ *testing.T, host byte) http.RoundTripper {
			return e.newBrowserTLS(host).http.Transport
		},
		"HTTP/3.0": func(t *testing.T, _ byte) http.RoundTripper {
			transport := &http3.Transport{
				TLSClientConfig: config,
				Dial: func(ctx context.Context, _ string, tlsConfig *tls.Config, quicConfig *quic.Config) (*quic.Conn, error) {
					return quic.DialAddrEarly(ctx, e.address, tlsConfig, quicConfig)
				},
			}
			t.Cleanup(func() { _ = transport.Close() })
			return transport
		},
	} {
		t.Run(version, func(t *testing.T) {
			b := newBrowser(t, "https://localhost:"+port, 2, config)
			b.http.Transport = newTransport(t, 2)
			node := b.login()
			for range 200 {
				a := b.get("/api/auth/whoami")
				if a.StatusCode != http.StatusOK || a.Proto != version || len(a.Header["Set-Cookie"]) != 0 {
					t.Fatalf("%s %d, set %q", a.Proto, a.StatusCode, a.Header["Set-Cookie"])
				}
			}
			if now, _ := b.whoami(); now != node {
				t.Errorf("a session of %s was sent to %s", node, now)
			}
			// HTTP/2 and 3 may send each cookie in a field of its own.
			echo := b.get("/api/__echo", "Cookie", "a=1", "Cookie", "b=2").echo(t)
			sent := received(echo, "Cookie")
			if len(sent) == 0 || echo.Node != node {
				t.Errorf("%s saw the cookies %q", echo.Node, sent)
			}
			for _, line := range sent {
				if strings.Contains(line, "TigerGraphNode") {
					t.Errorf("the node saw %q", line)
				}
			}
		})
	}
}
