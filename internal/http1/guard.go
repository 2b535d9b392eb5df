package http1

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"sync"
	"syscall"
)

// Guard is a connection of Go's client that breaks when the server says something that
// it was not asked. Go's client finds some of that by itself, and takes some for the
// answer to the next request.
//
// The client reads a connection in a goroutine of its own, through a buffer: that
// nothing is left in the buffer is known once it waits for more.
type Guard struct {
	net.Conn
	raw syscall.RawConn // nil if nobody can look

	mu      sync.Mutex
	changed sync.Cond
	waits   bool // the client waits for what the server says next
	silent  bool // the server has nothing to say until something is written
	ended   bool // the server has said all
	closed  bool
}

// NewGuard guards a connection.
func NewGuard(conn net.Conn) *Guard {
	g := &Guard{Conn: conn}
	g.changed.L = &g.mu
	if socket, ok := conn.(syscall.Conn); ok {
		g.raw, _ = socket.SyscallConn()
	}
	limitSilence(g.raw)
	return g
}

// BeginRequest has the guard of a connection, if it has one and no requests share it,
// watch for what was not asked until the next request is written. The connection has
// served others. If something was said already, it is closed, and BeginRequest reports
// so.
func BeginRequest(conn net.Conn) (unasked bool) {
	if encrypted, is := conn.(*tls.Conn); is {
		if encrypted.ConnectionState().NegotiatedProtocol == "h2" {
			return false
		}
		conn = encrypted.NetConn()
	}
	g, is := conn.(*Guard)
	return is && g.begin()
}

func (g *Guard) begin() (unasked bool) {
	g.mu.Lock()
	for !g.waits && !g.closed {
		g.changed.Wait()
	}
	g.silent = true
	if g.closed { // by the client, which found what was left in its buffer
		unasked = !g.ended
		g.mu.Unlock()
		return unasked
	}
	something, end := look(g.raw)
	g.mu.Unlock()
	if something || end {
		_ = g.Close()
	}
	return something
}

var errUnasked = errors.New("the server said something that it was not asked")

// Read receives.
func (g *Guard) Read(p []byte) (int, error) {
	g.mu.Lock()
	g.waits = true
	g.changed.Broadcast()
	g.mu.Unlock()
	n, err := g.Conn.Read(p)
	g.mu.Lock()
	g.waits, g.ended = false, err != nil
	unasked := n > 0 && g.silent
	g.mu.Unlock()
	if unasked {
		_ = g.Close()
		return 0, errUnasked
	}
	return n, err
}

// Write sends, if the server is not ahead of it.
func (g *Guard) Write(p []byte) (int, error) {
	g.mu.Lock()
	unasked := false
	if g.silent {
		something, end := look(g.raw)
		unasked = !g.waits || something || end
		g.silent = unasked
	}
	g.mu.Unlock()
	if unasked {
		_ = g.Close()
		return 0, errUnasked
	}
	return g.Conn.Write(p)
}

// ReadFrom sends what a reader holds.
func (g *Guard) ReadFrom(r io.Reader) (int64, error) {
	buffer := copyBuffers.Get().(*[32 << 10]byte)
	defer copyBuffers.Put(buffer)
	return io.CopyBuffer(struct{ io.Writer }{g}, r, buffer[:])
}

var copyBuffers = sync.Pool{New: func() any { return new([32 << 10]byte) }}

// Close closes the connection.
func (g *Guard) Close() error {
	g.mu.Lock()
	g.closed = true
	g.changed.Broadcast()
	g.mu.Unlock()
	return g.Conn.Close()
}
