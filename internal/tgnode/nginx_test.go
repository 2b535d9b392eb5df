package tgnode

import (
	"crypto/tls"
	"encoding/json"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"
)

const page502 = "<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n<body>\r\n<center><h1>502 Bad Gateway</h1></center>\r\n<hr><center>nginx</center>\r\n</body>\r\n</html>\r\n"

func TestPathsAreDecodedBeforeTheyAreRouted(t *testing.T) {
	node := startNode(t, Options{})
	for _, test := range []struct {
		target  string
		service Service
	}{
		{"/", Static},
		{"/studio/any/path", Static},
		{"/admin/", Static},
		{"/insights/", Static},
		{"/gsql/", Static},
		{"/assets/main.js", Static},
		{"/api/ping", GUI},
		{"/restpp", GUI},
		{"/gsqlserver", GUI},
		{"/GSQLSERVER/gsql/version", GUI},
		{"/Studio/", GUI},
		{"/gsqlserver/gsql/version", GSQL},
		{"/%67sqlserver/gsql/version", GSQL},
		{"//gsqlserver//gsql/version", GSQL},
		{"/gsql/v1/version", GSQL},
		{"/gsql/scim/v2/Users", GSQL},
		{"/restpp/echo", RESTPP},
		{"/api/../restpp/echo", RESTPP},
		{"/api/%2e%2e/restpp/./echo", RESTPP},
		{"/restpp%2Fecho", RESTPP},
		{"/restpp/../api/ping", GUI},
		{"http://elsewhere/restpp/echo?x=/api/", RESTPP},
		{"/informant/metrics", Informant},
	} {
		node.ResetRequests()
		get(t, node, test.target)
		if requests := node.Requests(); len(requests) != 1 || requests[0].Service != test.service || requests[0].Target != test.target {
			t.Errorf("%s: got %+v, want it at %s", test.target, requests, test.service)
		}
		if node.Count(test.service) != 1 || node.Count(All) != 1 {
			t.Errorf("%s: counted %d for %s of %d", test.target, node.Count(test.service), test.service, node.Count(All))
		}
	}
}

func TestBadRequestsGetNginxPages(t *testing.T) {
	node := startNode(t, Options{MaxBody: 1000})
	ok := "GET /restpp/echo HTTP/1.1\r\nHost: a\r\n"
	for _, test := range []struct {
		name, raw, title string
		status           int
	}{
		{"not HTTP", "hello\r\n\r\n", "400 Bad Request", 400},
		{"no host", "GET / HTTP/1.1\r\n\r\n", "400 Bad Request", 400},
		{"path above the root", "GET /../x HTTP/1.1\r\nHost: a\r\n\r\n", "400 Bad Request", 400},
		{"broken encoding", "GET /%zz HTTP/1.1\r\nHost: a\r\n\r\n", "400 Bad Request", 400},
		{"header line without colon", ok + "broken\r\n\r\n", "400 Bad Request", 400},
		{"two lengths", ok + "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", "400 Bad Request", 400},
		{"large header", ok + "X: " + strings.Repeat("x", 9000) + "\r\n\r\n", "400 Request Header Or Cookie Too Large", 400},
		{"long URL", "GET /" + strings.Repeat("x", 9000) + " HTTP/1.1\r\nHost: a\r\n\r\n", "414 Request-URI Too Large", 414},
		{"large body", "POST /restpp/ddl/g HTTP/1.1\r\nHost: a\r\nContent-Length: 1001\r\n\r\n", "413 Request Entity Too Large", 413},
		{"large chunks", "POST /restpp/ddl/g HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3e9\r\n" + strings.Repeat("x", 1001) + "\r\n0\r\n\r\n", "413 Request Entity Too Large", 413},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := dial(t, node)
			c.write(test.raw)
			answer, err := c.read("GET")
			if err != nil {
				t.Fatal(err)
			}
			if answer.status != test.status || !strings.Contains(answer.body, "<title>"+test.title+"</title>") {
				t.Errorf("got %d %s", answer.status, answer.body)
			}
			if answer.header.Get("X-Frame-Options") != "" || answer.header.Get("Content-Type") != "text/html" || !strings.HasSuffix(answer.head, "Connection: close") {
				t.Errorf("header is\n%s", answer.head)
			}
		})
	}
	if n := node.cluster.Ledger().Total(); n != 0 {
		t.Errorf("%d executions of refused requests", n)
	}
}

func TestHeaderOfASuccessIsThatOfNginx(t *testing.T) {
	head := get(t, startNode(t, Options{}), "/restpp/echo").head
	var names []string
	for _, line := range strings.Split(head, "\r\n")[1:] {
		name, _, _ := strings.Cut(line, ":")
		names = append(names, name)
	}
	want := []string{"Server", "Date", "Content-Type", "Content-Length", "Connection", "X-Frame-Options"}
	if !slices.Equal(names, want) || !strings.Contains(head, "Server: nginx\r\n") {
		t.Errorf("head is\n%s", head)
	}
}

func TestStaticFilesAreThereWhateverIsDead(t *testing.T) {
	node := startNode(t, Options{Index: []byte("<h1>the demo</h1>")})
	for _, s := range []Service{GUI, GSQL, RESTPP} {
		node.SetFault(s, Fault{Mode: Dead})
	}
	wantBody(t, get(t, node, "/"), 200, "<h1>the demo</h1>")
	wantStatus(t, node, "/studio/", 200)
	for _, probe := range []string{"/api/ping", "/restpp/echo", "/gsqlserver/gsql/version"} {
		wantBody(t, get(t, node, probe), 502, page502)
	}
	node.ClearFaults()
	wantStatus(t, node, "/api/ping", 200)
}

func TestScriptsAreCompressedButNotForProxies(t *testing.T) {
	node := startNode(t, Options{})
	if got := get(t, node, "/assets/main.js", "Accept-Encoding: gzip"); len(got.body) > 10_000 || got.header.Get("Content-Encoding") != "gzip" {
		t.Errorf("%d bytes, header\n%s", len(got.body), got.head)
	}
	if got := get(t, node, "/assets/main.js", "Accept-Encoding: gzip", "Via: 1.1 edge"); len(got.body) != 200_000 {
		t.Errorf("%d bytes, header\n%s", len(got.body), got.head)
	}
}

func TestOlderNginxHasNoRouteForNewerGSQLPaths(t *testing.T) {
	node := startNode(t, Options{NoGSQLRoutes: true})
	wantStatus(t, node, "/gsql/v1/drop-all", 404)
	wantStatus(t, node, "/gsqlserver/gsql/drop-all", 200)
	if n := node.cluster.Ledger().Count(DropAll); n != 1 {
		t.Errorf("%d executions, want 1", n)
	}
}

func TestEchoTellsWhatArrivedAndWhatNginxMakesOfIt(t *testing.T) {
	node := startNode(t, Options{})
	for _, test := range []struct{ target, host, realIP, upgrade string }{
		{"/api/__echo?a=%20+b", "localhost:14242", "127.0.0.1", ""},
		{"/gsqlserver/__echo", "gsql_server", "127.0.0.1", ""},
		{"/restpp/__echo", "edge", "192.0.2.1", "websocket"},
	} {
		c := dial(t, node)
		c.do("GET", "/api/ping", "")
		var echo Echo
		if err := json.Unmarshal([]byte(c.do("GET", test.target, "", "x-lOwEr: 1", "X-Real-IP: 192.0.2.1", "Upgrade: websocket", "Cookie: {\"a\":1}").body), &echo); err != nil {
			t.Fatal(err)
		}
		if echo.Target != test.target || echo.Node != "m1" || echo.Sequence != 2 || echo.Peer != c.conn.LocalAddr().String() {
			t.Errorf("echo is %+v", echo)
		}
		if want := [2]string{"x-lOwEr", "1"}; echo.Received[1] != want {
			t.Errorf("received %v", echo.Received)
		}
		forwarded := make(map[string]string)
		for _, f := range echo.Forwarded {
			forwarded[f[0]] = f[1]
		}
		if forwarded["Host"] != test.host || forwarded["X-Real-IP"] != test.realIP || forwarded["Upgrade"] != test.upgrade || forwarded["Cookie"] != `{"a":1}` {
			t.Errorf("%s: forwarded %v", test.target, forwarded)
		}
	}
}

func TestWebSocketsPassOnlyAStreamingNginx(t *testing.T) {
	node := startNode(t, Options{})
	fields := []string{"Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ=="}
	if got := get(t, node, "/api/__echo", fields...); got.status != 200 {
		t.Errorf("status %d", got.status)
	}
	node.Update(func(o *Options) { o.Streaming = true })
	c := dial(t, node)
	if got := c.do("GET", "/api/__echo", "", fields...); got.status != 101 || got.header.Get("Sec-WebSocket-Accept") != "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" {
		t.Fatalf("got\n%s", got.head)
	}
	c.write("\x81\x85\x01\x02\x03\x04" + "\x69\x67\x6f\x68\x6e") // "hello", masked
	frame := make([]byte, 7)
	if _, err := io.ReadFull(c.reader, frame); err != nil || string(frame) != "\x81\x05hello" {
		t.Errorf("frame %q, %v", frame, err)
	}
}

func TestEventsOfTheGUIAreBufferedUnlessStreaming(t *testing.T) {
	node := startNode(t, Options{})
	if got := get(t, node, "/api/__events?n=3&every=1ms"); got.header.Get("Content-Length") == "" || strings.Count(got.body, "data:") != 3 {
		t.Errorf("got\n%s\n\n%s", got.head, got.body)
	}
	node.Update(func(o *Options) { o.Streaming = true })
	c := dial(t, node)
	c.write("GET /api/__events?n=2&every=1h HTTP/1.1\r\nHost: a\r\n\r\n")
	response, err := http.ReadResponse(c.reader, nil)
	if err != nil {
		t.Fatal(err)
	}
	first := make([]byte, len("data: 1\n\n"))
	if _, err := io.ReadFull(response.Body, first); err != nil || string(first) != "data: 1\n\n" {
		t.Errorf("first event %q, %v", first, err)
	}
}

func TestConnectionsEndAfterTheirRequestsOrTheirTime(t *testing.T) {
	node := startNode(t, Options{MaxRequests: 2})
	c := dial(t, node)
	if got := c.do("GET", "/restpp/echo", ""); !strings.Contains(got.head, "Connection: keep-alive") {
		t.Errorf("first answer\n%s", got.head)
	}
	if got := c.do("GET", "/restpp/echo", ""); !strings.Contains(got.head, "Connection: close") {
		t.Errorf("second answer\n%s", got.head)
	}
	if _, err := c.reader.ReadByte(); err != io.EOF {
		t.Errorf("connection still open: %v", err)
	}

	node.Update(func(o *Options) { o.IdleTimeout = 10 * time.Millisecond })
	c = dial(t, node)
	if _, err := c.reader.ReadByte(); err != io.EOF {
		t.Errorf("idle connection still open: %v", err)
	}
}

func TestRequestsOnOneConnection(t *testing.T) {
	node := startNode(t, Options{})
	c := dial(t, node)
	if got := c.do("HEAD", "/api/ping", ""); got.body != "" || got.header.Get("Content-Length") == "0" {
		t.Errorf("answer to HEAD\n%s", got.head)
	}
	c.write("POST /restpp/ddl/g?marker=chunks HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\nTrailer: x\r\n\r\n")
	if got, err := c.read("POST"); err != nil || got.status != 100 {
		t.Fatalf("got %+v, %v; want 100", got, err)
	}
	if got, err := c.read("POST"); err != nil || !strings.Contains(got.body, `"bytes":5`) {
		t.Fatalf("got %+v, %v", got, err)
	}
	c.write("GET /restpp/echo HTTP/1.1\r\nHost: a\r\n\r\nGET /restpp/version HTTP/1.1\r\nHost: a\r\n\r\n")
	for _, want := range []string{"Hello GSQL", "TigerGraph RESTPP"} {
		if got, err := c.read("GET"); err != nil || !strings.Contains(got.body, want) {
			t.Errorf("pipelined: got %+v, %v; want %s", got, err, want)
		}
	}
	c.write("GET /restpp/query/g/q?bytes=10000&chunked=true HTTP/1.0\r\n\r\n")
	if got, err := c.read("GET"); err != nil || len(got.body) != 10000 || !strings.Contains(got.head, "Connection: close") {
		t.Errorf("HTTP/1.0: got %d bytes, %v\n%s", len(got.body), err, got.head)
	}
	requests := node.Requests()
	if len(requests) != 5 || requests[4].Sequence != 5 || requests[4].Connection != requests[0].Connection {
		t.Errorf("recorded %+v", requests)
	}
}

func TestTLS(t *testing.T) {
	config, pool, err := SelfSigned("wrong.example")
	if err != nil {
		t.Fatal(err)
	}
	node := startNode(t, Options{TLS: config})
	if got := get(t, node, "/api/ping"); got.status != 400 || !strings.Contains(got.body, "The plain HTTP request was sent to HTTPS port") {
		t.Errorf("plain HTTP is answered %d %s", got.status, got.body)
	}
	if _, err := tls.Dial("tcp", node.Addr(), &tls.Config{RootCAs: pool}); err == nil {
		t.Error("the certificate is for a wrong name, yet was accepted")
	}
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, ServerName: "wrong.example", MaxVersion: tls.VersionTLS12}}
	defer transport.CloseIdleConnections()
	for range 5 {
		response, err := (&http.Client{Transport: transport}).Get("https://" + node.Addr() + "/restpp/query/g/q?bytes=3000000")
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(response.Body)
		_ = response.Body.Close()
		if err != nil || len(body) != 3_000_000 || !json.Valid(body) {
			t.Errorf("%d bytes, %v", len(body), err)
		}
	}
	// On a busy machine Go's client may learn too late that all was written, and dial again.
	if n := node.Accepted(); n < 3 || n > 5 {
		t.Errorf("%d connections, want 3, or a few more", n)
	}
}
