package http1

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// server answers with bytes as they are, and counts its connections.
type server struct {
	t        *testing.T
	listener net.Listener
	answer   func(conn net.Conn, r *http.Request, nth int) (again bool)
	accepted atomic.Int64
	open     atomic.Int64
	requests atomic.Int64

	mu    sync.Mutex
	conns map[net.Conn]bool
}

// startServer starts a server. answer gets each request, and how many came before
// on the connection, and says whether to wait for another.
func startServer(t *testing.T, answer func(conn net.Conn, r *http.Request, nth int) (again bool)) *server {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &server{t: t, listener: listener, answer: answer, conns: make(map[net.Conn]bool)}
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			s.accepted.Add(1)
			s.open.Add(1)
			s.mu.Lock()
			s.conns[conn] = true
			s.mu.Unlock()
			serving.Go(func() { s.serve(conn) })
		}
	})
	t.Cleanup(func() {
		listener.Close()
		s.closeConnections()
		serving.Wait()
	})
	return s
}

func (s *server) serve(conn net.Conn) {
	defer func() {
		s.mu.Lock()
		delete(s.conns, conn)
		s.mu.Unlock()
		conn.Close()
		s.open.Add(-1)
	}()
	reader := bufio.NewReader(conn)
	for nth := 0; ; nth++ {
		r, err := http.ReadRequest(reader)
		if err != nil {
			return
		}
		s.requests.Add(1)
		if !s.answer(conn, r, nth) {
			return
		}
	}
}

func (s *server) closeConnections() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for conn := range s.conns {
		conn.Close()
	}
}

// says answers every request alike.
func says(answer string) func(net.Conn, *http.Request, int) bool {
	return func(conn net.Conn, _ *http.Request, _ int) bool {
		_, err := io.WriteString(conn, answer)
		return err == nil
	}
}

const ok = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"

// newClient returns a client, which is closed in the end.
func newClient(t *testing.T) *Client {
	t.Helper()
	c := &Client{MaxIdle: 100, Dial: func(ctx context.Context, address string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "tcp", address)
	}}
	t.Cleanup(c.Close)
	return c
}

var (
	always = Terms{MayRepeat: func(*http.Request) bool { return true }}
	never  = Terms{MayRepeat: func(*http.Request) bool { return false }}
)

func (s *server) request(ctx context.Context) *http.Request {
	s.t.Helper()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+s.listener.Addr().String()+"/path?query", http.NoBody)
	if err != nil {
		s.t.Fatal(err)
	}
	return r
}

// get asks and reads the whole answer.
func (s *server) get(c *Client) (string, error) {
	s.t.Helper()
	return read(c.RoundTrip(s.request(s.t.Context()), never))
}

// occupy has a client use so many connections at a time, and leaves them idle.
func (s *server) occupy(c *Client, connections int) {
	s.t.Helper()
	var answers []*http.Response
	for range connections {
		res, err := c.RoundTrip(s.request(s.t.Context()), never)
		if err != nil {
			s.t.Fatal(err)
		}
		answers = append(answers, res)
	}
	for _, res := range answers {
		_, _ = read(res, nil)
	}
}

func read(res *http.Response, err error) (string, error) {
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	content, err := io.ReadAll(res.Body)
	return string(content), err
}

// eventually waits until something is so.
func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !is(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not so after 20s: %s", what)
		}
	}
}
