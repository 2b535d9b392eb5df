package tgnode

import (
	"errors"
	"math/rand/v2"
	"net"
	"runtime"
	"strconv"
	"sync"
)

// FreeAddress returns a port of 127.0.0.1 that nothing listens on, for another
// process or for Caddy, which listens on all addresses. It is none of those that the
// system gives to outgoing connections, one of which might be using it by then.
func FreeAddress() (string, error) {
	for range 1000 {
		port := strconv.Itoa(10_000 + rand.IntN(20_000))
		listener, err := net.Listen("tcp", ":"+port)
		if err != nil {
			continue
		}
		_ = listener.Close()
		if claim(port) {
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

// claim reports whether no other caller, of any process, was given a port. Caddy shares
// one with whoever else listens on it, so two edges would get each other's requests.
func claim(port string) bool {
	if runtime.GOOS != "linux" { // which alone has names of sockets that end with the process
		return true
	}
	held, err := net.Listen("unix", "@a-port-for-tests-"+port)
	if err != nil {
		return false
	}
	claims.mu.Lock()
	defer claims.mu.Unlock()
	claims.held = append(claims.held, held)
	return true
}
