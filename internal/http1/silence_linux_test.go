package http1

import (
	"net"
	"syscall"
	"testing"
	"time"
)

// What a test cannot do is switch a machine off; the kernel's part is the kernel's.
func TestAServerWhoseMachineAcknowledgesNothingIsGivenUp(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	dialled, err := net.Dial("tcp", listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	conn := new(Client).newConnection(dialled, listener.Addr().String())
	t.Cleanup(func() { _ = conn.Close() })

	raw, err := dialled.(syscall.Conn).SyscallConn()
	if err != nil {
		t.Fatal(err)
	}
	var limit int
	var failed error
	if err := raw.Control(func(fd uintptr) {
		limit, failed = syscall.GetsockoptInt(int(fd), syscall.IPPROTO_TCP, tcpUserTimeout)
	}); err != nil || failed != nil {
		t.Fatal(err, failed)
	}
	if got := time.Duration(limit) * time.Millisecond; got < 10*time.Second || got > time.Minute {
		t.Errorf("what is sent may stay unacknowledged for %s, want well below the quarter of an hour that Linux waits, and longer than a short break", got)
	}
}
