package tigergraph

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/iotest"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/attempt"
	"github.com/caddy-tigergraph/caddy-tigergraph/internal/http1"
)

// liveRequest is one of a client's.
func liveRequest(t testing.TB, ctx context.Context, method, url string, body io.Reader, length int64) *http.Request {
	t.Helper()
	ctx = context.WithValue(ctx, caddyhttp.VarsCtxKey, map[string]any{caddyhttp.ClientIPVarKey: "192.0.2.1"})
	ctx = context.WithValue(ctx, caddy.ReplacerCtxKey, caddy.NewReplacer())
	r, err := http.NewRequestWithContext(ctx, method, url, body)
	if err != nil {
		t.Fatal(err)
	}
	r.ContentLength = length
	return r
}

// gone is the address of a node that is not there: nobody listens at a port of the
// system's own.
const gone = "http://127.0.0.1:1"

// Whose doing the end of a request was is told on both ways.
func TestEachAttemptIsObserved(t *testing.T) {
	saying := func(answer string) string {
		return "http://" + serveRaw(t, func(conn net.Conn) {
			if r, err := http.ReadRequest(bufio.NewReader(conn)); err == nil {
				_, _ = io.Copy(io.Discard, r.Body)
			}
			_, _ = io.WriteString(conn, answer)
		})
	}
	fails := func(before int) io.Reader {
		return io.MultiReader(strings.NewReader(strings.Repeat("x", before)), iotest.ErrReader(errors.New("cut off")))
	}
	ok, nothing := saying("HTTP/1.1 201 Created\r\nX-Is: there\r\nContent-Length: 0\r\n\r\n"), gone
	silent := saying("")
	for _, way := range []struct {
		name string
		body func(length int) (io.Reader, int64)
	}{
		{"ours", func(length int) (io.Reader, int64) {
			return strings.NewReader(strings.Repeat("x", length)), int64(length)
		}},
		{"Go's", func(length int) (io.Reader, int64) { return strings.NewReader(strings.Repeat("x", length)), -1 }},
	} {
		full, length := way.body(10)
		cut := int64(20)
		if length < 0 {
			cut = -1
		}
		left, leave := context.WithCancel(t.Context())
		leave()
		for _, test := range []struct {
			name, url string
			ctx       context.Context
			body      io.Reader
			length    int64
			field     string
			outcome   attempt.Outcome
		}{
			{"an answer", ok, t.Context(), full, length, "", attempt.Answered},
			{"nobody there", nothing, t.Context(), strings.NewReader("0123456789"), length, "", attempt.NeverLeft},
			{"no answer", silent, t.Context(), strings.NewReader("0123456789"), length, "", attempt.Broke},
			{"no HTTP", saying("what\r\n\r\n"), t.Context(), strings.NewReader("0123456789"), length, "", attempt.Garbled},
			{"too many lines", saying("HTTP/1.1 200 OK\r\n" + strings.Repeat("a: b\r\n", 1000) + "\r\n"), t.Context(), strings.NewReader("0123456789"), length, "", attempt.Garbled},
			{"too many bytes", saying("HTTP/1.1 200 OK\r\nA:" + strings.Repeat(" ", 256<<10) + "\r\n\r\n"), t.Context(), strings.NewReader("0123456789"), length, "", attempt.Garbled},
			{"a flood of 103", saying(strings.Repeat("HTTP/1.1 103 Early Hints\r\n\r\n", 2000)), t.Context(), strings.NewReader("0123456789"), length, "", attempt.Garbled},
			{"a body that is cut off", ok, t.Context(), fails(10), cut, "", attempt.ClientFault},
			{"a body that is cut off of a node that is not there", nothing, t.Context(), fails(10), cut, "", attempt.ClientFault},
			{"a header that cannot be sent", ok, t.Context(), strings.NewReader("0123456789"), length, "a\nb", attempt.ClientFault},
			{"nobody who waits", ok, left, strings.NewReader("0123456789"), length, "", attempt.ClientGone},
		} {
			t.Run(way.name+", "+test.name, func(t *testing.T) {
				if way.name == "Go's" && strings.HasSuffix(test.name, "not there") {
					t.Skip("the connection is what comes first")
				}
				transport := newTransport(t, `{}`)
				var seen []attempt.Attempt
				transport.observe = func(_ *http.Request, a attempt.Attempt) { seen = append(seen, a) }
				r := liveRequest(t, test.ctx, http.MethodPost, test.url, test.body, test.length)
				if test.field != "" {
					r.Header["X-Field"] = []string{test.field}
				}
				res, err := transport.RoundTrip(r)
				if err == nil {
					res.Body.Close()
				}
				if len(seen) != 1 {
					t.Fatalf("%d attempts", len(seen))
				}
				a := seen[0]
				if a.Outcome != test.outcome || a.Probe || "http://"+a.Node != test.url || a.Started.IsZero() || !errors.Is(err, a.Err) {
					t.Errorf("%+v, error %v", a, err)
				}
				if a.Outcome == attempt.Answered && (a.Status != http.StatusCreated || a.Header.Get("X-Is") != "there") {
					t.Errorf("%+v", a)
				}
				var client *http1.ClientBodyError
				var known caddyhttp.HandlerError
				if cut := strings.HasPrefix(test.name, "a body"); errors.As(err, &client) != cut || cut && (!errors.As(err, &known) || known.StatusCode != http.StatusBadRequest) {
					t.Errorf("error %v of status %d", err, known.StatusCode)
				}
			})
		}
	}
}

// A probe's answer has closer limits, on both ways.
func TestAProbesAnswerIsBoundedMore(t *testing.T) {
	node := "http://" + serveRaw(t, func(conn net.Conn) {
		_, _ = conn.Read(make([]byte, 10_000))
		_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\n"+strings.Repeat("A: b\r\n", 110)+"\r\n")
	})
	for name, settings := range map[string]string{"ours": `{}`, "Go's": `{"read_timeout": "1h"}`} {
		transport := newTransport(t, settings)
		ask := func(r *http.Request) error {
			res, err := transport.RoundTrip(r)
			if err == nil {
				res.Body.Close()
			}
			return err
		}
		probe, err := http.NewRequestWithContext(t.Context(), http.MethodGet, node, nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := ask(probe); err == nil || !strings.Contains(err.Error(), "exceeded 100 lines") {
			t.Errorf("%s: error %v", name, err)
		}
		if err := ask(liveRequest(t, t.Context(), http.MethodGet, node, nil, 0)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestTheLimitOfAnAnswersHeaderCanBeSet(t *testing.T) {
	node := "http://" + serveRaw(t, func(conn net.Conn) {
		_, _ = conn.Read(make([]byte, 10_000))
		_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 0\r\nA: "+strings.Repeat("b", 300<<10)+"\r\n\r\n")
	})
	for settings, fits := range map[string]bool{`{}`: false, `{"max_response_header_size": 400000}`: true} {
		transport := newTransport(t, settings)
		for _, body := range []int64{0, -1} {
			var content io.Reader
			if body < 0 {
				content = strings.NewReader("x")
			}
			res, err := transport.RoundTrip(liveRequest(t, t.Context(), http.MethodPost, node, content, body))
			if err == nil {
				res.Body.Close()
			}
			if fits != (err == nil) {
				t.Errorf("%s: %v", settings, err)
			}
		}
	}
}

// What was read of a body before a node could not be reached goes to the next.
func TestABodyThatWasReadIsKeptForTheNextNode(t *testing.T) {
	var got string
	var once sync.WaitGroup
	once.Add(1)
	node := "http://" + serveRaw(t, func(conn net.Conn) {
		request := make([]byte, 10_000)
		n, _ := conn.Read(request)
		got = string(request[:n])
		once.Done()
		_, _ = io.WriteString(conn, "HTTP/1.1 204 No Content\r\n\r\n")
	})
	transport := newTransport(t, `{}`)
	r := liveRequest(t, t.Context(), http.MethodPost, gone, nil, 7)
	theClients := io.NopCloser(strings.NewReader("content"))
	r.Body = &struct{ io.ReadCloser }{theClients}
	_, err := transport.RoundTrip(r.WithContext(r.Context()))
	if _, is := err.(reverseproxy.DialError); !is { //nolint:errorlint // as Caddy does
		t.Fatalf("%T: %v", err, err)
	}
	next := liveRequest(t, t.Context(), http.MethodPost, node, nil, 7)
	r.URL = next.URL
	// Where another proxy has that, it comes in another wrapping.
	r.Body = &struct{ io.ReadCloser }{theClients}
	res, err := transport.RoundTrip(r.WithContext(r.Context()))
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	once.Wait()
	if !strings.HasSuffix(got, "\r\n\r\ncontent") {
		t.Errorf("the node was sent %q", got)
	}
}

// Go's client may dial on behind a request that was served otherwise. What it reads
// then must be nobody's who still writes: Go ends a process that does both.
func TestADialSharesNoVariablesWithItsRequest(t *testing.T) {
	node := "http://" + serveRaw(t, func(conn net.Conn) {
		if r, err := http.ReadRequest(bufio.NewReader(conn)); err == nil {
			_, _ = io.Copy(io.Discard, r.Body)
		}
		_, _ = io.WriteString(conn, "HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")
	})
	for way, length := range map[string]int64{"ours": 4, "Go's": -1} {
		transport := newTransport(t, `{}`)
		var ctx context.Context
		note := func(its context.Context, network, address string) (net.Conn, error) {
			ctx = its
			return new(net.Dialer).DialContext(its, network, address)
		}
		transport.Transport.DialContext = note
		r := liveRequest(t, t.Context(), http.MethodPost, node, strings.NewReader("body"), length)
		before := len(r.Context().Value(caddyhttp.VarsCtxKey).(map[string]any))
		res, err := transport.RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if after := len(r.Context().Value(caddyhttp.VarsCtxKey).(map[string]any)); after != before {
			t.Errorf("the way that is %s writes to the variables", way)
		}
		if way == "ours" { // whose dials are given none
			continue
		}
		caddyhttp.SetVar(r.Context(), "later", true)
		if caddyhttp.GetVar(ctx, "later") != nil {
			t.Error("a dial reads what its request writes")
		}
		if client, _ := caddyhttp.GetVar(ctx, caddyhttp.ClientIPVarKey).(string); client != "192.0.2.1" {
			t.Errorf("a dial does not know its client: %q", client)
		}
	}
}

// startTalker starts a node that begins to say more than it is asked with its answer.
func startTalker(t *testing.T) string {
	t.Helper()
	var asked atomic.Int64
	return "http://" + serveRaw(t, func(conn net.Conn) {
		reader := bufio.NewReader(conn)
		const surplus = "HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nstolen"
		for {
			r, err := http.ReadRequest(reader)
			if err != nil {
				return
			}
			_, _ = io.Copy(io.Discard, r.Body)
			id := r.URL.RawQuery
			answer := fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(id), id)
			switch asked.Add(1) % 3 {
			case 0:
				_, _ = io.WriteString(conn, answer+surplus)
			case 1:
				_, _ = io.WriteString(conn, answer+surplus[:10])
				_, _ = io.WriteString(conn, surplus[10:])
			default:
				_, _ = io.WriteString(conn, answer)
			}
		}
	})
}

// No client is told what another one asked, or what nobody did.
func TestNobodyIsToldWhatNobodyAsked(t *testing.T) {
	for way, length := range map[string]int64{"ours": 4, "Go's": -1} {
		for _, method := range []string{http.MethodGet, http.MethodPost} {
			t.Run(method+" on the way that is "+way, func(t *testing.T) {
				node := startTalker(t)
				transport := newTransport(t, `{}`)
				if way != "ours" {
					transport.sender.Own = nil
				}
				var clients sync.WaitGroup
				var good, strange atomic.Int64
				for client := range 32 {
					clients.Go(func() {
						for i := range 60 {
							id := fmt.Sprintf("%d-%d", client, i)
							r := liveRequest(t, t.Context(), method, node+"/restpp/version?"+id, nil, 0)
							if method == http.MethodPost {
								r.Body, r.ContentLength = io.NopCloser(struct{ io.Reader }{strings.NewReader("body")}), length
							}
							res, err := transport.RoundTrip(r)
							if err != nil {
								continue
							}
							content, err := io.ReadAll(res.Body)
							res.Body.Close()
							switch {
							case err != nil:
							case string(content) == id:
								good.Add(1)
							default:
								strange.Add(1)
							}
						}
					})
				}
				clients.Wait()
				if strange.Load() > 0 || good.Load() < 32*60*8/10 {
					t.Errorf("%d answers are the own, %d another's", good.Load(), strange.Load())
				}
			})
		}
	}
}

// The most connections that there may be are those of both ways together.
func TestBothWaysKeepToTheMostConnections(t *testing.T) {
	node := "http://" + serveRaw(t, func(conn net.Conn) {
		reader := bufio.NewReader(conn)
		for {
			r, err := http.ReadRequest(reader)
			if err != nil {
				return
			}
			_, _ = io.Copy(io.Discard, r.Body)
			_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
		}
	})
	transport := newTransport(t, `{"max_conns_per_host": 3}`)
	// They are counted where they are made, for a node hears of an end after its client.
	var open, most, short, long atomic.Int64
	counted := func(conn net.Conn, err error, made *atomic.Int64) (net.Conn, error) {
		if err != nil {
			return nil, err
		}
		made.Add(1)
		for now := open.Add(1); ; {
			if seen := most.Load(); now <= seen || most.CompareAndSwap(seen, now) {
				return &countedConnection{conn, sync.OnceFunc(func() { open.Add(-1) })}, nil
			}
		}
	}
	dial, dialOwn := transport.Transport.DialContext, transport.sender.Own.Dial
	transport.Transport.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := dial(ctx, network, address)
		return counted(conn, err, &long)
	}
	transport.sender.Own.Dial = func(ctx context.Context, address string) (net.Conn, error) {
		conn, err := dialOwn(ctx, address)
		return counted(conn, err, &short)
	}
	var clients sync.WaitGroup
	for range 12 {
		clients.Go(func() {
			for i := range 20 {
				r := liveRequest(t, t.Context(), http.MethodPost, node, strings.NewReader("body"), []int64{4, -1}[i%2])
				res, err := transport.RoundTrip(r)
				if err != nil {
					t.Error(err)
					continue
				}
				_, _ = io.Copy(io.Discard, res.Body)
				res.Body.Close()
			}
		})
	}
	clients.Wait()
	if n := most.Load(); n > 3 {
		t.Errorf("%d connections at a time", n)
	}
	if short.Load() == 0 || long.Load() == 0 {
		t.Errorf("%d connections for short requests, %d for others", short.Load(), long.Load())
	}
}

// countedConnection is a connection whose end is told.
type countedConnection struct {
	net.Conn
	closed func()
}

func (c *countedConnection) SyscallConn() (syscall.RawConn, error) {
	return c.Conn.(syscall.Conn).SyscallConn()
}

func (c *countedConnection) Close() error {
	c.closed()
	return c.Conn.Close()
}

func TestTheNetworkProxyIsAskedOnceARequest(t *testing.T) {
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.WriteHeader(http.StatusTeapot)
	}))
	t.Cleanup(proxy.Close)
	through, err := url.Parse(proxy.URL)
	if err != nil {
		t.Fatal(err)
	}
	node := "http://" + serveRaw(t, func(conn net.Conn) {
		_, _ = http.ReadRequest(bufio.NewReader(conn))
		_, _ = io.WriteString(conn, "HTTP/1.1 204 No Content\r\n\r\n")
	})
	for _, test := range []struct {
		proxy  *url.URL
		length int64
		header int // the bytes of it
		status int
	}{{nil, 0, 0, 204}, {nil, -1, 0, 204}, {through, 0, 0, 418}, {through, -1, 0, 418}, {nil, 0, 20_000, 204}, {through, 0, 20_000, 418}} {
		transport := newTransport(t, `{}`)
		var asked atomic.Int64
		transport.Transport.Proxy = attempt.AskOnce(func(*http.Request) (*url.URL, error) {
			asked.Add(1)
			return test.proxy, nil
		})
		var body io.Reader
		if test.length < 0 {
			body = strings.NewReader("body")
		}
		r := liveRequest(t, t.Context(), http.MethodPost, node, body, test.length)
		r.Header.Set("X-Long", strings.Repeat("x", test.header))
		res, err := transport.RoundTrip(r)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if n := asked.Load(); n != 1 || res.StatusCode != test.status {
			t.Errorf("%+v: asked %d times, status %d", test, n, res.StatusCode)
		}
	}
}
