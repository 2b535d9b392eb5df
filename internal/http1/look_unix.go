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
			_, err := syscall.Read(int(fd), one[:])
			if errors.Is(err, syscall.EINTR) {
				continue
			}
			c.quiet = errors.Is(err, syscall.EAGAIN)
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
