package http1

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func TestOneConnectionServesOneRequestAfterAnother(t *testing.T) {
	for name, answer := range map[string]string{
		"of a length":   ok,
		"in chunks":     "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\no\r\n1\r\nk\r\n0\r\n\r\n",
		"with trailers": "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: Sum\r\n\r\n2\r\nok\r\n0\r\nSum: 1\r\n\r\n",
		"after others":  "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 102 Processing\r\n\r\n" + ok,
		"of HTTP/1.0":   "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nok",
	} {
		t.Run(name, func(t *testing.T) {
			s, c := startServer(t, says(answer)), newClient(t)
			for range 5 {
				if content, err := s.get(c); content != "ok" || err != nil {
					t.Fatalf("%q, %v", content, err)
				}
			}
			if n := s.accepted.Load(); n != 1 {
				t.Errorf("%d connections", n)
			}
		})
	}
}

func TestAnswersWithoutABodyFreeTheirConnection(t *testing.T) {
	for name, answer := range map[string]string{
		"204":     "HTTP/1.1 204 No Content\r\n\r\n",
		"304":     "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n",
		"nothing": "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			s, c := startServer(t, says(answer)), newClient(t)
			for range 3 {
				res, err := c.RoundTrip(s.request(t.Context()), never)
				if err != nil {
					t.Fatal(err)
				}
				res.Body.Close() // unread
			}
			if n := s.accepted.Load(); n != 1 {
				t.Errorf("%d connections", n)
			}
		})
	}
	t.Run("HEAD", func(t *testing.T) {
		s, c := startServer(t, says("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n")), newClient(t)
		for range 3 {
			r := s.request(t.Context())
			r.Method = http.MethodHead
			res, err := c.RoundTrip(r, never)
			if err != nil || res.ContentLength != 1000 {
				t.Fatal(res, err)
			}
			res.Body.Close()
		}
		if n := s.accepted.Load(); n != 1 {
			t.Errorf("%d connections", n)
		}
	})
}

// What one client was told must never reach another.
func TestAConnectionThatIsNotAsItShouldBeServesNobodyElse(t *testing.T) {
	whole := func(res *http.Response) { _, _ = io.Copy(io.Discard, res.Body) }
	for _, test := range []struct {
		name, answer string
		use          func(*http.Response)
	}{
		{"more than was announced", ok + "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nstolen", whole},
		{"more than nothing", "HTTP/1.1 204 No Content\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nstolen", whole},
		{"an unread body", ok, func(*http.Response) {}},
		{"a body read in part", ok, func(res *http.Response) { _, _ = res.Body.Read(make([]byte, 1)) }},
		{"an end that was announced", "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok", whole},
		{"HTTP/1.0", "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok", whole},
		{"broken chunks", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nokxx", whole},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := newClient(t)
			s := startServer(t, says(test.answer))
			for range 3 {
				res, err := c.RoundTrip(s.request(t.Context()), never)
				if err != nil {
					t.Fatal(err)
				}
				test.use(res)
				res.Body.Close()
			}
			if n := s.accepted.Load(); n != 3 {
				t.Errorf("%d connections for 3 requests", n)
			}
			eventually(t, "no connection is open", func() bool { return s.open.Load() == 0 })
		})
	}
}

// A byte that comes later than the answer, when the connection is idle, is found
// before the next request is sent.
func TestWhatAnIdleConnectionSaysIsNobodysAnswer(t *testing.T) {
	c := newClient(t)
	var first atomic.Pointer[net.Conn]
	s := startServer(t, func(conn net.Conn, _ *http.Request, _ int) bool {
		first.CompareAndSwap(nil, &conn)
		_, _ = io.WriteString(conn, ok)
		return true
	})
	if _, err := s.get(c); err != nil {
		t.Fatal(err)
	}
	_, _ = io.WriteString(*first.Load(), "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nstolen")
	eventually(t, "the connection has something to say", func() bool {
		address := s.listener.Addr().String()
		p := c.poolOf(address)
		p.mu.Lock()
		defer p.mu.Unlock()
		return !p.of[address].idle[0].isQuiet()
	})
	if content, err := s.get(c); content != "ok" || err != nil {
		t.Errorf("%q, %v", content, err)
	}
	if n := s.accepted.Load(); n != 2 {
		t.Errorf("%d connections", n)
	}
}

// Idle connections that the server has closed cost no request, whether it may be
// repeated or not.
func TestClosedIdleConnectionsCostNothing(t *testing.T) {
	s, c := startServer(t, says(ok)), newClient(t)
	for range 20 {
		if content, err := s.get(c); content != "ok" || err != nil {
			t.Fatalf("%q, %v", content, err)
		}
		s.closeConnections()
		eventually(t, "the connections are closed", func() bool { return s.open.Load() == 0 })
	}
	if n := s.requests.Load(); n != 20 {
		t.Errorf("%d requests", n)
	}
}

// A server that said more than it was asked may do so again, when the connection is
// another request's: it gets a connection for each.
func TestAServerThatTalksGetsAConnectionForEachRequest(t *testing.T) {
	for name, say := range map[string]func(net.Conn){
		"with its answer": func(conn net.Conn) { _, _ = io.WriteString(conn, ok+"H") },
		"later": func(conn net.Conn) {
			_, _ = io.WriteString(conn, ok)
			_, _ = io.WriteString(conn, "H")
		},
	} {
		t.Run(name, func(t *testing.T) {
			first := make(chan struct{}, 1)
			s := startServer(t, func(conn net.Conn, _ *http.Request, _ int) bool {
				select {
				case <-first:
					say(conn)
				default:
					_, _ = io.WriteString(conn, ok)
				}
				return true
			})
			c := newClient(t)
			c.Suspects = new(Suspects)
			again := func(more bool) { // whether the server says more than it is asked
				select {
				case <-first:
				default:
				}
				if more {
					first <- struct{}{}
				}
			}
			eventually(t, "the server is suspected", func() bool {
				again(true) // on a busy machine it may take too long for it
				defer again(false)
				_, _ = s.get(c)
				return c.Suspects.Has(s.listener.Addr().String())
			})
			before := s.accepted.Load()
			s.occupy(c, 5)
			s.occupy(c, 5)
			if n := s.accepted.Load() - before; n != 10 {
				t.Errorf("%d connections for 10 requests", n)
			}
			eventually(t, "no connection is open", func() bool { return s.open.Load() == 0 })
			c.Suspects.until[s.listener.Addr().String()] = time.Now()
			s.occupy(c, 1)
			s.occupy(c, 1)
			if n := s.accepted.Load() - before; n != 11 {
				t.Errorf("%d connections later", n-10)
			}
		})
	}
}

func isUnanswered(err error) bool {
	var unanswered *UnansweredError
	return errors.As(err, &unanswered) && unanswered.Sent
}

// closesSecond reads the second request of a connection, and closes.
func closesSecond(conn net.Conn, _ *http.Request, nth int) bool {
	if nth == 1 {
		return false
	}
	_, _ = io.WriteString(conn, ok)
	return true
}

func TestARequestThatMayBeRepeatedIsRepeatedOnce(t *testing.T) {
	s, c := startServer(t, closesSecond), newClient(t)
	for range 4 {
		if content, err := read(c.RoundTrip(s.request(t.Context()), always)); content != "ok" || err != nil {
			t.Fatalf("%q, %v", content, err)
		}
	}
	if n := s.requests.Load(); n != 4+3 {
		t.Errorf("%d requests were received of 4, the last 3 of which meet a connection that closes", n)
	}
	// On a connection that is new, nothing was lost by bad luck.
	s = startServer(t, func(net.Conn, *http.Request, int) bool { return false })
	if _, err := c.RoundTrip(s.request(t.Context()), always); !isUnanswered(err) {
		t.Errorf("error %v", err)
	}
	if n := s.requests.Load(); n != 1 {
		t.Errorf("%d requests", n)
	}
}

func TestARequestThatMustNotBeRepeatedIsNot(t *testing.T) {
	s, c := startServer(t, closesSecond), newClient(t)
	// Several idle connections, each of which Go's client would have tried.
	s.occupy(c, 5)
	if _, err := c.RoundTrip(s.request(t.Context()), never); !isUnanswered(err) {
		t.Errorf("error %v", err)
	}
	if n := s.requests.Load(); n != 6 {
		t.Errorf("%d requests were received", n)
	}
}

// Once a byte of the answer was there, even what may be repeated is not.
func TestABrokenAnswerIsNotRepeated(t *testing.T) {
	for _, part := range []string{"H", "HTTP/1.1 200 OK\r\nContent-Le", "HTTP/1.1 103 Early Hints\r\n\r\n"} {
		s := startServer(t, func(conn net.Conn, _ *http.Request, nth int) bool {
			if nth == 0 {
				_, _ = io.WriteString(conn, ok)
				return true
			}
			_, _ = io.WriteString(conn, part)
			return false
		})
		c := newClient(t)
		if _, err := s.get(c); err != nil {
			t.Fatal(err)
		}
		if _, err := c.RoundTrip(s.request(t.Context()), always); err == nil || isUnanswered(err) {
			t.Errorf("%q: error %v", part, err)
		}
		if n := s.requests.Load(); n != 2 {
			t.Errorf("%q: %d requests", part, n)
		}
	}
}

func TestARequestThatIsGivenUpIsGivenUpAtTheServer(t *testing.T) {
	for name, before := range map[string]string{
		"before the header": "",
		"in the header":     "HTTP/1.1 200 OK\r\n",
		"in the body":       "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nsome",
	} {
		t.Run(name, func(t *testing.T) {
			waiting := make(chan struct{})
			s := startServer(t, func(conn net.Conn, _ *http.Request, _ int) bool {
				_, _ = io.WriteString(conn, before)
				close(waiting)
				_, _ = conn.Read(make([]byte, 1)) // until it is closed
				return false
			})
			c := newClient(t)
			ctx, cancel := context.WithCancel(t.Context())
			go func() {
				<-waiting
				cancel()
			}()
			_, err := read(c.RoundTrip(s.request(ctx), always))
			if !errors.Is(err, context.Canceled) {
				t.Errorf("error %v", err)
			}
			eventually(t, "the server's connection is closed", func() bool { return s.open.Load() == 0 })
			if n := s.requests.Load(); n != 1 {
				t.Errorf("%d requests", n)
			}
		})
	}
}

// Who has gone before the request goes out must not have it carried out.
func TestARequestThatIsGivenUpBeforeIsNotSent(t *testing.T) {
	s, c := startServer(t, says(ok)), newClient(t)
	if _, err := s.get(c); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := c.RoundTrip(s.request(ctx), always); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	if _, err := s.get(c); err != nil {
		t.Fatal(err)
	}
	if requests, connections := s.requests.Load(), s.accepted.Load(); requests != 2 || connections != 1 {
		t.Errorf("%d requests, %d connections", requests, connections)
	}
}

// A connection whose request is over has nothing more to do with it.
func TestGivingUpAfterTheEndCostsNoConnection(t *testing.T) {
	s, c := startServer(t, says(ok)), newClient(t)
	for range 100 {
		ctx, cancel := context.WithCancel(t.Context())
		if content, err := read(c.RoundTrip(s.request(ctx), never)); content != "ok" || err != nil {
			t.Fatalf("%q, %v", content, err)
		}
		cancel()
	}
	if n := s.accepted.Load(); n != 1 {
		t.Errorf("%d connections", n)
	}
}

// mute is a connection that lives, but takes nothing any more once it is spent.
type mute struct {
	*net.TCPConn
	spent *atomic.Bool
}

func (m mute) Write(p []byte) (int, error) {
	if m.spent.Load() {
		return 0, io.ErrClosedPipe
	}
	return m.TCPConn.Write(p)
}

func TestWhatNeverLeftIsSentOnANewConnectionWhateverItIs(t *testing.T) {
	s, c := startServer(t, says(ok)), newClient(t)
	spent := new(atomic.Bool)
	c.Dial = func(ctx context.Context, address string) (net.Conn, error) {
		conn, err := new(net.Dialer).DialContext(ctx, "tcp", address)
		if err != nil {
			return nil, err
		}
		m := mute{conn.(*net.TCPConn), spent}
		spent = new(atomic.Bool)
		return m, nil
	}
	first := spent
	if _, err := s.get(c); err != nil {
		t.Fatal(err)
	}
	first.Store(true)
	if content, err := s.get(c); content != "ok" || err != nil {
		t.Errorf("%q, %v", content, err)
	}
	if n := s.accepted.Load(); n != 2 {
		t.Errorf("%d connections", n)
	}
}

func TestAnAddressWithoutAPortIsDialledAtPort80(t *testing.T) {
	var dialled []string
	c := &Client{Dial: func(_ context.Context, address string) (net.Conn, error) {
		dialled = append(dialled, address)
		return nil, io.EOF
	}}
	for _, host := range []string{"node", "node:14240", "[::1]"} {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+host+"/", http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = c.RoundTrip(r, always)
	}
	if want := []string{"node:80", "node:14240", "[::1]:80"}; !slices.Equal(dialled, want) {
		t.Errorf("dialled %q, want %q", dialled, want)
	}
}

func TestAnUnansweredRequestSaysWhetherItLeftAndIfItTookTooLong(t *testing.T) {
	c := newClient(t)
	s := startServer(t, says(ok))
	for _, test := range []struct {
		name    string
		conn    net.Conn
		sent    bool
		timeout bool
	}{
		{"writing fails", broken{write: io.ErrClosedPipe}, false, false},
		{"writing takes too long", broken{write: os.ErrDeadlineExceeded}, false, true},
		{"reading fails", broken{read: io.EOF}, true, false},
		{"reading takes too long", broken{read: os.ErrDeadlineExceeded}, true, true},
	} {
		c.Dial = func(context.Context, string) (net.Conn, error) { return test.conn, nil }
		_, err := c.RoundTrip(s.request(t.Context()), always)
		var unanswered *UnansweredError
		if !errors.As(err, &unanswered) || unanswered.Sent != test.sent || unanswered.Timeout() != test.timeout {
			t.Errorf("%s: %#v", test.name, err)
		}
	}
}

// broken is a connection that fails.
type broken struct {
	net.Conn
	write, read error
}

func (b broken) Write(p []byte) (int, error) {
	if b.write != nil {
		return 0, b.write
	}
	return len(p), nil
}

func (b broken) Read([]byte) (int, error) { return 0, b.read }
func (broken) Close() error               { return nil }

func TestClosingABodyEndsWhoReadsIt(t *testing.T) {
	s := startServer(t, func(conn net.Conn, _ *http.Request, _ int) bool {
		_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nsome")
		_, _ = conn.Read(make([]byte, 1))
		return false
	})
	res, err := newClient(t).RoundTrip(s.request(t.Context()), never)
	if err != nil {
		t.Fatal(err)
	}
	read := make(chan error)
	go func() {
		_, err := io.ReadAll(res.Body)
		read <- err
	}()
	if err := res.Body.Close(); err != nil {
		t.Error(err)
	}
	if err := <-read; err == nil {
		t.Error("the body is whole")
	}
	if _, err := res.Body.Read(make([]byte, 1)); !errors.Is(err, http.ErrBodyReadAfterClose) {
		t.Errorf("error %v", err)
	}
}

func TestADialThatIsGivenUpSaysSo(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	c := &Client{Dial: func(ctx context.Context, _ string) (net.Conn, error) {
		cancel()
		<-ctx.Done()
		return nil, errors.New("dial failed")
	}}
	t.Cleanup(c.Close)
	s := startServer(t, says(ok))
	if _, err := c.RoundTrip(s.request(ctx), always); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
	refused := errors.New("refused")
	c = &Client{Dial: func(context.Context, string) (net.Conn, error) { return nil, refused }}
	if _, err := c.RoundTrip(s.request(t.Context()), always); !errors.Is(err, refused) {
		t.Errorf("error %v", err)
	}
}

func TestIdleConnectionsAreClosed(t *testing.T) {
	t.Run("after their time", func(t *testing.T) {
		s, c := startServer(t, says(ok)), newClient(t)
		c.IdleTimeout = 50 * time.Millisecond
		for range 2 {
			s.occupy(c, 3)
			eventually(t, "none is open", func() bool { return s.open.Load() == 0 })
		}
		eventually(t, "no address of nothing is kept", func() bool { return len(addressesOf(c)) == 0 })
	})
	t.Run("each after its own", func(t *testing.T) {
		s, c := startServer(t, says(ok)), newClient(t)
		c.IdleTimeout = 100 * time.Millisecond
		s.occupy(c, 2)
		eventually(t, "the one that is not used is closed", func() bool {
			s.occupy(c, 1)
			return s.open.Load() == 1
		})
		eventually(t, "none is open", func() bool { return s.open.Load() == 0 })
	})
	t.Run("but not those that are used", func(t *testing.T) {
		s, c := startServer(t, says(ok)), newClient(t)
		c.IdleTimeout = 5 * time.Second
		s.occupy(c, 2)
		for end := time.Now().Add(200 * time.Millisecond); time.Now().Before(end); {
			s.occupy(c, 1)
		}
		if n := s.accepted.Load(); n != 2 {
			t.Errorf("%d connections", n)
		}
	})
	t.Run("beyond their number", func(t *testing.T) {
		s, c := startServer(t, says(ok)), newClient(t)
		c.MaxIdle = 2
		s.occupy(c, 5)
		eventually(t, "two are open", func() bool { return s.open.Load() == 2 })
	})
	t.Run("with the client, and what is in use then afterwards", func(t *testing.T) {
		s, c := startServer(t, says(ok)), newClient(t)
		s.occupy(c, 3)
		res, err := c.RoundTrip(s.request(t.Context()), never)
		if err != nil {
			t.Fatal(err)
		}
		c.Close()
		eventually(t, "one is open", func() bool { return s.open.Load() == 1 })
		if content, err := read(res, nil); content != "ok" || err != nil {
			t.Errorf("%q, %v", content, err)
		}
		eventually(t, "none is open", func() bool { return s.open.Load() == 0 })
		if content, err := s.get(c); content != "ok" || err != nil {
			t.Errorf("a closed client: %q, %v", content, err)
		}
	})
}

func TestALongHeaderIsRefused(t *testing.T) {
	s := startServer(t, func(conn net.Conn, r *http.Request, _ int) bool {
		_, _ = fmt.Fprintf(conn, "HTTP/1.1 200 OK\r\nContent-Length: 20000\r\nX-Long: %s\r\n\r\n%s",
			strings.Repeat("x", len(r.Header.Get("X-Want"))*100), strings.Repeat("y", 20000))
		return true
	})
	c := newClient(t)
	c.Limits.Bytes = 5000
	for want, fails := range map[int]bool{10: false, 45: false, 50: true, 500: true} {
		r := s.request(t.Context())
		r.Header.Set("X-Want", strings.Repeat("x", want))
		content, err := read(c.RoundTrip(r, always))
		if fails && (err == nil || !strings.Contains(err.Error(), "5000 bytes")) || !fails && (err != nil || len(content) != 20000) {
			t.Errorf("%d bytes: body of %d, error %v", want*100, len(content), err)
		}
	}
}

func TestWhatCannotBeAskedIsAnError(t *testing.T) {
	s, c := startServer(t, says(ok)), newClient(t)
	for name, change := range map[string]func(*http.Request){
		"a method of two words":   func(r *http.Request) { r.Method = "GET /evil" },
		"a field of two lines":    func(r *http.Request) { r.Header["X"] = []string{"a\r\nEvil: b"} },
		"a name of two words":     func(r *http.Request) { r.Header["X: evil\r\nY"] = []string{"a"} },
		"a control in the target": func(r *http.Request) { r.URL.Opaque = "/a\nb" },
	} {
		r := s.request(t.Context())
		change(r)
		_, err := c.RoundTrip(r, always)
		if err == nil || isUnanswered(err) {
			t.Errorf("%s was sent: %v", name, err)
		}
	}
	if n := s.requests.Load(); n != 0 {
		t.Errorf("%d requests arrived", n)
	}
	// Neither is a reason to part with a connection.
	if _, err := s.get(c); err != nil {
		t.Fatal(err)
	}
	before := s.accepted.Load()
	r := s.request(t.Context())
	r.Header.Set("X-Long", strings.Repeat("x", 20<<10))
	if _, err := c.RoundTrip(r, always); !errors.Is(err, ErrTooLong) {
		t.Errorf("error %v", err)
	}
	r = s.request(t.Context())
	r.Header["X"] = []string{"a\nb"}
	_, _ = c.RoundTrip(r, always)
	if _, err := s.get(c); err != nil {
		t.Fatal(err)
	}
	if requests, connections := s.requests.Load(), s.accepted.Load()-before; requests != 2 || connections != 0 {
		t.Errorf("%d requests, %d more connections", requests, connections)
	}
	s = startServer(t, says("HTTP/1.1 101 Switching Protocols\r\nUpgrade: other\r\nConnection: Upgrade\r\n\r\n"))
	if _, err := s.get(c); err == nil || !strings.Contains(err.Error(), "changes protocols") {
		t.Errorf("error %v", err)
	}
	s = startServer(t, says("HTTP/1.1 099 Odd\r\nContent-Length: 0\r\n\r\n"))
	if _, err := s.get(c); err == nil || !strings.Contains(err.Error(), "status 99") {
		t.Errorf("error %v", err)
	}
}

// Everybody gets the answer to the own question, however many ask, give up and
// leave answers unread.
func TestEverybodyGetsTheOwnAnswer(t *testing.T) {
	s := startServer(t, func(conn net.Conn, r *http.Request, nth int) bool {
		name := r.URL.Query().Get("name")
		switch {
		case nth%7 == 6:
			return false
		case nth%3 == 2:
			_, _ = fmt.Fprintf(conn, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n", len(name), name)
		default:
			_, _ = fmt.Fprintf(conn, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(name), name)
		}
		return true
	})
	before := runtime.NumGoroutine()
	c := newClient(t)
	var all sync.WaitGroup
	var whole atomic.Int64
	for client := range 20 {
		all.Go(func() {
			for i := range 200 {
				name := fmt.Sprintf("client-%d-request-%d", client, i)
				ctx, cancel := context.WithCancel(t.Context())
				r := s.request(ctx)
				r.URL.RawQuery = "name=" + name
				if i%11 == 10 {
					go cancel()
				}
				res, err := c.RoundTrip(r, always)
				if err == nil && i%5 == 4 {
					res.Body.Close()
					res, err = nil, errors.New("left unread")
				}
				if content, err := read(res, err); err == nil {
					whole.Add(1)
					if content != name {
						t.Errorf("%s was told %q", name, content)
					}
				}
				cancel()
			}
		})
	}
	all.Wait()
	if whole.Load() < 20*200/2 {
		t.Errorf("only %d answers were whole", whole.Load())
	}
	c.Close()
	eventually(t, "no connection is open", func() bool { return s.open.Load() == 0 })
	eventually(t, "no goroutine is left", func() bool { return runtime.NumGoroutine() <= before })
}
