package integration_test

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync/atomic"
	"time"
)

// gate is a process in front of a node's nginx that does what a sick nginx, or
// something in its place, may do to whoever asks it.
type gate struct {
	behind string // the address of the nginx
	mode   atomic.Pointer[string]
	open   atomic.Int64
}

// The modes of a gate, as the commands that it takes.
const (
	gatePasses  = "pass"    // what comes to it, and back
	gateSurplus = "surplus" // sends one more answer after each
	gateFew     = "few"     // closes all but a few connections
	gateFloods  = "flood"   // sends informational answers without end
	gateForbids = "forbid"  // answers 403 as nginx does
	gateResets  = "reset"   // resets connections when a request has come
)

// gateConnections is how many a gate has open at once if they are few.
const gateConnections = 4

// gateSurplusAnswer is nobody's. If a client gets it, an answer of one request was taken
// for that of another.
const gateSurplusAnswer = "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 8\r\n\r\nsurplus!"

// runGate serves until the test that started the process is gone.
func runGate(process serviceProcess) {
	listener, err := net.Listen("tcp", process.Listen)
	if err != nil {
		panic(err)
	}
	g := &gate{behind: process.Behind}
	mode := gatePasses
	g.mode.Store(&mode)
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				panic(err)
			}
			go g.serve(conn.(*net.TCPConn))
		}
	}()
	for commands := bufio.NewScanner(os.Stdin); commands.Scan(); {
		mode := commands.Text()
		g.mode.Store(&mode)
	}
}

func (g *gate) serve(conn *net.TCPConn) {
	defer conn.Close()
	defer g.open.Add(-1)
	if g.open.Add(1) > gateConnections && *g.mode.Load() == gateFew {
		return
	}
	for reader := bufio.NewReader(conn); ; {
		request, err := http.ReadRequest(reader)
		if err != nil {
			return
		}
		switch *g.mode.Load() {
		case gateResets:
			_ = conn.SetLinger(0)
			return
		case gateForbids:
			const page = "<html>\r\n<head><title>403 Forbidden</title></head>\r\n<body>\r\n<center><h1>403 Forbidden</h1></center>\r\n<hr><center>nginx</center>\r\n</body>\r\n</html>\r\n"
			_, _ = io.Copy(io.Discard, request.Body)
			fmt.Fprintf(conn, "HTTP/1.1 403 Forbidden\r\nServer: nginx\r\nContent-Type: text/html\r\nContent-Length: %d\r\n\r\n%s", len(page), page)
			continue
		case gateFloods:
			flood := []byte(strings.Repeat("HTTP/1.1 103 Early Hints\r\nLink: </a.js>; rel=preload\r\n\r\n", 100))
			for _ = conn.SetWriteDeadline(time.Now().Add(5 * time.Second)); err == nil; {
				_, err = conn.Write(flood)
			}
			return
		}
		if !g.pass(conn, request) {
			return
		}
	}
}

// pass has the nginx answer a request. It returns false if the connection is to be
// closed.
func (g *gate) pass(conn net.Conn, request *http.Request) bool {
	inner, err := net.Dial("tcp", g.behind)
	if err != nil {
		return false
	}
	defer inner.Close()
	request.Close = true
	if err := request.Write(inner); err != nil {
		return false
	}
	response, err := http.ReadResponse(bufio.NewReader(inner), request)
	if err != nil {
		return false
	}
	defer response.Body.Close()
	response.Close = false
	response.Header.Del("Connection")
	var answer bytes.Buffer
	if err := response.Write(&answer); err != nil {
		return false
	}
	// Only what arrives with the end of an answer can be told from the next one, so
	// both have to be in one packet.
	if *g.mode.Load() == gateSurplus && answer.Len() < 8<<10 {
		answer.WriteString(gateSurplusAnswer)
	}
	_, err = conn.Write(answer.Bytes())
	return err == nil
}
