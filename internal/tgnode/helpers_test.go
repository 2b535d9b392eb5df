package tgnode

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

// enough is a bound for what happens at once on an idle machine.
const enough = 20 * time.Second

func startNode(t *testing.T, options Options) *Node {
	t.Helper()
	return startNodes(t, options)[0]
}

// startNodes starts the nodes of one cluster.
func startNodes(t *testing.T, options ...Options) []*Node {
	t.Helper()
	cluster := NewCluster()
	t.Cleanup(cluster.Close)
	nodes := make([]*Node, len(options))
	for i, o := range options {
		node, err := cluster.Start(o)
		if err != nil {
			t.Fatal(err)
		}
		nodes[i] = node
	}
	return nodes
}

// reply is an answer as it came over the wire.
type reply struct {
	status int
	head   string
	header http.Header
	body   string
}

// client sends requests over one connection, byte for byte.
type client struct {
	t      *testing.T
	conn   net.Conn
	reader *bufio.Reader
	head   strings.Builder
}

func dial(t *testing.T, node *Node) *client {
	t.Helper()
	conn, err := net.DialTimeout("tcp", node.Addr(), enough)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(enough))
	c := &client{t: t, conn: conn}
	c.reader = bufio.NewReader(io.TeeReader(conn, &c.head))
	return c
}

func (c *client) write(raw string) {
	c.t.Helper()
	if _, err := io.WriteString(c.conn, raw); err != nil {
		c.t.Fatal(err)
	}
}

// try sends a request and returns what came back of the answer.
func (c *client) try(method, target, body string, fields ...string) (reply, error) {
	c.t.Helper()
	head := method + " " + target + " HTTP/1.1\r\nHost: edge\r\n"
	for _, f := range fields {
		head += f + "\r\n"
	}
	if body != "" {
		head += "Content-Length: " + itoa(len(body)) + "\r\n"
	}
	if _, err := io.WriteString(c.conn, head+"\r\n"+body); err != nil {
		return reply{}, err
	}
	return c.read(method)
}

func (c *client) read(method string) (reply, error) {
	c.head.Reset()
	response, err := http.ReadResponse(c.reader, &http.Request{Method: method})
	if err != nil {
		return reply{}, err
	}
	body, err := io.ReadAll(response.Body)
	head, _, _ := strings.Cut(c.head.String(), "\r\n\r\n")
	return reply{response.StatusCode, head, response.Header, string(body)}, err
}

func (c *client) do(method, target, body string, fields ...string) reply {
	c.t.Helper()
	answer, err := c.try(method, target, body, fields...)
	if err != nil {
		c.t.Fatalf("%s %s: %v", method, target, err)
	}
	return answer
}

func itoa(n int) string {
	b, _ := json.Marshal(n)
	return string(b)
}

// get asks over a connection of its own.
func get(t *testing.T, node *Node, target string, fields ...string) reply {
	t.Helper()
	return dial(t, node).do("GET", target, "", fields...)
}

func wantStatus(t *testing.T, node *Node, target string, status int) {
	t.Helper()
	if got := get(t, node, target); got.status != status {
		t.Errorf("%s on %s is answered %d, want %d", target, node.Name(), got.status, status)
	}
}

func wantBody(t *testing.T, got reply, status int, body string) {
	t.Helper()
	if got.status != status || got.body != body {
		t.Errorf("answer is %d %s\nwant %d %s", got.status, got.body, status, body)
	}
}

// eventually waits until the condition holds.
func eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(enough); !condition(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not in time: %s", what)
		}
	}
}

func within(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), enough)
	t.Cleanup(cancel)
	return ctx
}

// proxy is an intermediary that changes answers on their way, as net/http does.
func proxy(t *testing.T, node *Node, change func(http.Header)) (addr string) {
	t.Helper()
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		r.URL.Scheme, r.URL.Host = "http", node.Addr()
		response, err := transport.RoundTrip(r)
		if err != nil {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		defer response.Body.Close()
		maps.Copy(w.Header(), response.Header)
		if change != nil {
			change(w.Header())
		}
		w.WriteHeader(response.StatusCode)
		_, _ = io.Copy(w, response.Body)
	}))
	t.Cleanup(server.Close)
	return server.Listener.Addr().String()
}
