package integration_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/tgnode"
)

// cluster returns the directive in front of these nodes, with more of a block.
func cluster(nodes []*tgnode.Node, more string) string {
	return "tigergraph " + addresses(nodes) + " {\n" + more + "\n}"
}

// raw sends bytes to the edge and returns the answer as it is on the wire, until
// the edge closes the connection or the text is there.
func (e *edge) raw(request, until string) string {
	e.t.Helper()
	conn, err := net.Dial("tcp", e.address)
	if err != nil {
		e.t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(enough))
	if _, err := io.WriteString(conn, request); err != nil {
		e.t.Fatal(err)
	}
	var answer bytes.Buffer
	buffer := make([]byte, 4096)
	for {
		n, err := conn.Read(buffer)
		answer.Write(buffer[:n])
		if until != "" && bytes.Contains(answer.Bytes(), []byte(until)) || err != nil {
			return answer.String()
		}
	}
}

func TestSetGSQLCookieKeepsItsCase(t *testing.T) {
	_, nodes := startCluster(t, 1)
	e := newEdge(t)
	e.load(cluster(nodes, "health_check off"))
	const session = `{"sessionId":"1","auth":"Basic eA=="}`
	field := tgnode.Field{Name: "Set-GSQL-Cookie", Value: session}
	head := "HTTP/1.1 200 OK\r\nSet-GSQL-Cookie: " + session + "\r\n"
	for name, fault := range map[string]tgnode.Fault{
		"of known length": {Mode: tgnode.Answer, Status: 200, Fields: []tgnode.Field{field}, Body: "{}"},
		"empty":           {Mode: tgnode.Answer, Status: 200, Fields: []tgnode.Field{field}},
		"in chunks":       {Mode: tgnode.Endless, Status: 200, Fields: []tgnode.Field{field}, Body: "line\n"},
		"after early hints": {Mode: tgnode.Raw, Body: "HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\n" +
			head + "Connection: close\r\nContent-Length: 2\r\n\r\n{}"},
		"with trailers": {Mode: tgnode.Raw, Body: head +
			"Connection: close\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n2\r\n{}\r\n0\r\nX-Sum: 7\r\n\r\n"},
	} {
		t.Run(name, func(t *testing.T) {
			nodes[0].SetFault(tgnode.GSQL, fault)
			until := "\r\n\r\n"
			if name == "after early hints" || name == "with trailers" {
				until = ""
			}
			got := e.raw("POST /gsqlserver/gsql/login HTTP/1.1\r\nHost: "+e.address+"\r\nContent-Length: 1\r\nConnection: close\r\n\r\nx", until)
			if !strings.Contains(got, "\r\nSet-GSQL-Cookie: "+session+"\r\n") {
				t.Errorf("the session is lost in %q", got)
			}
			if strings.Contains(got, "Set-Gsql-Cookie") || strings.Contains(got, "TigerGraphNode") {
				t.Errorf("too much in %q", got)
			}
			if name == "in chunks" && !strings.Contains(got, "chunked") {
				t.Errorf("not chunked: %q", got)
			}
			if name == "after early hints" && !strings.Contains(got, "103 Early Hints") {
				t.Errorf("the hints are lost: %q", got)
			}
			if name == "with trailers" && !strings.Contains(got, "X-Sum: 7") {
				t.Errorf("the trailer is lost: %q", got)
			}
		})
	}
}

// useGSQL runs a session with a command that asks back while it runs.
func useGSQL(t *testing.T, client *tgnode.GSQLClient) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), enough)
	defer cancel()
	if err := client.Login(ctx); err != nil {
		t.Fatal(err)
	}
	for _, command := range []string{"ls", "DROP ALL"} {
		if output, err := client.Command(ctx, command); err != nil {
			t.Fatalf("%s: %q, %v", command, output, err)
		}
	}
	if err := client.Exit(ctx); err != nil {
		t.Error(err)
	}
}

func TestTheGSQLClientWorks(t *testing.T) {
	_, nodes := startCluster(t, 3)
	for _, field := range []string{"Set-GSQL-Cookie", "Set-Cookie"} {
		for _, node := range nodes {
			node.Update(func(o *tgnode.Options) { o.GSQLSessionHeader = field })
		}
		e := newEdge(t)
		e.load(cluster(nodes, ""))
		useGSQL(t, &tgnode.GSQLClient{Address: e.address, User: "tigergraph", SessionField: field})
		e = newEdge(t)
		e.loadTLS(cluster(nodes, ""))
		_, port, _ := net.SplitHostPort(e.address)
		useGSQL(t, &tgnode.GSQLClient{
			Address: "localhost:" + port, User: "tigergraph", SessionField: field,
			TLS: &tls.Config{InsecureSkipVerify: true, MaxVersion: tls.VersionTLS12}, // as it offers
		})
	}
}

// behindProxy loads a site whose server trusts the proxy at 127.0.0.0/8.
func (e *edge) behindProxy(directives string) {
	e.t.Helper()
	if err := e.tryLoadCaddyfile(e.globals + "servers {\ntrusted_proxies static 127.0.0.0/8\n}\n}\nhttp://" + e.address + " {\n" + directives + "\n}\n"); err != nil {
		e.t.Fatal(err)
	}
}

func TestTheNodesCookiesAreSecureOverTLS(t *testing.T) {
	_, nodes := startCluster(t, 1)
	nodes[0].Update(func(o *tgnode.Options) { o.SameSite = "None" })
	login := func(b *browser, fields ...string) (lines []string) {
		t.Helper()
		return b.do(http.MethodPost, "/api/auth/login", []byte(`{"username":"u","password":"`+tgnode.Password+`"}`), fields...).
			Header.Values("Set-Cookie")
	}
	for _, affinity := range []string{"cookie", "client_ip"} {
		block := cluster(nodes, "affinity "+affinity)
		e := newEdge(t)
		check := func(how string, lines []string, want bool) {
			t.Helper()
			if len(lines) == 0 {
				t.Errorf("%s, %s: no cookie", affinity, how)
			}
			for _, line := range lines {
				if strings.Contains(line, "; Secure") != want || strings.Count(line, "Secure") > 1 {
					t.Errorf("%s, %s: %q", affinity, how, line)
				}
			}
		}
		e.load(block)
		check("plain", login(e.newBrowser(2)), false)
		check("plain, but lying", login(e.newBrowser(2), "X-Forwarded-Proto", "https"), false)
		e = newEdge(t)
		e.behindProxy(block)
		check("behind TLS", login(e.newBrowser(2), "X-Forwarded-Proto", "https"), true)
		check("behind plain", login(e.newBrowser(2), "X-Forwarded-Proto", "http"), false)
		e = newEdge(t)
		e.load(cluster(nodes, "affinity "+affinity+"\ntrusted_proxies 127.0.0.0/8"))
		check("behind TLS, trusted by the proxy", login(e.newBrowser(2), "X-Forwarded-Proto", "https"), true)
		e = newEdge(t)
		e.loadTLS(block)
		b := e.newBrowserTLS(2)
		b.http.Jar = nil
		check("TLS", login(b), true)
	}
}

func TestNoNodeLeftIs503WithRetryAfter(t *testing.T) {
	_, nodes := startCluster(t, 2)
	e := newEdge(t)
	e.load(cluster(nodes, "health_check off"))
	for _, node := range nodes {
		node.Stop()
	}
	for _, method := range []string{http.MethodGet, http.MethodPost} {
		for _, target := range []string{"/", "/api/auth/login", "/restpp/query/g/q"} {
			a := e.newBrowser(2).do(method, target, []byte("x")[:len(method)-3])
			if a.StatusCode != http.StatusServiceUnavailable || a.Header.Get("Retry-After") == "" {
				t.Errorf("%s %s: %d, Retry-After %q", method, target, a.StatusCode, a.Header.Get("Retry-After"))
			}
			if len(a.Cookies()) > 0 {
				t.Errorf("%s %s: an error sets %v", method, target, a.Cookies())
			}
		}
	}
}

func TestWhatMayHaveBeenDoneIsNotAskedForAgain(t *testing.T) {
	_, nodes := startCluster(t, 2)
	e := newEdge(t)
	e.load(cluster(nodes, "health_check off\nmax_fails 1000"))
	for _, mode := range []tgnode.Mode{tgnode.Reset, tgnode.Close, tgnode.Died} {
		for _, node := range nodes {
			node.SetFault(tgnode.All, tgnode.Fault{Mode: mode})
		}
		a := e.newBrowser(2).do(http.MethodPost, "/api/auth/login", []byte("x"))
		if a.StatusCode != http.StatusBadGateway || a.Header.Get("Retry-After") != "" || len(a.Cookies()) > 0 {
			t.Errorf("mode %d: %d %v", mode, a.StatusCode, a.Header)
		}
		a = e.newBrowser(2).get("/studio/")
		if mode != tgnode.Died && (a.StatusCode != http.StatusServiceUnavailable || a.Header.Get("Retry-After") == "" || len(a.Cookies()) > 0) {
			t.Errorf("mode %d: a read: %d %v", mode, a.StatusCode, a.Header)
		}
	}
}

func TestErrorHandlersGetTheHeaderAsItShallBe(t *testing.T) {
	_, nodes := startCluster(t, 1)
	e := newEdge(t)
	e.load(cluster(nodes, "health_check off") + "\nhandle_errors {\nrespond \"sorry: {err.status_code}\" {err.status_code}\n}")
	nodes[0].Stop()
	a := e.newBrowser(2).get("/studio/")
	if string(a.body) != "sorry: 503" || a.Header.Get("Retry-After") == "" || len(a.Cookies()) > 0 {
		t.Errorf("%d %v %s", a.StatusCode, a.Header, a.body)
	}
}

// What an error route of the site's own answers is out of the handler's reach.
func TestAnErrorRouteThatSucceedsCanTakeBackRetryAfter(t *testing.T) {
	_, nodes := startCluster(t, 1)
	nodes[0].Stop()
	e := newEdge(t)
	e.load(cluster(nodes, "health_check off") + "\nhandle_errors {\nheader -Retry-After\nrespond \"closed today\" 200\n}")
	a := e.newBrowser(2).get("/studio/")
	if a.StatusCode != http.StatusOK || a.Header.Get("Retry-After") != "" || len(a.Cookies()) > 0 {
		t.Errorf("%d %v %s", a.StatusCode, a.Header, a.body)
	}
}

func TestResponsesWithOurCookieArePrivate(t *testing.T) {
	_, nodes := startCluster(t, 1)
	e := newEdge(t)
	e.load(cluster(nodes, "health_check off"))
	b := e.newBrowser(2)
	nodes[0].SetFault(tgnode.All, tgnode.Fault{
		Mode: tgnode.Answer, Status: 200, Body: "x", Fields: []tgnode.Field{{Name: "Cache-Control", Value: "public, max-age=60"}},
	})
	if a := b.get("/studio/main.js"); a.Header.Get("Cache-Control") != "private, max-age=60" || b.ourCookie() == "" {
		t.Errorf("%v", a.Header)
	}
	if a := b.get("/studio/main.js"); a.Header.Get("Cache-Control") != "public, max-age=60" || len(a.Cookies()) > 0 {
		t.Errorf("without a cookie: %v", a.Header)
	}
}

// socket is a WebSocket through the edge.
type socket struct {
	net.Conn
	reader *bufio.Reader
}

func (e *edge) dialWebSocket(path string) (*socket, error) {
	conn, err := net.Dial("tcp", e.address)
	if err != nil {
		return nil, err
	}
	e.t.Cleanup(func() { conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(enough))
	fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: %s\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n", path, e.address)
	s := &socket{conn, bufio.NewReader(conn)}
	response, err := http.ReadResponse(s.reader, nil)
	if err != nil {
		return nil, err
	}
	if response.StatusCode != http.StatusSwitchingProtocols || response.Header.Get("Sec-WebSocket-Accept") != "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" {
		return nil, fmt.Errorf("%d %v", response.StatusCode, response.Header)
	}
	return s, nil
}

// echo sends a message and expects it back.
func (s *socket) echo(message string) error {
	frame := append([]byte{0x81, 0x80 | byte(len(message)), 0, 0, 0, 0}, message...)
	if _, err := s.Write(frame); err != nil {
		return err
	}
	answer := make([]byte, 2+len(message))
	if _, err := io.ReadFull(s.reader, answer); err != nil {
		return err
	}
	if string(answer[2:]) != message {
		return fmt.Errorf("got %q", answer)
	}
	return nil
}

func TestWebSocketsAndEventsOutliveAReload(t *testing.T) {
	_, nodes := startCluster(t, 2)
	for _, node := range nodes {
		node.Update(func(o *tgnode.Options) { o.Streaming = true })
	}
	e := newEdge(t)
	e.load(cluster(nodes, "stream_close_delay 1m"))
	ws, err := e.dialWebSocket("/api/__echo")
	if err != nil {
		t.Fatal(err)
	}
	if err := ws.echo("before"); err != nil {
		t.Fatal(err)
	}
	events, err := http.Get("http://" + e.address + "/api/__events?n=1000&every=20ms")
	if err != nil {
		t.Fatal(err)
	}
	defer events.Body.Close()
	lines := bufio.NewScanner(events.Body)
	next := func() bool {
		event := lines.Scan()
		return event && lines.Scan() // the empty line after it
	}
	if !next() {
		t.Fatal("no event")
	}
	for range 3 {
		e.load(cluster(nodes, "stream_close_delay 1m"))
		if err := ws.echo("after"); err != nil {
			t.Errorf("the WebSocket ended: %v", err)
		}
		if !next() {
			t.Errorf("the events ended: %v", lines.Err())
		}
	}
}
