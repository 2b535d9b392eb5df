package http1

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"sync/atomic"
	"syscall"
	"time"
)

// connection is one to a server. It belongs to one request at a time, to the body
// of its answer, or to those that are idle.
type connection struct {
	net.Conn
	client  *Client
	address string
	reader  *bufio.Reader
	abort   func() // closes it
	gone    atomic.Bool
	reused  bool // it was idle, or another request's
	since   time.Time

	raw   syscall.RawConn
	look  func(fd uintptr) bool
	quiet bool // what the last look found
	talks bool // it found a byte

	// Of the request that it serves:
	sending *sending // nil if it was written at once
	sent    bool     // a byte of it was, as far as it was written at once
	heard   bool     // a byte of the answer was
	broken  bool     // writing or reading failed
	header  header
}

func (c *Client) newConnection(dialled net.Conn, address string) *connection {
	conn := &connection{Conn: dialled, client: c, address: address}
	size := c.ReadBuffer
	if size <= 0 {
		size = defaultBuffer
	}
	conn.reader = bufio.NewReaderSize(conn, size)
	conn.abort = conn.close
	conn.prepareToLook()
	limitSilence(conn.raw, true) // what it sends is short
	return conn
}

// close closes the connection, once, and makes room for another.
func (c *connection) close() {
	if c.gone.CompareAndSwap(false, true) {
		_ = c.Close()
		c.client.lost(c.address)
	}
}

// Read receives.
func (c *connection) Read(p []byte) (int, error) {
	p, err := c.header.room(p)
	if err != nil {
		return 0, err
	}
	n, err := c.Conn.Read(p)
	c.heard = c.heard || n > 0
	c.broken = c.broken || err != nil
	if long := c.header.take(p[:n]); long != nil {
		return 0, long
	}
	return n, err
}

// How far the body of an answer was read.
const (
	open int32 = iota
	atEnd
	closed
)

// body is that of an answer. When it was read to its end, its connection may serve
// the next request.
type body struct {
	io.ReadCloser // as Go made it, which is never closed: that might wait for more
	ctx           context.Context
	conn          *connection
	stop          func() bool // has the connection survive the request
	last          bool        // nothing comes after it
	state         atomic.Int32
}

// Read reads from the body.
func (b *body) Read(p []byte) (int, error) {
	switch b.state.Load() {
	case atEnd:
		return 0, io.EOF
	case closed:
		return 0, http.ErrBodyReadAfterClose
	}
	n, err := b.ReadCloser.Read(p)
	switch {
	case err == nil:
	case errors.Is(err, io.EOF):
		b.end(atEnd)
	default:
		b.end(closed)
		if b.ctx.Err() != nil {
			err = context.Cause(b.ctx)
		}
	}
	return n, err
}

// Close lets the connection go, with what is left of the answer. It may be called
// while another goroutine reads.
func (b *body) Close() error {
	b.end(closed)
	return nil
}

// end parts with the connection, once.
func (b *body) end(how int32) {
	if !b.state.CompareAndSwap(open, how) {
		return
	}
	if how == atEnd && b.conn.reader.Buffered() > 0 {
		b.conn.client.suspect(b.conn.address)
	}
	if !b.stop() || how != atEnd || b.last || b.conn.reader.Buffered() > 0 || !b.conn.isSent() {
		b.conn.close()
		return
	}
	b.conn.client.giveBack(b.conn)
}
