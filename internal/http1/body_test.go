package http1

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/http1/http1test"
)

// post is a request with a body, and its terms.
func (s *server) post(ctx context.Context, body string) (*http.Request, Terms) {
	r := s.request(ctx)
	r.Method = http.MethodPost
	terms := never
	terms.Body = []byte(body)
	return r, terms
}

func TestABodyIsSentWhole(t *testing.T) {
	s, c := startServer(t, func(conn net.Conn, r *http.Request, _ int) bool {
		content, err := io.ReadAll(r.Body)
		_, _ = fmt.Fprintf(conn, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(content), content)
		return err == nil && r.ContentLength == int64(len(content))
	}), newClient(t)
	for attempt := 1; ; attempt++ {
		before := s.accepted.Load()
		for _, length := range []int{0, 1, 1000, 4096, 16 << 10, 17 << 10, 64 << 10} {
			body := strings.Repeat("x", length)
			for range 3 {
				if content, err := read(c.RoundTrip(s.post(t.Context(), body))); content != body || err != nil {
					t.Fatalf("%d bytes: got %d, %v", length, len(content), err)
				}
			}
		}
		// On a busy machine whoever writes the longer ones may say so too late.
		if n := s.accepted.Load() - before; n <= 1 {
			break
		} else if attempt == 5 {
			t.Fatalf("%d connections", n)
		}
	}
}

// counting is a connection that counts what it is asked to write.
type counting struct {
	net.Conn
	writes *atomic.Int64
}

func (c counting) Write(p []byte) (int, error) {
	c.writes.Add(1)
	return c.Conn.Write(p)
}

func TestHeaderAndBodyAreWrittenInOneGo(t *testing.T) {
	for _, length := range []int{10, 10 << 10, 60 << 10} {
		var writes atomic.Int64
		s, c := startServer(t, func(conn net.Conn, r *http.Request, _ int) bool {
			_, _ = io.Copy(io.Discard, r.Body)
			_, _ = io.WriteString(conn, ok)
			return true
		}), newClient(t)
		dial := c.Dial
		c.Dial = func(ctx context.Context, address string) (net.Conn, error) {
			conn, err := dial(ctx, address)
			return counting{conn, &writes}, err
		}
		if content, err := read(c.RoundTrip(s.post(t.Context(), strings.Repeat("x", length)))); content != "ok" || err != nil {
			t.Fatal(content, err)
		}
		if n := writes.Load(); n != 1 {
			t.Errorf("%d bytes took %d writes", length, n)
		}
	}
}

// startRaw has a function serve each connection, from its first byte on.
func startRaw(t *testing.T, serve func(net.Conn)) string {
	t.Helper()
	return "http://" + http1test.Serve(t, serve)
}

// stuffed is a connection whose buffers are full after so many bytes: what comes then
// waits until the connection is closed.
type stuffed struct {
	net.Conn
	room   int
	closed chan struct{}
}

func (s *stuffed) Write(p []byte) (int, error) {
	n, err := s.Conn.Write(p[:min(len(p), s.room)])
	if s.room -= n; n < len(p) && err == nil {
		<-s.closed
		err = net.ErrClosed
	}
	return n, err
}

func (s *stuffed) Close() error {
	close(s.closed)
	return s.Conn.Close()
}

// A server may answer before it has read the body, and never read it.
func TestAnEarlyAnswerIsRead(t *testing.T) {
	const refusal = "HTTP/1.1 413 Too Large\r\nContent-Length: 2\r\n\r\nno"
	over := make(chan struct{})
	defer close(over)
	for name, after := range map[string]func(net.Conn){
		"and the rest is not":    func(net.Conn) { <-over },
		"and the end comes":      func(net.Conn) {},
		"and the end comes hard": func(conn net.Conn) { _ = conn.(*net.TCPConn).SetLinger(0) },
	} {
		t.Run(name, func(t *testing.T) {
			url := startRaw(t, func(conn net.Conn) {
				_, _ = conn.Read(make([]byte, 20))
				_, _ = io.WriteString(conn, refusal)
				after(conn)
			})
			c := newClient(t)
			dial := c.Dial
			c.Dial = func(ctx context.Context, address string) (net.Conn, error) {
				conn, err := dial(ctx, address)
				if name == "and the rest is not" && err == nil {
					conn = &stuffed{Conn: conn, room: 30 << 10, closed: make(chan struct{})}
				}
				return conn, err
			}
			r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, url, nil)
			if err != nil {
				t.Fatal(err)
			}
			terms := never
			terms.Body = make([]byte, 64<<10)
			began := time.Now()
			content, err := read(c.RoundTrip(r, terms))
			hard := name == "and the end comes hard" // the system may have lost the answer
			if (content != "no" || err != nil) && !hard {
				t.Errorf("%q, %v", content, err)
			}
			if waited := time.Since(began); waited > 10*time.Second {
				t.Errorf("it took %s", waited)
			}
			c.Close()
			eventually(t, "no connection is open", func() bool { return len(addressesOf(c)) == 0 })
		})
	}
}

func TestABodyIsRepeatedAsAWhole(t *testing.T) {
	for attempt := 1; ; attempt++ {
		n := threeTimes(t)
		if n == 3+2 {
			break
		}
		// On a busy machine whoever writes the body may say so too late, and its connection
		// is not used again.
		if n > 3+2 || attempt == 5 {
			t.Fatalf("%d requests were received of 3, the last 2 of which meet a connection that closes", n)
		}
	}
}

// threeTimes sends a body three times to a server that closes a connection which is used
// again, and returns how many requests it got.
func threeTimes(t *testing.T) int64 {
	t.Helper()
	s, c := startServer(t, nil), newClient(t)
	s.answer = func(conn net.Conn, r *http.Request, nth int) bool {
		content, _ := io.ReadAll(r.Body)
		if nth == 1 {
			return false
		}
		_, _ = fmt.Fprintf(conn, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(content), content)
		return true
	}
	body := bytes.Repeat([]byte("0123456789"), 5000)
	for range 3 {
		r, terms := s.post(t.Context(), string(body))
		terms.MayRepeat = always.MayRepeat
		if content, err := read(c.RoundTrip(r, terms)); content != string(body) || err != nil {
			t.Fatalf("%d bytes, %v", len(content), err)
		}
	}
	return s.requests.Load()
}
