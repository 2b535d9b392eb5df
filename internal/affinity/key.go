package affinity

import (
	"net/netip"

	"github.com/cespare/xxhash/v2"
)

// Prefixes are the numbers of leading bits of a client's address that count:
// clients that share them share a node.
type Prefixes struct {
	IPv4, IPv6 int
}

// Key returns the rendezvous key of a client address, with or without a port.
// An IPv4-mapped IPv6 address is the IPv4 address. What is no address is its
// own key, so that clients behind a Unix socket share one.
func (p Prefixes) Key(client string) uint64 {
	address, err := netip.ParseAddr(client)
	if err != nil {
		withPort, err := netip.ParseAddrPort(client)
		if err != nil {
			return ValueKey(client)
		}
		address = withPort.Addr()
	}
	address = address.Unmap()
	if address.Is4() {
		bytes := address.As4()
		mask(bytes[:], p.IPv4)
		return xxhash.Sum64(bytes[:])
	}
	bytes := address.As16()
	mask(bytes[:], p.IPv6)
	return xxhash.Sum64(bytes[:])
}

// ValueKey returns the rendezvous key of any other value that identifies a
// client, such as a header's.
func ValueKey(value string) uint64 {
	return xxhash.Sum64String(value)
}

// mask clears all but the first bits of an address.
func mask(address []byte, bits int) {
	for i := range address {
		switch kept := bits - 8*i; {
		case kept <= 0:
			address[i] = 0
		case kept < 8:
			address[i] &= 0xff << (8 - kept)
		}
	}
}

// HashOf returns a hash of a field's values, 0 if there are none.
func HashOf(values []string) uint64 {
	if len(values) == 0 {
		return 0
	}
	digest := xxhash.New()
	for _, value := range values {
		_, _ = digest.WriteString(value) // which never fails
	}
	return digest.Sum64()
}
