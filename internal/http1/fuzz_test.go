package http1

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log"
	"maps"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"os"
	"reflect"
	"sync"
	"testing"
	"time"
)

// script is a connection to a server that answers each request with the same
// bytes, and then closes.
type script struct {
	net.Conn // of which nothing is used
	answer   []byte
	body     int // how much comes behind the header of the request

	mu      sync.Mutex
	changed *sync.Cond
	sent    []byte
	closed  bool
}

func newScript(answer []byte, body int) *script {
	s := &script{answer: answer, body: body}
	s.changed = sync.NewCond(&s.mu)
	return s
}

func (s *script) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sent = append(s.sent, p...)
	s.changed.Broadcast()
	return len(p), nil
}

func (s *script) Read(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for !s.closed && !s.isAsked() {
		s.changed.Wait()
	}
	if s.closed {
		return 0, net.ErrClosed
	}
	if len(s.answer) == 0 {
		return 0, io.EOF
	}
	n := copy(p, s.answer)
	s.answer = s.answer[n:]
	return n, nil
}

// isAsked reports whether the whole request was sent.
func (s *script) isAsked() bool {
	end := bytes.Index(s.sent, []byte("\r\n\r\n"))
	return end >= 0 && len(s.sent) >= end+4+s.body
}

func (s *script) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	s.changed.Broadcast()
	return nil
}

func (s *script) written() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return string(s.sent)
}

func (s *script) SetDeadline(time.Time) error     { return nil }
func (s *script) SetReadDeadline(time.Time) error { return nil }

// heard is all that a client makes of an answer.
type heard struct {
	Failed     bool
	Early      []int
	Status     int
	Header     http.Header
	Length     int64
	Body       string
	BodyFailed bool
	Trailer    http.Header
}

func hear(client http.RoundTripper, r *http.Request) heard {
	var h heard
	trace := &httptrace.ClientTrace{Got1xxResponse: func(status int, _ textproto.MIMEHeader) error {
		h.Early = append(h.Early, status)
		return nil
	}}
	res, err := client.RoundTrip(r.WithContext(httptrace.WithClientTrace(r.Context(), trace)))
	if err != nil {
		return heard{Failed: true}
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	h.Status, h.Header, h.Length = res.StatusCode, maps.Clone(res.Header), res.ContentLength
	h.Body, h.BodyFailed = string(body), err != nil
	if err == nil {
		h.Trailer = maps.Clone(res.Trailer)
	}
	return h
}

type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// quietly keeps what Go's client says about such servers out of the output.
func quietly(f *testing.F) {
	log.SetOutput(io.Discard)
	f.Cleanup(func() { log.SetOutput(os.Stderr) })
}

// clients returns ours and Go's, each with the connection that it will use.
func clients(answer, content []byte) (ours, goes http.RoundTripper, ourConn, goConn *script) {
	ourConn, goConn = newScript(answer, len(content)), newScript(answer, len(content))
	client := &Client{Dial: func(context.Context, string) (net.Conn, error) { return ourConn, nil }}
	terms := never
	terms.Body = content
	return roundTrip(func(r *http.Request) (*http.Response, error) { return client.RoundTrip(r, terms) }),
		&http.Transport{
			DialContext:        func(context.Context, string, string) (net.Conn, error) { return goConn, nil },
			DisableCompression: true,
		}, ourConn, goConn
}

// upload gives a request a body as a server has it: nothing that Go's client knows.
func upload(r *http.Request, content []byte) *http.Request {
	if len(content) > 0 {
		r.Body, r.ContentLength = io.NopCloser(struct{ io.Reader }{bytes.NewReader(content)}), int64(len(content))
	}
	return r
}

// A server can tell us nothing that we take for something else than Go does.
func FuzzAnswer(f *testing.F) {
	quietly(f)
	for _, answer := range []string{
		ok, "", "\r\n", "HTTP/1.1 200\r\n\r\n", "HTTP/1.1 20 OK\r\n\r\n", "HTTP/2.0 200 OK\r\n\r\n", "HTTP/1.0 200 OK\r\n\r\nuntil the end",
		"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok!", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
		"HTTP/1.1 200 OK\nContent-Length: 2\n\nok", "HTTP/1.1 200 OK\r\nX: a\r\n b\r\nContent-Length: 2\r\n\r\nok", "HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\nok",
		"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nok", "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: Sum\r\n\r\n2;x=y\r\nok\r\n0\r\nSum: 1\r\nOther: 2\r\n\r\n",
		"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\n" + ok, "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\n\r\n",
		"HTTP/1.1 204 No Content\r\nContent-Length: 2\r\n\r\nok", "HTTP/1.1 304 Not Modified\r\n\r\n" + ok, "HTTP/1.1 099 Odd\r\n\r\n", "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nok",
		"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok" + ok, "HTTP/1.1 200 OK\r\nSet-Cookie: a=b\r\nset-cookie: c=d\r\nContent-Length:2\r\n\r\nok",
	} {
		f.Add([]byte(answer), false, []byte(nil))
		f.Add([]byte(answer), true, []byte(nil))
		f.Add([]byte(answer), false, []byte("a=b\r\n\r\n"))
	}
	f.Fuzz(func(t *testing.T, answer []byte, head bool, content []byte) {
		if bytes.Count(answer, newline) >= DefaultLimits.Lines {
			t.Skip("which Go's client takes")
		}
		ours, goes, ourConn, goConn := clients(answer, content)
		request := func() *http.Request {
			r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://node:14240/path", http.NoBody)
			if err != nil {
				t.Fatal(err)
			}
			switch {
			case head:
				r.Method = http.MethodHead
			case len(content) > 0:
				r.Method = http.MethodPost
			}
			return upload(r, content)
		}
		want, got := hear(goes, request()), hear(ours, request())
		_ = goConn.Close()
		switch {
		case want.Status == http.StatusSwitchingProtocols || !want.Failed && want.Status < http.StatusContinue:
			// What the client did not ask for, and no status.
			want = heard{Failed: true}
		case got.Failed:
			got = heard{Failed: true}
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("ours took it for\n%+v\nand Go's for\n%+v", got, want)
		}
		if ours, goes := ourConn.written(), goConn.written(); ours != goes {
			t.Errorf("sent %q, and Go's client %q", ours, goes)
		}
	})
}

// A client can have us send nothing else than Go would.
func FuzzRequest(f *testing.F) {
	quietly(f)
	f.Add("GET", "/path", "a=b", "X-Name", "value", "node", []byte(nil))
	f.Add("DELETE", "/a%2fb//../c", "", "Cookie", "a=b; c", "graph.example.com:443", []byte(nil))
	f.Add("GET\r\n", "/\r\nEvil: 1", "\n", "X\r\nEvil", "a\r\nEvil: b", "node\r\nEvil: c", []byte("a"))
	f.Add("GET / HTTP/1.1\r\nEvil", "/", "", "X", "a", "node", []byte(nil))
	f.Add("GET", "/", "", "X", "a\r\nEvil: b", "node", []byte(nil))
	f.Add("GET", "/", "", "X: a\r\nEvil", "b", "node", []byte(nil))
	f.Add("OPTIONS", "*", "a b", "Transfer-Encoding", "chunked", "", []byte(nil))
	f.Add("POST", "", "é", "Content-Length", "10", "[::1]:80", []byte("{}"))
	f.Add("", "/", "", "User-Agent", "", "bücher.example", []byte("GET / HTTP/1.1\r\n\r\n"))
	f.Add("PUT", "/", "", "Connection", "close", "node", bytes.Repeat([]byte("0123456789"), 2000))
	f.Fuzz(func(t *testing.T, method, path, query, name, value, host string, content []byte) {
		if method == http.MethodConnect {
			t.Skip("which is another client's")
		}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		ours, goes, ourConn, goConn := clients([]byte(ok), content)
		request := func() *http.Request {
			r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://node:14240/", http.NoBody)
			if err != nil {
				t.Fatal(err)
			}
			r.Method, r.URL.Path, r.URL.RawQuery, r.Host = method, path, query, host
			r.Header[name] = []string{value}
			return upload(r, content)
		}
		if _, err := prepare(request(), content); errors.Is(err, ErrTooLong) {
			t.Skip("which is another client's")
		}
		want, got := hear(goes, request()), hear(ours, request())
		_ = goConn.Close()
		if got.Failed != want.Failed {
			t.Errorf("ours failed: %t, and Go's: %t", got.Failed, want.Failed)
		}
		if ours, goes := ourConn.written(), goConn.written(); ours != goes {
			t.Errorf("sent %q, and Go's client %q", ours, goes)
		}
	})
}
