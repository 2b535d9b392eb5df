package http1

import (
	"net"
	"syscall"
	"time"
)

// silence is how long the machine of a server may leave unacknowledged what it was
// sent. A machine that lives acknowledges at once, however long its answer takes. For
// one that was switched off or cut off, Linux would wait a quarter of an hour, and the
// request with it.
const silence = 30 * time.Second

// tcpUserTimeout is Linux' TCP_USER_TIMEOUT, which the syscall package does not know.
const tcpUserTimeout = 0x12

// limitSilence ends a connection when the server's machine is gone. Nothing is lost if
// the system does not know how: the connection then ends when the system says so.
func limitSilence(conn net.Conn) {
	socket, ok := conn.(syscall.Conn)
	if !ok {
		return
	}
	raw, err := socket.SyscallConn()
	if err != nil {
		return
	}
	_ = raw.Control(func(fd uintptr) {
		_ = syscall.SetsockoptInt(int(fd), syscall.IPPROTO_TCP, tcpUserTimeout, int(silence.Milliseconds()))
	})
}
