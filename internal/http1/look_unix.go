//go:build unix

package http1

import (
	"errors"
	"syscall"
)

// Supported is whether idle connections can be looked at. Without that too many
// requests would be sent on connections that the server has closed.
const Supported = true

// prepareToLook is apart so that looking allocates nothing.
func (c *connection) prepareToLook() {
	socket, ok := c.Conn.(syscall.Conn)
	if !ok {
		return
	}
	raw, err := socket.SyscallConn()
	if err != nil {
		return
	}
	var one [1]byte
	c.raw = raw
	c.look = func(fd uintptr) bool {
		for {
			n, err := syscall.Read(int(fd), one[:])
			if errors.Is(err, syscall.EINTR) {
				continue
			}
			c.quiet, c.talks = errors.Is(err, syscall.EAGAIN), n > 0
			return true
		}
	}
}

// isQuiet reports whether an idle connection is as it was left: the server neither
// closed it nor said anything that belongs to no request. A byte that is read is
// lost, and the connection with it.
func (c *connection) isQuiet() bool {
	if c.raw == nil { // nobody can tell
		return false
	}
	c.quiet = false
	return c.raw.Read(c.look) == nil && c.quiet
}

// look reports whether there is something to read, or the end, and leaves it there.
// Another goroutine may wait for it.
func look(raw syscall.RawConn) (something, end bool) {
	if raw == nil {
		return false, false
	}
	err := raw.Control(func(fd uintptr) {
		var first [64]byte
		n, _, err := syscall.Recvfrom(int(fd), first[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		something = n > 0 && !endsInAlert(first[:n])
		end = !something && !errors.Is(err, syscall.EAGAIN) && !errors.Is(err, syscall.EINTR)
	})
	return something, end || err != nil
}

// prepareToReceive is apart so that receiving allocates nothing.
func (g *Guard) prepareToReceive() {
	if g.raw == nil {
		return
	}
	g.receive = func(fd uintptr) bool {
		g.mu.Lock()
		defer g.mu.Unlock()
		n, err := syscall.Read(int(fd), g.into)
		for errors.Is(err, syscall.EINTR) {
			n, err = syscall.Read(int(fd), g.into)
		}
		if errors.Is(err, syscall.EAGAIN) {
			g.waits = true
			g.changed.Broadcast()
			return false
		}
		g.received(max(n, 0), err)
		return true
	}
}
