package tgnode

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"syscall"
)

// reservePort binds a port without listening on it: connections are refused,
// and the kernel gives the port to nobody else, while a listener with
// SO_REUSEADDR (Go's always have it) can still take it.
func reservePort(addr string) (release func(), err error) {
	ap, err := netip.ParseAddrPort(addr)
	if err != nil {
		return nil, fmt.Errorf("reserving %s: %w", addr, err)
	}
	family := syscall.AF_INET
	var to syscall.Sockaddr
	if ap.Addr().Is4() {
		to = &syscall.SockaddrInet4{Port: int(ap.Port()), Addr: ap.Addr().As4()}
	} else {
		family, to = syscall.AF_INET6, &syscall.SockaddrInet6{Port: int(ap.Port()), Addr: ap.Addr().As16()}
	}
	fd, err := syscall.Socket(family, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, os.NewSyscallError("socket", err)
	}
	release = func() { _ = syscall.Close(fd) }
	if err := syscall.SetsockoptInt(fd, syscall.SOL_SOCKET, syscall.SO_REUSEADDR, 1); err != nil {
		release()
		return nil, os.NewSyscallError("setsockopt", err)
	}
	if err := syscall.Bind(fd, to); err != nil {
		release()
		return nil, os.NewSyscallError("bind", err)
	}
	return release, nil
}

// setBacklog changes how many connections may wait to be accepted; Linux
// permits it on a socket that listens already.
func setBacklog(listener *net.TCPListener, backlog int) error {
	raw, err := listener.SyscallConn()
	if err != nil {
		return err
	}
	var failure error
	if err := raw.Control(func(fd uintptr) { failure = syscall.Listen(int(fd), backlog) }); err != nil {
		return err
	}
	return os.NewSyscallError("listen", failure)
}
