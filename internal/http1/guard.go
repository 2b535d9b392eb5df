package http1

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
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
	raw     syscall.RawConn // nil if nobody can look
	limited bool            // its silence is

	receive func(fd uintptr) bool // reads into the buffer, once there is something
	into    []byte
	n       int
	err     error

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
	g.prepareToReceive()
	return g
}

// BeginRequest prepares a connection for a request, unless it has no guard, or requests
// share it. Of one that has served others, the guard watches for what was not asked until
// the request is written. If something was said already, it is closed, and BeginRequest
// reports so.
//
// A connection breaks when the machine at its other end is silent, if the request is
// short: a longer one waits until the server takes it, however long that is.
func BeginRequest(conn net.Conn, reused, short bool) (unasked bool) {
	if encrypted, is := conn.(*tls.Conn); is {
		if encrypted.ConnectionState().NegotiatedProtocol == "h2" {
			return false
		}
		conn = encrypted.NetConn()
	}
	g, is := conn.(*Guard)
	if !is {
		return false
	}
	if g.limited != short {
		g.limited = short
		limitSilence(g.raw, short)
	}
	return reused && g.begin()
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

// Read receives. What is taken from the system and what is known of it change at once,
// so that nothing can be said unnoticed in between.
func (g *Guard) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	g.into = p
	if g.receive == nil {
		return g.readBlindly()
	}
	g.n, g.err = 0, nil
	err := g.raw.Read(g.receive)
	if err == nil {
		err = g.err
	} else { // it was closed here, or took too long
		g.mu.Lock()
		g.waits, g.ended = false, true
		g.mu.Unlock()
	}
	switch broken := (*net.OpError)(nil); {
	case err == nil, errors.Is(err, io.EOF):
	case errors.Is(err, errUnasked):
		_ = g.Close()
	case errors.As(err, &broken):
		broken.Op = "read"
	default:
		err = &net.OpError{Op: "read", Net: g.LocalAddr().Network(), Source: g.LocalAddr(), Addr: g.RemoteAddr(), Err: os.NewSyscallError("read", err)}
	}
	return g.n, err
}

// readBlindly reads where the system cannot be asked.
func (g *Guard) readBlindly() (int, error) {
	g.mu.Lock()
	g.waits = true
	g.changed.Broadcast()
	g.mu.Unlock()
	n, err := g.Conn.Read(g.into)
	g.mu.Lock()
	g.received(n, err)
	g.mu.Unlock()
	if errors.Is(g.err, errUnasked) {
		_ = g.Close()
	}
	return g.n, g.err
}

// received notes what was read. The caller holds mu.
func (g *Guard) received(n int, err error) {
	g.n, g.err = n, err
	g.waits, g.ended = false, err != nil || endsInAlert(g.into[:n])
	switch {
	case n == 0 && err == nil:
		g.err, g.ended = io.EOF, true
	case n > 0 && g.silent:
		g.n, g.err = 0, errUnasked
	}
}

// endsInAlert reports whether the last thing that was read is an alert of TLS, by which a
// connection ends as by the end of TCP's: a record of that type or, since TLS 1.3, one
// that is as short as an alert.
func endsInAlert(read []byte) bool {
	const header, longest = 5, 64
	for size := header + 2; size <= min(len(read), longest); size++ {
		record := read[len(read)-size:]
		isAlert := record[0] == 21 || record[0] == 23 && size == header+19
		if isAlert && record[1] == 3 && int(record[3])<<8|int(record[4]) == size-header {
			return true
		}
	}
	return false
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
