package tgnode

import (
	"errors"
	"math/rand/v2"
	"net"
	"strconv"
)

// FreeAddress returns a port of 127.0.0.1 that nothing listens on, for another
// process or for Caddy, which listens on all addresses. It is none of those that the
// system gives to outgoing connections, one of which might be using it by then.
func FreeAddress() (string, error) {
	for range 1000 {
		port := strconv.Itoa(10_000 + rand.IntN(20_000))
		if listener, err := net.Listen("tcp", ":"+port); err == nil {
			_ = listener.Close()
			return net.JoinHostPort("127.0.0.1", port), nil
		}
	}
	return "", errors.New("no port is free")
}
