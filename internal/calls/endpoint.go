package calls

import (
	"errors"
	"net"
	"strings"
)

// defaultPort is that of the admin endpoint where nobody says otherwise.
const defaultPort = "2019"

// Endpoint returns the address of the admin endpoint as Caddy understands it, from what
// people write: as a URL, without a host or without a port. What is no such thing, a
// socket for instance, stays as it is.
func Endpoint(address string) (string, error) {
	if strings.HasPrefix(address, "https://") {
		return "", errors.New("the admin endpoint speaks plain HTTP: leave https:// out")
	}
	address = strings.TrimPrefix(address, "http://")
	if address == "" || strings.Contains(strings.TrimRight(address, "/"), "/") {
		return address, nil
	}
	address = strings.TrimRight(address, "/")
	host, port, err := net.SplitHostPort(address)
	switch {
	case err == nil && host == "":
		return net.JoinHostPort("localhost", port), nil
	case err != nil && net.ParseIP(address) == nil && strings.Contains(address, ":") && !strings.HasPrefix(address, "["):
		return address, nil
	case err != nil:
		return net.JoinHostPort(strings.Trim(address, "[]"), defaultPort), nil
	}
	return address, nil
}
