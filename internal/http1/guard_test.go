package http1

import (
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
)

// TLS says that a connection ends, and where sessions go on, in messages of its own.
func TestWhatTLSItselfSaysIsNothingUnasked(t *testing.T) {
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Connection", "close")
		_, _ = io.WriteString(w, "answer")
	}))
	defer server.Close()
	dialled, err := net.Dial("tcp", server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	conn := tls.Client(NewGuard(dialled), &tls.Config{InsecureSkipVerify: true})
	defer conn.Close()
	if _, err := io.WriteString(conn, "GET / HTTP/1.1\r\nHost: node\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadAll(conn); err != nil {
		t.Fatal(err)
	}
	_ = conn.Close()
	if BeginRequest(conn, true, true) {
		t.Error("the end of the connection was taken for something that was not asked")
	}
}

// Who closes a connection waits for who reads it, and neither for the other.
func TestAGuardedConnectionIsClosedWhileItIsRead(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	for range 2000 {
		dialled, err := net.Dial("tcp", listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		server, err := listener.Accept()
		if err != nil {
			t.Fatal(err)
		}
		g := NewGuard(dialled)
		var both sync.WaitGroup
		both.Go(func() { _, _ = io.Copy(io.Discard, struct{ io.Reader }{g}) })
		both.Go(func() {
			for range 3 {
				_, _ = io.WriteString(server, "piece")
			}
		})
		_ = g.Close()
		both.Wait()
		_ = server.Close()
	}
}
