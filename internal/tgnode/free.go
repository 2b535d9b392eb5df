package tgnode

import (
	"errors"
	"math/rand/v2"
	"net"
	"runtime"
	"strconv"
	"sync"
	"syscall"
)

// FreeAddress returns a port of 127.0.0.1 that nothing listens on, for another
// process or for Caddy, which listens on all addresses. No caller gets one that another
// got who is still there. It is none of those that the
// system gives to outgoing connections, one of which might be using it by then.
func FreeAddress() (string, error) {
	for range 1000 {
		port := strconv.Itoa(10_000 + rand.IntN(20_000))
		claimed, err := claim(port)
		if err != nil {
			return "", err
		}
		if !claimed {
			continue
		}
		if listener, err := net.Listen("tcp", ":"+port); err == nil {
			_ = listener.Close()
			return net.JoinHostPort("127.0.0.1", port), nil
		}
	}
	return "", errors.New("no port is free")
}

// claims are what this process has claimed, until it ends.
var claims struct {
	mu   sync.Mutex
	held []net.Listener
}

// claim takes a port for this caller, while the process lives, and reports whether nobody
// else has it: Caddy shares a port with whoever else listens there, so two edges would get
// each other's requests. Only Linux has names of sockets that end with a process; elsewhere
// nobody knows who has what.
func claim(port string) (bool, error) {
	if runtime.GOOS != "linux" {
		return true, nil
	}
	held, err := net.Listen("unix", "@a-port-for-tests-"+port)
	if errors.Is(err, syscall.EADDRINUSE) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	claims.mu.Lock()
	defer claims.mu.Unlock()
	claims.held = append(claims.held, held)
	return true, nil
}
