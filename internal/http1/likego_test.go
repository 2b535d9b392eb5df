package http1

import (
	"context"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"reflect"
	"strings"
	"sync"
	"testing"
	"testing/iotest"
)

// What Go's own tests of its client ask for, as far as it concerns requests that can be
// sent in one piece, is asked here of both, in the same run. What is told of a single
// connection, of waiting and of traces has tests of its own; compression, proxies, TLS,
// protocols and time-outs for the header are left to Go's client.

// use is what is done with the body of an answer.
type use func(io.ReadCloser) (string, error)

func whole(body io.ReadCloser) (string, error) {
	defer body.Close()
	content, err := io.ReadAll(body)
	return string(content), err
}

func unread(body io.ReadCloser) (string, error) { return "", body.Close() }

// first reads so many bytes and never sees the end.
func first(n int) use {
	return func(body io.ReadCloser) (string, error) {
		defer body.Close()
		content := make([]byte, n)
		n, err := io.ReadFull(body, content)
		return string(content[:n]), err
	}
}

// tale is what becomes of three requests, one after another.
type tale struct {
	Told        [3]heard
	Connections int64
}

func chunked(lines ...string) string {
	return "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n" + strings.Join(lines, "\r\n")
}

func TestOurClientDoesWhatGosDoes(t *testing.T) {
	log.SetOutput(io.Discard) // where Go's client says what it thinks of such servers
	t.Cleanup(func() { log.SetOutput(os.Stderr) })
	fails := func(t *tale) {
		for i := range t.Told {
			t.Told[i] = heard{Failed: true}
		}
	}
	closing := func(r *http.Request) { r.Close = true }
	head := func(r *http.Request) { r.Method = http.MethodHead }
	posting := func(r *http.Request) { upload(r, []byte("body")).Method = http.MethodPost }
	for _, test := range []struct {
		name, answer string
		request      func(*http.Request) // which may be nil
		use          use                 // whole if nil
		ends         bool                // the server closes after each answer
		differs      func(*tale)         // makes ours of Go's, where that is meant to differ
	}{
		// Connections serve again, or not.
		{name: "a body of known length", answer: ok},
		{name: "its bytes but not its end", answer: ok, use: first(2)},
		{name: "a part of it", answer: ok, use: first(1)},
		{name: "none of it", answer: ok, use: unread},
		{name: "a chunked body", answer: chunked("", "2", "ok", "0", "", "")},
		{name: "a part of a chunked body", answer: chunked("", "2", "ok", "0", "", ""), use: first(1)},
		{name: "an empty body that nobody reads", answer: "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", use: unread},
		{name: "the server's last answer", answer: "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok"},
		{name: "the last without a length", answer: "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nuntil the end", ends: true},
		{name: "no length at all", answer: "HTTP/1.1 200 OK\r\n\r\nuntil the end", ends: true},
		{name: "close among others", answer: "HTTP/1.1 200 OK\r\nConnection: x, Close\r\nContent-Length: 2\r\n\r\nok"},
		{name: "the client's last request", answer: ok, request: closing},
		{name: "a field that says so", answer: ok, request: func(r *http.Request) { r.Header.Set("Connection", "close") }},
		{name: "HTTP/1.0", answer: "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok"},
		{name: "HTTP/1.0 that stays", answer: "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nok"},
		{name: "HTTP/1.0 in chunks", answer: "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n", ends: true},
		{name: "HTTP/1.2", answer: "HTTP/1.2 200 OK\r\nContent-Length: 2\r\n\r\nok"},
		{name: "HTTP/2", answer: "HTTP/2.0 200 OK\r\nContent-Length: 2\r\n\r\nok"},
		{name: "a body sent", answer: ok, request: posting},
		{name: "the client's last with a body", answer: ok, request: func(r *http.Request) { posting(r); closing(r) }},
		{name: "without a method", answer: ok, request: func(r *http.Request) { r.Method = "" }},
		{name: "without a host", answer: ok, request: func(r *http.Request) { r.URL.Host = "" }},
		{name: "to a port that is no number", answer: ok, request: func(r *http.Request) { r.URL.Host = "node:http-port" }},

		// Answers without a body.
		{name: "to HEAD", answer: "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n", request: head},
		{name: "to HEAD in chunks", answer: chunked("", ""), request: head},
		{name: "to HEAD without a length", answer: "HTTP/1.1 200 OK\r\n\r\n", request: head},
		{name: "204", answer: "HTTP/1.1 204 No Content\r\n\r\n"},
		{name: "204 in chunks", answer: "HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n"},
		{name: "304", answer: "HTTP/1.1 304 Not Modified\r\nContent-Length: 123\r\n\r\n"},
		{name: "304 in chunks", answer: "HTTP/1.1 304 Not Modified\r\nTransfer-Encoding: chunked\r\n\r\n"},

		// Lengths and encodings.
		{name: "less than the length", answer: "HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nok", ends: true},
		{name: "the same length twice", answer: "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nok"},
		{name: "two lengths", answer: "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok!", ends: true},
		{name: "two lengths in one", answer: "HTTP/1.1 200 OK\r\nContent-Length: 2, 2\r\n\r\nok", ends: true},
		{name: "a length with a sign", answer: "HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\nok", ends: true},
		{name: "a negative length", answer: "HTTP/1.1 200 OK\r\nContent-Length: -2\r\n\r\nok", ends: true},
		{name: "an empty length", answer: "HTTP/1.1 200 OK\r\nContent-Length:\r\n\r\n", ends: true},
		{name: "a length beyond numbers", answer: "HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\nok", ends: true},
		{name: "a length and chunks", answer: chunked("Content-Length: 1", "", "2", "ok", "0", "", "")},
		{name: "chunks in capitals", answer: "HTTP/1.1 200 OK\r\nTransfer-Encoding: CHUNKED\r\n\r\n2\r\nok\r\n0\r\n\r\n"},
		{name: "chunks twice", answer: chunked("Transfer-Encoding: chunked", "", "2", "ok", "0", "", ""), ends: true},
		{name: "chunks of something else", answer: "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", ends: true},
		{name: "identity", answer: "HTTP/1.1 200 OK\r\nTransfer-Encoding: identity\r\nContent-Length: 2\r\n\r\nok", ends: true},
		{name: "an extension of a chunk", answer: chunked("", "2;a=b", "ok", "0", "", "")},
		{name: "a chunk without a length", answer: chunked("", "", "ok", "0", "", ""), ends: true},
		{name: "a chunk whose length is no number", answer: chunked("", "ZZ", "ok", "0", "", ""), ends: true},
		{name: "a chunk beyond numbers", answer: chunked("", "fffffffffffffffff", "ok", "0", "", ""), ends: true},
		{name: "a chunk that is longer than it says", answer: chunked("", "2", "okok", "0", "", ""), ends: true},
		{name: "chunks without an end", answer: chunked("", "2", "ok", ""), ends: true},
		{name: "the end of chunks and no more", answer: chunked("", "2", "ok", "0", ""), ends: true},
		{name: "trailers", answer: chunked("Trailer: Sum", "", "2", "ok", "0", "Sum: 1", "", "")},
		{name: "trailers that were not announced", answer: chunked("", "2", "ok", "0", "Sum: 1", "", "")},
		{name: "trailers that must not be", answer: chunked("Trailer: Content-Length", "", "2", "ok", "0", "", ""), ends: true},
		{name: "trailers without an end", answer: chunked("Trailer: Sum", "", "2", "ok", "0", "Sum: 1"), ends: true},

		// Headers.
		{name: "a status without words", answer: "HTTP/1.1 200\r\nContent-Length: 2\r\n\r\nok"},
		{name: "no status", answer: "HTTP/1.1\r\n\r\n", ends: true},
		{name: "a status that is no number", answer: "HTTP/1.1 unknown status\r\n\r\n", ends: true},
		{name: "a status of four digits", answer: "HTTP/1.1 2000 OK\r\n\r\n", ends: true},
		{name: "a status that no server can send on", answer: "HTTP/1.1 020 Odd\r\nContent-Length: 0\r\n\r\n", ends: true, differs: fails},
		{name: "no HTTP", answer: "SSH-2.0-OpenSSH\r\n\r\n", ends: true},
		{name: "nothing", answer: "", ends: true},
		{name: "an empty line", answer: "\r\n" + ok, ends: true},
		{name: "half a header", answer: "HTTP/1.1 200 OK\r\nContent-Le", ends: true},
		{name: "bare line feeds", answer: "HTTP/1.1 200 OK\nContent-Length: 2\n\nok"},
		{name: "a field of two lines", answer: "HTTP/1.1 200 OK\r\nX: a\r\n\t b\r\nContent-Length: 2\r\n\r\nok"},
		{name: "a first field that goes on", answer: "HTTP/1.1 200 OK\r\n X: a\r\nContent-Length: 2\r\n\r\nok", ends: true},
		{name: "a space before the colon", answer: "HTTP/1.1 200 OK\r\nContent-Length : 2\r\n\r\nok", ends: true},
		{name: "a field without a colon", answer: "HTTP/1.1 200 OK\r\nContent-Length\r\n\r\nok", ends: true},
		{name: "a field without a name", answer: "HTTP/1.1 200 OK\r\n: a\r\nContent-Length: 2\r\n\r\nok", ends: true},
		{name: "a name of two words", answer: "HTTP/1.1 200 OK\r\nA B: c\r\nContent-Length: 2\r\n\r\nok", ends: true},
		{name: "a zero in a field", answer: "HTTP/1.1 200 OK\r\nX: a\x00b\r\nContent-Length: 2\r\n\r\nok", ends: true},
		{name: "a long header", answer: "HTTP/1.1 200 OK\r\nX: " + strings.Repeat("x", 100<<10) + "\r\nContent-Length: 2\r\n\r\nok"},
		{name: "too long a header", answer: "HTTP/1.1 200 OK\r\nX: " + strings.Repeat("x", 300<<10) + "\r\nContent-Length: 2\r\n\r\nok", ends: true},
		// Go's client has no limit of lines.
		{name: "too many lines", answer: "HTTP/1.1 200 OK\r\n" + strings.Repeat("X: y\r\n", 1100) + "Content-Length: 2\r\n\r\nok", ends: true, differs: fails},

		// Informational answers.
		{name: "some before the answer", answer: "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 102 Processing\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\n" + ok},
		{name: "no answer behind them", answer: "HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\n", ends: true},
		{name: "a change of protocols", answer: "HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n", ends: true, differs: fails},
	} {
		t.Run(test.name, func(t *testing.T) {
			if test.use == nil {
				test.use = whole
			}
			// Nothing waits to be read at the end, so that no system takes back the answer.
			server := startServer(t, func(conn net.Conn, r *http.Request, _ int) bool {
				_, _ = io.Copy(io.Discard, r.Body)
				_, err := io.WriteString(conn, test.answer)
				return err == nil && !test.ends
			})
			tell := func(client http.RoundTripper) (told tale) {
				before := server.accepted.Load()
				for i := range told.Told {
					r := server.request(t.Context())
					if test.request != nil {
						test.request(r)
					}
					told.Told[i] = hearBy(client, r, test.use)
					if test.ends {
						eventually(t, "the connection is closed", func() bool { return server.open.Load() == 0 })
					}
				}
				told.Connections = server.accepted.Load() - before
				return told
			}
			c := newClient(t)
			goes := &http.Transport{DisableCompression: true, MaxResponseHeaderBytes: DefaultLimits.Bytes}
			t.Cleanup(goes.CloseIdleConnections)
			got := tell(roundTrip(func(r *http.Request) (*http.Response, error) {
				terms := never
				if r.ContentLength > 0 {
					terms.Body = []byte("body")
				}
				return c.RoundTrip(r, terms)
			}))
			c.Close()
			// Where the machine is busy Go's client takes a connection for one that cannot be
			// used again, if it learns too late that all is written.
			for attempt := 1; ; attempt++ {
				want := tell(goes)
				if test.differs != nil {
					test.differs(&want)
				}
				if reflect.DeepEqual(got, want) {
					break
				}
				if attempt == 5 {
					t.Fatalf("ours:\n%+v\nand Go's:\n%+v", got, want)
				}
				goes.CloseIdleConnections()
				eventually(t, "no connection is open", func() bool { return server.open.Load() == 0 })
			}
		})
	}
}

// hearBy is hear with another use of the body.
func hearBy(client http.RoundTripper, r *http.Request, use use) heard {
	return hear(roundTrip(func(r *http.Request) (*http.Response, error) {
		res, err := client.RoundTrip(r)
		if err == nil {
			content, err := use(res.Body)
			var after io.Reader = strings.NewReader(content)
			if err != nil {
				after = io.MultiReader(after, iotest.ErrReader(err))
			}
			res.Body = io.NopCloser(after)
		}
		return res, err
	}), r)
}

// The pieces of an answer are there when the server sends them.
func TestPiecesAreReadAsTheyCome(t *testing.T) {
	next := make(chan struct{})
	s, c := startServer(t, func(conn net.Conn, _ *http.Request, _ int) bool {
		_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
		for range 3 {
			_, _ = io.WriteString(conn, "5\r\npiece\r\n")
			<-next
		}
		_, _ = io.WriteString(conn, "0\r\n\r\n")
		return true
	}), newClient(t)
	res := s.hold(c)
	for range 3 {
		piece := make([]byte, 5)
		if _, err := io.ReadFull(res.Body, piece); err != nil || string(piece) != "piece" {
			t.Fatal(string(piece), err)
		}
		next <- struct{}{}
	}
	if content, err := read(res, nil); content != "" || err != nil {
		t.Errorf("%q, %v", content, err)
	}
}

// A server cannot keep a client busy with informational answers.
func TestAFloodOfInformationalAnswersIsCutOff(t *testing.T) {
	s, c := startServer(t, func(conn net.Conn, _ *http.Request, _ int) bool {
		for {
			if _, err := io.WriteString(conn, "HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\n"); err != nil {
				return false
			}
		}
	}), newClient(t)
	for _, limits := range []Limits{DefaultLimits, {Bytes: 1 << 40}, {Lines: 1 << 40}, ProbeLimits} {
		terms := never
		terms.Limits = limits
		if _, err := c.RoundTrip(s.request(t.Context()), terms); err == nil || isUnanswered(err) {
			t.Errorf("%+v: %v", limits, err)
		}
	}
	eventually(t, "no connection is open", func() bool { return s.open.Load() == 0 })
}

// A request that is given up says why, as with Go's client: with the cause, if there is one.
func TestWhoGivesUpIsToldWhy(t *testing.T) {
	why := errors.New("the client has left")
	for name, part := range map[string]string{"before the header": "", "in the header": "HTTP/1.1 200 OK\r\nX:", "in the body": "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nsome"} {
		t.Run(name, func(t *testing.T) {
			waits := make(chan struct{})
			s := startServer(t, func(conn net.Conn, _ *http.Request, _ int) bool {
				_, _ = io.WriteString(conn, part)
				waits <- struct{}{}
				_, _ = conn.Read(make([]byte, 1))
				return false
			})
			c := newClient(t)
			goes := new(http.Transport)
			for _, client := range []http.RoundTripper{goes, roundTrip(func(r *http.Request) (*http.Response, error) { return c.RoundTrip(r, always) })} {
				ctx, leave := context.WithCancelCause(t.Context())
				go func() {
					<-waits
					leave(why)
				}()
				_, err := read(client.RoundTrip(s.request(ctx)))
				if !errors.Is(err, why) {
					t.Errorf("%T: %v", client, err)
				}
			}
			eventually(t, "no connection is open", func() bool { return s.open.Load() == 0 })
		})
	}
}

// A hundred clients that come at once dial once each, at most, and then share what they
// have dialled; as many dials as are late are kept for the next.
func TestAHundredClientsDialOnce(t *testing.T) {
	s, c := startServer(t, says(ok)), newClient(t)
	burst := &gate{open: make(chan struct{})}
	c.Dial = burst.dial
	address := s.listener.Addr().String()
	rush := func(times int) {
		var clients sync.WaitGroup
		for range 100 {
			clients.Go(func() {
				for range times {
					if content, err := s.get(c); content != "ok" || err != nil {
						t.Errorf("%q, %v", content, err)
					}
				}
			})
		}
		clients.Wait()
	}
	ctx, leave := context.WithCancel(t.Context())
	var leaving sync.WaitGroup
	for range 100 {
		leaving.Go(func() { _, _ = c.RoundTrip(s.request(ctx), never) })
	}
	eventually(t, "all dial", func() bool { return burst.dials.Load() == 100 })
	leave()
	leaving.Wait()
	close(burst.open)
	eventually(t, "all connections are idle", func() bool { return idleOf(c, address) == 100 })
	rush(20)
	if dials, connections := burst.dials.Load(), s.accepted.Load(); dials != 100 || connections != 100 {
		t.Errorf("%d dials, %d connections", dials, connections)
	}
	if n := s.requests.Load(); n != 2000 {
		t.Errorf("%d requests, want 2000", n)
	}
	if n := waiting(c, address); n != 0 {
		t.Errorf("%d wait", n)
	}
}
