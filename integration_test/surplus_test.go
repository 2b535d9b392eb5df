package integration_test

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/tgnode"
)

// talker is a node that says more than it is asked. Each of its answers names the
// request that it is for; what it says besides names one that another client sent.
type talker struct {
	listener net.Listener
	talk     func(conn net.Conn, answer, surplus string)

	mu      sync.Mutex
	conns   map[net.Conn]bool
	surplus string
}

// startTalker starts one, which speaks TLS if it is given settings for that.
func startTalker(t *testing.T, encryption *tls.Config, talk func(conn net.Conn, answer, surplus string)) *talker {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if encryption != nil {
		listener = tls.NewListener(listener, encryption)
	}
	n := &talker{listener: listener, talk: talk, conns: make(map[net.Conn]bool), surplus: answering("nobody")}
	var serving sync.WaitGroup
	serving.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			n.mu.Lock()
			n.conns[conn] = true
			n.mu.Unlock()
			serving.Go(func() { n.serve(conn) })
		}
	})
	t.Cleanup(func() {
		listener.Close()
		n.each(func(conn net.Conn) { conn.Close() })
		serving.Wait()
	})
	return n
}

func answering(name string) string {
	return fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: %d\r\n\r\n%s", len(name), name)
}

func (n *talker) serve(conn net.Conn) {
	defer func() {
		n.mu.Lock()
		delete(n.conns, conn)
		n.mu.Unlock()
		conn.Close()
	}()
	reader := bufio.NewReader(conn)
	for {
		r, err := http.ReadRequest(reader)
		if err != nil {
			return
		}
		if _, err := io.Copy(io.Discard, r.Body); err != nil {
			return
		}
		answer := answering(r.URL.Query().Get("name"))
		n.mu.Lock()
		surplus := n.surplus
		n.surplus = answer
		n.mu.Unlock()
		n.talk(conn, answer, surplus)
	}
}

func (n *talker) each(do func(net.Conn)) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for conn := range n.conns {
		do(conn)
	}
}

// sayLate says what nobody asked on every connection. Nobody asks meanwhile.
func (n *talker) sayLate(pieces int) {
	n.each(func(conn net.Conn) {
		for piece := range pieces {
			from, to := piece*len(n.surplus)/pieces, (piece+1)*len(n.surplus)/pieces
			_, _ = io.WriteString(conn, n.surplus[from:to])
		}
	})
}

// No client ever sees what another one was told, however a node mixes up its answers.
func TestNoClientSeesAnothersAnswer(t *testing.T) { testSurplus(t, "", nil) }

func TestNoClientSeesAnothersAnswerWhereNodesSpeakTLS(t *testing.T) {
	encryption, _, err := tgnode.SelfSigned("localhost")
	if err != nil {
		t.Fatal(err)
	}
	encryption.NextProtos = []string{"http/1.1"}
	testSurplus(t, "https://", encryption)
}

func testSurplus(t *testing.T, scheme string, encryption *tls.Config) {
	const clients, rounds = 32, 6
	plain := func(conn net.Conn, answer, _ string) { _, _ = io.WriteString(conn, answer) }
	for _, node := range []struct {
		name string
		talk func(conn net.Conn, answer, surplus string)
		late int // in how many pieces it speaks once all have their answer
	}{
		{"with the answer", func(conn net.Conn, answer, surplus string) { _, _ = io.WriteString(conn, answer+surplus) }, 0},
		{"in pieces", func(conn net.Conn, answer, surplus string) {
			all, end := answer+surplus, len(answer)
			for _, piece := range []string{all[:1], all[1 : end-1], all[end-1 : end+1], all[end+1 : end+20], all[end+20:]} {
				_, _ = io.WriteString(conn, piece)
			}
		}, 0},
		{"now and then", func(conn net.Conn, answer, surplus string) {
			if strings.HasSuffix(answer, "7") {
				answer += surplus[:len(surplus)-2] // and never the end
			}
			_, _ = io.WriteString(conn, answer)
		}, 0},
		{"late", plain, 1},
		{"late and in pieces", plain, 5},
	} {
		t.Run(node.name, func(t *testing.T) {
			n := startTalker(t, encryption, node.talk)
			e := newEdge(t)
			verification := ""
			if encryption != nil {
				verification = "transport tigergraph {\ntls_insecure_skip_verify\n}\n"
			}
			e.loadTLS("tigergraph " + scheme + n.listener.Addr().String() + " {\nhealth_check off\n" + verification + "}")
			base := e.newBrowserTLS(2).base
			for protocol, client := range manyAtOnce(t) {
				for _, kind := range []string{"GET", "POST", "POST in chunks"} {
					method, _, _ := strings.Cut(kind, " ")
					var good, strange atomic.Int64
					ask := func(name string) {
						var body io.Reader
						switch kind {
						case "POST":
							body = strings.NewReader("body of " + name)
						case "POST in chunks":
							body = io.MultiReader(strings.NewReader("body of "), strings.NewReader(name))
						}
						r, err := http.NewRequestWithContext(t.Context(), method, base+"/api/ping?name="+name, body)
						if err != nil {
							t.Error(err)
							return
						}
						response, err := client.Do(r)
						if err != nil {
							t.Errorf("%s of %s: %v", kind, name, err)
							return
						}
						defer response.Body.Close()
						content, err := io.ReadAll(response.Body)
						switch {
						case response.Proto != protocol:
							t.Errorf("%s, want %s", response.Proto, protocol)
						case err != nil || response.StatusCode != http.StatusOK: // which is the edge's word
						case string(content) == name:
							good.Add(1)
						default:
							strange.Add(1)
							t.Errorf("%s of %s: answered %q", kind, name, content)
						}
					}
					for round := range rounds {
						var asking sync.WaitGroup
						for number := range clients {
							asking.Go(func() { ask(fmt.Sprintf("%d-%d", number, round)) })
						}
						asking.Wait()
						if node.late > 0 {
							n.sayLate(node.late)
						}
					}
					if good.Load() < clients*rounds*9/10 || strange.Load() > 0 {
						t.Errorf("%s, %s: %d of %d answers are the own, %d another's", protocol, kind, good.Load(), clients*rounds, strange.Load())
					}
				}
			}
		})
	}
}

// manyAtOnce returns clients that keep as many connections as they need.
func manyAtOnce(t *testing.T) map[string]*http.Client {
	one := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true, NextProtos: []string{"http/1.1"}}, MaxIdleConnsPerHost: 100}
	two := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, ForceAttemptHTTP2: true}
	t.Cleanup(one.CloseIdleConnections)
	t.Cleanup(two.CloseIdleConnections)
	return map[string]*http.Client{
		"HTTP/1.1": {Transport: one, Timeout: enough},
		"HTTP/2.0": {Transport: two, Timeout: enough},
	}
}
