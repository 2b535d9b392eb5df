package http1

import (
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// mostSilence is how long the machine of a server may acknowledge nothing, neither what
// it was sent nor TCP's keep-alive probes, until its connection breaks. The system does
// that for a machine whose services are merely busy; one that is silent is switched off,
// or cut off. Linux by itself waits for a quarter of an hour. A minute is what nginx and
// HAProxy wait for an answer.
const mostSilence = time.Minute

// limitSilence has the connection break when the machine at its other end is silent.
func limitSilence(raw syscall.RawConn) {
	if raw == nil {
		return
	}
	// Where that cannot be set, the system's own bounds remain.
	_ = raw.Control(func(fd uintptr) {
		_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, int(mostSilence/time.Millisecond))
	})
}
