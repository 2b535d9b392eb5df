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
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/tgnode"
)

// startSilentNode starts a node that is silent for so long before it answers, within
// its answer, and before the end of it, which are trailers if the request was a POST.
// It returns its address.
func startSilentNode(t *testing.T, pause time.Duration) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	var group sync.WaitGroup
	group.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			group.Go(func() {
				defer conn.Close()
				reader := bufio.NewReader(conn)
				for {
					request, err := http.ReadRequest(reader)
					if err != nil {
						return
					}
					if _, err := io.Copy(io.Discard, request.Body); err != nil {
						return
					}
					announcement, trailer := "", ""
					if request.Method == http.MethodPost {
						announcement, trailer = "Trailer: X-Sum\r\n", "X-Sum: 11\r\n"
					}
					for _, part := range []string{
						"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n" + announcement + "\r\n5\r\nfirst\r\n",
						"6\r\nsecond\r\n",
						"0\r\n" + trailer + "\r\n",
					} {
						select {
						case <-time.After(pause):
						case <-t.Context().Done():
							return
						}
						if _, err := io.WriteString(conn, part); err != nil {
							return
						}
					}
				}
			})
		}
	})
	t.Cleanup(func() {
		listener.Close()
		group.Wait()
	})
	return listener.Addr().String()
}

// testSilence has a node pause for longer than the edge lets its clients, over every
// version of HTTP.
func testSilence(t *testing.T, timeouts string, pause time.Duration) {
	node := startSilentNode(t, pause)
	e := newEdge(t)
	config, _, err := tgnode.SelfSigned("localhost")
	if err != nil {
		t.Fatal(err)
	}
	certificate, key := writePEM(t, config.Certificates[0])
	secure := freeAddress(t)
	_, port, _ := net.SplitHostPort(secure)
	directive := "tigergraph " + node + " {\nhealth_check off\n}\n"
	if err := e.tryLoadCaddyfile(fmt.Sprintf("%sservers {\n%s\n}\n}\nhttp://%s {\n%s}\nhttps://localhost:%s {\ntls %q %q\n%s}\n",
		e.globals, timeouts, e.address, directive, port, certificate, key, directive)); err != nil {
		t.Fatal(err)
	}
	trusting := func() *tls.Config { return &tls.Config{InsecureSkipVerify: true, ServerName: "localhost"} }
	oneOne := newBrowser(t, "", 2, trusting()).http.Transport.(*http.Transport)
	oneOne.ForceAttemptHTTP2 = false
	three := &http3.Transport{
		TLSClientConfig: trusting(),
		QUICConfig:      &quic.Config{KeepAlivePeriod: 5 * time.Second},
		Dial: func(ctx context.Context, _ string, tlsConfig *tls.Config, quicConfig *quic.Config) (*quic.Conn, error) {
			return quic.DialAddrEarly(ctx, secure, tlsConfig, quicConfig)
		},
	}
	t.Cleanup(func() { _ = three.Close() })
	var group sync.WaitGroup
	for _, way := range []struct {
		name, base, protocol string
		transport            http.RoundTripper
	}{
		{"plain", "http://" + e.address, "HTTP/1.1", newBrowser(t, "", 2, nil).http.Transport},
		{"TLS", "https://localhost:" + port, "HTTP/1.1", oneOne},
		{"HTTP/2", "https://localhost:" + port, "HTTP/2.0", newBrowser(t, "", 2, trusting()).http.Transport},
		{"HTTP/3", "https://localhost:" + port, "HTTP/3.0", three},
	} {
		for method, body := range map[string][]byte{http.MethodGet: nil, http.MethodPost: []byte("{}")} {
			group.Go(func() {
				sum := ""
				if method == http.MethodPost {
					sum = "11"
				}
				client := &http.Client{Transport: way.transport, Timeout: enough + 4*pause}
				request, err := http.NewRequest(method, way.base+"/restpp/query/social/slow", bytes.NewReader(body))
				if err != nil {
					t.Error(err)
					return
				}
				response, err := client.Do(request)
				if err != nil {
					t.Errorf("%s %s: %v", way.name, method, err)
					return
				}
				defer response.Body.Close()
				answer, err := io.ReadAll(response.Body)
				if err != nil || string(answer) != "firstsecond" || response.Trailer.Get("X-Sum") != sum || response.Proto != way.protocol {
					t.Errorf("%s %s: %s %d, %q %v, %v", way.name, method, response.Proto, response.StatusCode, answer, response.Trailer, err)
				}
			})
		}
	}
	group.Wait()
}

func TestAnswersMayBeSilentForAsLongAsTheNodeIs(t *testing.T) {
	testSilence(t, "timeouts {\nread_body_idle 1s\nwrite_idle 1s\n}", 3*time.Second)
}

// The time-outs are Caddy's own here.
func TestAnswersMayBeSilentForMoreThanAMinute(t *testing.T) {
	if os.Getenv("CI") == "" {
		t.Skip("takes over three minutes: set CI=true to run it")
	}
	testSilence(t, "timeouts {\n}", 65*time.Second)
}

// What the operator grants the whole answer stands.
func TestTheTimeoutOfAWholeAnswerStands(t *testing.T) {
	node := startSilentNode(t, 3*time.Second)
	e := newEdge(t)
	e.globals += "servers {\ntimeouts {\nwrite 5s\nwrite_idle 1s\n}\n}\n"
	e.load("tigergraph " + node + " {\nhealth_check off\n}")
	got := e.raw("GET /restpp/echo HTTP/1.1\r\nHost: "+e.address+"\r\nConnection: close\r\n\r\n", "")
	if !strings.Contains(got, "first") || strings.Contains(got, "\r\n0\r\n") {
		t.Errorf("%q", got)
	}
}
