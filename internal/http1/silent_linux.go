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

// limitSilence has the connection break when the machine at its other end is silent, or
// takes away that bound. With it, a server must also take what has no room in its
// machine's memory, within the same time.
func limitSilence(raw syscall.RawConn, limited bool) {
	if raw == nil {
		return
	}
	most := 0 // the system's own bound
	if limited {
		most = int(mostSilence / time.Millisecond)
	}
	// Where that cannot be set, the system's own bounds remain.
	_ = raw.Control(func(fd uintptr) {
		_ = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_USER_TIMEOUT, most)
	})
}
