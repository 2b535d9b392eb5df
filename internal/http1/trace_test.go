package http1

import (
	"io"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"slices"
	"sync"
	"testing"
)

// Who traces a request hears what Go's client would tell.
func TestATraceHearsWhatGoWouldTell(t *testing.T) {
	s := startServer(t, func(conn net.Conn, r *http.Request, _ int) bool {
		_, _ = io.Copy(io.Discard, r.Body)
		_, _ = io.WriteString(conn, "HTTP/1.1 103 Early Hints\r\n\r\n"+ok)
		return true
	})
	trace := func(client http.RoundTripper) (told [][]string) {
		for range 2 {
			var mu sync.Mutex
			var heard []string
			tell := func(what string) {
				mu.Lock()
				defer mu.Unlock()
				heard = append(heard, what)
			}
			r := s.request(httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{
				GetConn: func(address string) { tell("get " + address) },
				GotConn: func(info httptrace.GotConnInfo) {
					if info.Conn == nil || info.WasIdle && info.IdleTime <= 0 {
						t.Errorf("%+v", info)
					}
					if tell("got"); info.Reused && info.WasIdle {
						tell("idle")
					}
				},
				WroteHeaders:         func() { tell("wrote header") },
				WroteRequest:         func(info httptrace.WroteRequestInfo) { tell("wrote request") },
				GotFirstResponseByte: func() { tell("first byte") },
				Got1xxResponse: func(status int, _ textproto.MIMEHeader) error {
					tell("informational")
					return nil
				},
			}))
			r.Method = http.MethodPost
			if content, err := read(client.RoundTrip(upload(r, []byte("body")))); content != "ok" || err != nil {
				t.Fatal(content, err)
			}
			mu.Lock()
			slices.Sort(heard) // Go's client reads and writes at the same time
			told = append(told, heard)
			mu.Unlock()
		}
		return told
	}
	c := newClient(t)
	terms := never
	terms.Body = []byte("body")
	ours := trace(roundTrip(func(r *http.Request) (*http.Response, error) { return c.RoundTrip(r, terms) }))
	for attempt := 1; ; attempt++ {
		transport := new(http.Transport)
		t.Cleanup(transport.CloseIdleConnections)
		goes := trace(transport)
		if slices.EqualFunc(ours, goes, slices.Equal) {
			break
		}
		if attempt == 5 { // where the machine is busy Go's client may tell too late that all is written
			t.Fatalf("heard\n%q\nand of Go's client\n%q", ours, goes)
		}
	}
}
