package tigergraph_test

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httptrace"
	"strings"
	"sync"
	"testing"
)

// closingNode is a node whose idle connections the test closes.
type closingNode struct {
	net.Listener
	mu          sync.Mutex
	arrived     map[string]int // by the request's target
	connections []net.Conn
}

func startClosingNode(t *testing.T) *closingNode {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	n := &closingNode{Listener: listener, arrived: make(map[string]int)}
	t.Cleanup(func() { _ = listener.Close(); n.closeConnections() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			n.mu.Lock()
			n.connections = append(n.connections, conn)
			n.mu.Unlock()
			go n.serve(conn)
		}
	}()
	return n
}

func (n *closingNode) serve(conn net.Conn) {
	reader := bufio.NewReader(conn)
	for {
		request, err := http.ReadRequest(reader)
		if err != nil {
			return
		}
		_, _ = io.Copy(io.Discard, request.Body)
		n.mu.Lock()
		n.arrived[request.RequestURI]++
		n.mu.Unlock()
		_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
	}
}

func (n *closingNode) closeConnections() {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, conn := range n.connections {
		_ = conn.Close()
	}
	n.connections = nil
}

func (n *closingNode) count(target string) int {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.arrived[target]
}

// watchedConn tells when the transport has found the connection to be closed.
type watchedConn struct {
	net.Conn
	once   sync.Once
	closed chan struct{}
}

func (c *watchedConn) Close() error {
	c.once.Do(func() { close(c.closed) })
	return c.Conn.Close()
}

// A request that was never written to the connection it was meant for goes on
// another one, whatever it does; one that was, is not sent again.
func TestAConnectionFoundClosedCostsNoRequest(t *testing.T) {
	handler := provisionHandler(t, oursByClientIP, 3)
	policy := handler.LoadBalancing.SelectionPolicy
	for _, kind := range []struct{ method, path, body string }{
		{http.MethodGet, "/restpp/query/g/q", ""},
		{http.MethodDelete, "/restpp/graph/g/vertices/p/1", ""},
		{http.MethodPost, "/gsql/v1/statements", "DROP ALL"},
	} {
		t.Run(kind.method, func(t *testing.T) {
			const tries = 50 // in some the write begins before the transport sees its connection closed
			served := 0
			for range tries {
				node := startClosingNode(t)
				transport := &http.Transport{DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
					conn, err := new(net.Dialer).DialContext(ctx, network, address)
					return &watchedConn{Conn: conn, closed: make(chan struct{})}, err
				}}
				defer transport.CloseIdleConnections()
				send := func(target string, body io.Reader, trace *httptrace.ClientTrace) error {
					incoming := httptest.NewRequest(kind.method, "http://"+node.Addr().String()+target, body)
					incoming.RequestURI = ""
					request := prepare(incoming, nothing{make(http.Header)})
					if request.ContentLength == 0 {
						request.Body = nil // as the proxy does
					}
					if policy.Select(handler.Upstreams, request, nothing{make(http.Header)}) == nil {
						t.Fatal("no node")
					}
					response, err := transport.RoundTrip(request.WithContext(httptrace.WithClientTrace(request.Context(), trace)))
					if err == nil {
						_, _ = io.Copy(io.Discard, response.Body)
						_ = response.Body.Close()
					}
					return err
				}
				if err := send("/restpp/query/g/first", nil, new(httptrace.ClientTrace)); err != nil {
					t.Fatal(err)
				}
				reused := false
				err := send(kind.path, strings.NewReader(kind.body), &httptrace.ClientTrace{GotConn: func(info httptrace.GotConnInfo) {
					if info.Reused && !reused {
						reused = true
						node.closeConnections()
						<-info.Conn.(*watchedConn).closed
					}
				}})
				times := node.count(kind.path)
				if times > 1 || err == nil && times != 1 || err != nil && times != 0 {
					t.Fatalf("arrived %d times, with the error %v", times, err)
				}
				if reused && err == nil {
					served++
				}
			}
			if served == 0 {
				t.Errorf("none of %d requests was sent on another connection", tries)
			}
		})
	}
}
