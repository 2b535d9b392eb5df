package tigergraph

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/http1/http1test"
)

// newTransport sets up a transport by its JSON.
func newTransport(t testing.TB, settings string) *Transport {
	t.Helper()
	ctx, cancel := caddy.NewContext(caddy.Context{Context: context.Background()})
	t.Cleanup(cancel)
	transport := new(Transport)
	if err := json.Unmarshal([]byte(settings), transport); err != nil {
		t.Fatal(err)
	}
	if err := transport.Provision(ctx); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = transport.Cleanup() })
	return transport
}

// serveRaw has each connection to a node served, and closed then. It returns the
// node's address.
func serveRaw(t *testing.T, serve func(net.Conn)) string {
	t.Helper()
	return http1test.Serve(t, func(conn net.Conn) {
		serve(conn)
		// What is closed before all was read resets the connection, and the
		// answer may be lost.
		_ = conn.(*net.TCPConn).CloseWrite()
		_ = conn.SetReadDeadline(time.Now().Add(time.Second))
		_, _ = io.Copy(io.Discard, conn)
	})
}

func TestOurClientIsUsedOnlyIfItDoesWhatIsSet(t *testing.T) {
	for settings, ours := range map[string]bool{
		`{}`:                                    true,
		`{"versions": ["1.1"]}`:                 true,
		`{"dial_timeout": "1s"}`:                true,
		`{"keep_alive": {"idle_timeout": 1}}`:   true,
		`{"compression": true}`:                 false,
		`{"tls": {}}`:                           false,
		`{"read_timeout": "1h"}`:                false,
		`{"write_timeout": "1h"}`:               false,
		`{"response_header_timeout": "1h"}`:     false,
		`{"max_conns_per_host": 9}`:             true,
		`{"proxy_protocol": "v2"}`:              false,
		`{"versions": ["2"]}`:                   false,
		`{"versions": ["1.1", "h2c"]}`:          false,
		`{"keep_alive": {"enabled": false}}`:    false,
		`{"keep_alive": {"max_idle_conns": 9}}`: false,
	} {
		if transport := newTransport(t, settings); (transport.sender.Own != nil) != ours {
			t.Errorf("%s: used: %t", settings, !ours)
		}
	}
}

// A header that no system's buffers are sure to hold goes out while the answer is
// read: a node may refuse it before it has read it.
func TestALongHeaderIsAnsweredWhileItIsSent(t *testing.T) {
	node := serveRaw(t, func(conn net.Conn) {
		_, _ = conn.Read(make([]byte, 10))
		_, _ = io.WriteString(conn, "HTTP/1.1 431 Too Long\r\nContent-Length: 0\r\n\r\n")
		<-t.Context().Done() // and never reads the rest
	})
	transport := newTransport(t, `{}`)
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+node+"/", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("X-Long", strings.Repeat("x", 9<<20))
	res, err := transport.RoundTrip(r)
	if err != nil || res.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
		t.Fatal(res, err)
	}
	res.Body.Close()
}

func TestTheTransportTellsWhoAsksAndNotThatItIsAProxy(t *testing.T) {
	transport := newTransport(t, `{"client_ip_header": "x-real-ip", "no_via": true}`)
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	r.Header = http.Header{"Via": {"1.0 a", "1.1 Caddy"}, "X-Real-Ip": {"forged", "twice"}}
	transport.adjust(r, "192.0.2.1", true)
	if got := r.Header["X-Real-Ip"]; len(got) != 1 || got[0] != "192.0.2.1" || r.Header["Via"] != nil {
		t.Errorf("%v", r.Header)
	}
	// Nothing is written twice: Go's client may be reading still.
	before := &r.Header["X-Real-Ip"][0]
	transport.adjust(r, "192.0.2.1", true)
	if after := &r.Header["X-Real-Ip"][0]; before != after {
		t.Error("written once more")
	}
	// A probe is nobody's.
	probe := httptest.NewRequest(http.MethodGet, "/", nil)
	transport.adjust(probe, "", false)
	if len(probe.Header) > 0 {
		t.Errorf("%v", probe.Header)
	}
}

// The error says that there may be an effect, and is still a time-out where it was
// one: Caddy answers 504 then.
func TestARequestThatIsNotRepeatedSaysWhy(t *testing.T) {
	node := serveRaw(t, func(conn net.Conn) { _, _ = conn.Read(make([]byte, 10000)) })
	transport := newTransport(t, `{}`)
	ask := func(target string) error {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+node+target, nil)
		if err != nil {
			t.Fatal(err)
		}
		res, err := transport.RoundTrip(r)
		if err == nil {
			res.Body.Close()
		}
		return err
	}
	err := ask("/gsql/v1/drop-all")
	if err == nil || !strings.Contains(err.Error(), "may have carried out the request") {
		t.Errorf("error %v", err)
	}
	// Caddy looks no further than at the outermost error.
	if timeout, ok := err.(net.Error); !ok || timeout.Timeout() { //nolint:errorlint // as Caddy does
		t.Errorf("%T is no network error, or a time-out", err)
	}
	if err := ask("/restpp/version"); err == nil || strings.Contains(err.Error(), "may have carried out") {
		t.Errorf("error %v", err)
	}
}

// Each socket is a node of its own, whatever is said to be its host.
func TestProbesOfSocketsAreAnsweredByTheirOwn(t *testing.T) {
	for name, transport := range map[string]http.RoundTripper{
		"tigergraph": newTransport(t, `{}`),
		"http":       &newTransport(t, `{}`).HTTPTransport,
	} {
		t.Run(name, func(t *testing.T) {
			folder := t.TempDir()
			var hosts bytes.Buffer
			serve := func(name string, status int, asked *atomic.Int64) reverseproxy.DialInfo {
				path := filepath.Join(folder, name)
				listener, err := net.Listen("unix", path)
				if err != nil {
					t.Fatal(err)
				}
				server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					asked.Add(1)
					hosts.WriteString(r.Host + " ")
					w.WriteHeader(status)
				}))
				server.Listener.Close()
				server.Listener = listener
				server.Start()
				t.Cleanup(server.Close)
				return reverseproxy.DialInfo{Network: "unix", Address: path, Host: path}
			}
			var up, down atomic.Int64
			lives, fails := serve("a", http.StatusOK, &up), serve("b", http.StatusBadGateway, &down)
			ctx, cancel := caddy.NewContext(caddy.Context{Context: t.Context()})
			defer cancel()
			checker := new(Services)
			if err := checker.Provision(ctx); err != nil {
				t.Fatal(err)
			}
			for range 3 {
				if err := checker.Probe(ctx, transport, lives, "restpp"); err != nil {
					t.Error(err)
				}
				if checker.Probe(ctx, transport, fails, "restpp") == nil {
					t.Error("a probe passed that asked a node that fails")
				}
			}
			if up.Load() != 3 || down.Load() != 3 || hosts.String() != strings.Repeat("localhost ", 6) {
				t.Errorf("asked %d and %d times, for %s", up.Load(), down.Load(), hosts.String())
			}
		})
	}
}

// What another transport calls its settings, and what is in them, is its own affair.
func TestTheDirectiveLeavesAnotherTransportAlone(t *testing.T) {
	const other = `{"protocol": "other", "versions": "of its own", "keep_alive": 5}`
	v := &directive{given: map[string][]caddyfile.Segment{"transport": {{{Text: "transport"}}}}}
	proxy := &reverseproxy.Handler{TransportRaw: json.RawMessage(other)}
	if err := v.completeTransport(proxy); err != nil || string(proxy.TransportRaw) != other {
		t.Errorf("%v: %s", err, proxy.TransportRaw)
	}
	if proxy.Headers == nil || !mentions(proxy.Headers.Request, clientIPHeader) {
		t.Error("the node is not told the client's address")
	}
}

// Probes that go on over a reload must not trust whom they no longer should.
func TestAuthoritiesAreFoundInEachTransport(t *testing.T) {
	transport := newTransport(t, `{"tls": {}}`)
	pool := x509.NewCertPool()
	transport.Transport.TLSClientConfig.RootCAs = pool
	for _, one := range []http.RoundTripper{transport, &transport.HTTPTransport} {
		if authorities(one) != pool {
			t.Errorf("%T: not found", one)
		}
	}
}

func TestCleaningUpClosesIdleConnections(t *testing.T) {
	closed := make(chan struct{})
	node := serveRaw(t, func(conn net.Conn) {
		buffer := make([]byte, 10000)
		_, _ = conn.Read(buffer)
		_, _ = io.WriteString(conn, "HTTP/1.1 204 No Content\r\n\r\n")
		_, _ = conn.Read(buffer)
		close(closed)
	})
	transport := newTransport(t, `{}`)
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+node+"/", nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := transport.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if err := transport.Cleanup(); err != nil {
		t.Error(err)
	}
	select {
	case <-closed:
	case <-time.After(20 * time.Second):
		t.Error("the connection is open still")
	}
}
