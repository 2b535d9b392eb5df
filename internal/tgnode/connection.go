package tgnode

import (
	"bufio"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"time"
)

// connection serves one client connection, in one goroutine.
type connection struct {
	node    *Node
	machine *machine
	tcp     *net.TCPConn
	conn    net.Conn // tcp, or TLS over it
	number  int64
	reader  *bufio.Reader

	head    []byte
	request request
	served  int      // requests, the present one included
	options *Options // as they are for the present request

	out       []byte // what is to be written
	keepAlive bool   // the present answer says so
	slow      *Fault // slows down the body of the present answer
	chunked   bool   // the present answer is a stream in chunks
	executed  bool   // the present request is in the ledger
	broken    bool   // to be closed
}

func serve(m *machine, tcp *net.TCPConn, number int64) {
	c := &connection{node: m.node, machine: m, tcp: tcp, conn: tcp, number: number}
	c.options = c.node.options.Load()
	if !m.node.freezer.wait(m.off) {
		return
	}
	if c.options.TLS != nil && !c.handshake() {
		return
	}
	c.reader = bufio.NewReaderSize(c.conn, maxLine)
	for !c.broken && c.serveRequest() {
	}
	// The connection ends here without a reset, whatever TLS has to say.
	_ = c.conn.Close()
}

// handshake puts TLS on the connection, unless the client speaks plain HTTP.
func (c *connection) handshake() bool {
	_ = c.tcp.SetReadDeadline(time.Now().Add(c.options.IdleTimeout)) // fails only if closed
	var first [1]byte
	if _, err := io.ReadFull(c.tcp, first[:]); err != nil {
		return false
	}
	plain := &prefixedConn{Conn: c.tcp, prefix: first[:]}
	const recordTypeHandshake = 0x16
	if first[0] != recordTypeHandshake {
		c.reader = bufio.NewReaderSize(plain, maxLine)
		if _, err := readHead(c.reader, nil); err == nil {
			c.refuse(errPlainHTTP)
		}
		return false
	}
	conn := tls.Server(plain, c.options.TLS)
	if err := conn.Handshake(); err != nil {
		return false
	}
	c.conn = conn
	return true
}

// prefixedConn gives back what was read ahead.
type prefixedConn struct {
	net.Conn
	prefix []byte
}

func (p *prefixedConn) Read(b []byte) (int, error) {
	if len(p.prefix) > 0 {
		n := copy(b, p.prefix)
		p.prefix = p.prefix[n:]
		return n, nil
	}
	return p.Conn.Read(b)
}

// serveRequest reads and answers one request. It returns false if the
// connection is to be closed.
func (c *connection) serveRequest() bool {
	c.options = c.node.options.Load()
	if c.reader.Buffered() == 0 {
		_ = c.conn.SetReadDeadline(time.Now().Add(c.options.IdleTimeout)) // fails only if closed
		if _, err := c.reader.Peek(1); err != nil {
			return false
		}
	}
	if !c.node.freezer.wait(c.machine.off) {
		return false
	}
	c.options = c.node.options.Load()
	c.served++
	c.slow, c.chunked, c.executed, c.keepAlive = nil, false, false, false
	var err error
	c.head, err = readHead(c.reader, c.head[:0])
	if err == nil {
		err = c.request.parse(string(c.head))
	}
	if err == nil && c.request.contentLength > c.options.MaxBody {
		err = errBodyTooLarge
	}
	if err != nil {
		return c.refuse(err)
	}
	c.keepAlive = c.request.keepAlive && c.served < c.options.MaxRequests
	c.route()
	fault := c.node.faultFor(c.request.service, c.request.path, c.served > 1)
	if fault != nil && fault.Mode == CloseIdle {
		return false
	}
	c.node.arrived(c, c.options)
	if fault != nil && fault.Mode == ResetEarly {
		c.reset()
		return false
	}
	if err := c.readBody(); err != nil {
		return c.refuse(err)
	}
	c.answer(fault)
	return !c.broken && c.keepAlive
}

// refuse answers a request that nginx does not pass on.
func (c *connection) refuse(err error) bool {
	var refusal *httpError
	if !errors.As(err, &refusal) {
		return false
	}
	c.keepAlive = false
	c.nginxError(refusal.status, refusal.detail)
	// The client may still be writing: read on for a while, since closing
	// with unread data would reset the connection and lose the answer.
	if closer, ok := c.conn.(interface{ CloseWrite() error }); ok && closer.CloseWrite() == nil {
		_ = c.conn.SetReadDeadline(time.Now().Add(5 * time.Second)) // fails only if closed
		_, _ = io.Copy(io.Discard, c.reader)
	}
	return false
}

func (c *connection) readBody() error {
	if c.request.contentLength == 0 && !c.request.chunked {
		return nil
	}
	_ = c.conn.SetReadDeadline(time.Time{}) // fails only if closed
	if c.request.expectContinue {
		c.out = append(c.out, "HTTP/1.1 100 Continue\r\n\r\n"...)
		c.flush()
	}
	return c.request.readBody(c.reader, c.options.MaxBody)
}

// execute enters the request into the ledger, once. It returns false if nobody
// can do the work: GSQL has no leader.
func (c *connection) execute() bool {
	if c.request.kind == Read || c.executed {
		return true
	}
	executor := c.request.backend
	if c.request.service == GSQL {
		if executor = c.node.cluster.gsqlExecutor(); executor == nil {
			return false
		}
	}
	c.executed = true
	c.journal(c.request.kind)
	ledger := c.node.cluster.ledger
	if c.options.NoRecord {
		ledger.total.Add(1)
		return true
	}
	ledger.add(Execution{
		Kind:      c.request.kind,
		Node:      executor.name,
		Service:   c.request.service,
		Marker:    c.request.marker(),
		Method:    c.request.method,
		Target:    c.request.target,
		BodyBytes: c.request.bodyBytes,
		Time:      time.Now(),
	})
	return true
}

func (c *connection) peer() string { return c.tcp.RemoteAddr().String() }

// reset ends the connection with a TCP reset.
func (c *connection) reset() {
	abort(c.tcp)
	c.broken = true
}

// pause waits. It returns false at once if the client goes away or the machine
// is switched off.
func (c *connection) pause(d time.Duration) bool {
	if d <= 0 {
		return true
	}
	end := time.Now().Add(d)
	if c.conn.SetReadDeadline(end) != nil {
		return false
	}
	_, err := c.reader.Peek(1)
	if err != nil {
		return errors.Is(err, os.ErrDeadlineExceeded)
	}
	// The next request is there already, so the client cannot be watched.
	timer := time.NewTimer(time.Until(end))
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-c.machine.off:
		return false
	}
}

// untilClientGone stays silent until the client gives up.
func (c *connection) untilClientGone() {
	_ = c.conn.SetReadDeadline(time.Time{}) // fails only if closed
	_, _ = io.Copy(io.Discard, c.reader)
	c.broken = true
}

// await waits for a value. It returns false at once if the client goes away or
// the machine is switched off.
func (c *connection) await(values <-chan string) (string, bool) {
	_ = c.conn.SetReadDeadline(time.Time{}) // fails only if closed
	gone := make(chan struct{})
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		if _, err := c.reader.Peek(1); err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
			close(gone)
		}
	}()
	defer func() {
		_ = c.conn.SetReadDeadline(time.Unix(1, 0)) // ends Peek
		<-watched
	}()
	select {
	case v, ok := <-values:
		return v, ok
	case <-gone:
		return "", false
	case <-c.machine.off:
		return "", false
	}
}
