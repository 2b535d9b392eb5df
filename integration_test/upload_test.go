package integration_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"
)

// startLingeringNode starts a node that refuses every upload as soon as it has its
// header, and reads what is left of it, as nginx does. It returns its address.
func startLingeringNode(t *testing.T) string {
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
				_ = conn.SetDeadline(time.Now().Add(enough))
				reader := bufio.NewReader(conn)
				if _, err := http.ReadRequest(reader); err != nil {
					return
				}
				const answer = "HTTP/1.1 413 Request Entity Too Large\r\nContent-Length: 8\r\nConnection: close\r\n\r\ntoo much"
				if _, err := io.WriteString(conn, answer); err != nil {
					return
				}
				_ = conn.(*net.TCPConn).CloseWrite()
				_, _ = io.Copy(io.Discard, reader)
			})
		}
	})
	t.Cleanup(func() {
		listener.Close()
		group.Wait()
	})
	return listener.Addr().String()
}

// Many clients send all of a request before they look for an answer, and lose it if
// the connection breaks meanwhile.
func TestARefusalReachesAClientThatSendsFirst(t *testing.T) {
	node := startLingeringNode(t)
	e := newEdge(t)
	e.load("tigergraph " + node + " {\nhealth_check off\n}")
	const size = 120 << 20
	piece := strings.Repeat("1,2,3,4\n", 1<<13)
	for name, head := range map[string]string{
		"of known length": fmt.Sprintf("Content-Length: %d\r\n", size),
		"in chunks":       "Transfer-Encoding: chunked\r\n",
	} {
		t.Run(name, func(t *testing.T) {
			conn, err := net.Dial("tcp", e.address)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			_ = conn.SetDeadline(time.Now().Add(2 * enough))
			fmt.Fprintf(conn, "POST /restpp/ddl/social HTTP/1.1\r\nHost: %s\r\n%s\r\n", e.address, head)
			chunk := piece
			if name == "in chunks" {
				chunk = fmt.Sprintf("%x\r\n%s\r\n", len(piece), piece)
			}
			for sent := 0; sent < size; sent += len(piece) {
				if _, err := io.WriteString(conn, chunk); err != nil {
					t.Fatalf("the connection broke after %d bytes: %v", sent, err)
				}
			}
			if name == "in chunks" {
				if _, err := io.WriteString(conn, "0\r\n\r\n"); err != nil {
					t.Fatal(err)
				}
			}
			response, err := http.ReadResponse(bufio.NewReader(conn), nil)
			if err != nil {
				t.Fatal(err)
			}
			body, err := io.ReadAll(response.Body)
			if err != nil || response.StatusCode != http.StatusRequestEntityTooLarge || string(body) != "too much" {
				t.Errorf("%d %q, %v", response.StatusCode, body, err)
			}
		})
	}
}
