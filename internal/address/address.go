// Package address reads what people call a node, and says what is dialled: the one
// parser for the nodes of a Caddyfile, options, environment variables, commands and
// calls of the admin endpoint.
package address

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"path"
	"regexp"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

// DefaultPort is that of the nginx in each TigerGraph node.
const DefaultPort = "14240"

// longestRange is how many nodes one range of ports may be: more than anybody has,
// and few enough to be a slip of the pen no more.
const longestRange = 1000

// Address is the address of a node, or of several on one host if it has a range of
// ports.
type Address struct {
	// Scheme is "http", "https" or "h2c", or "" where none was written.
	Scheme string
	// Network is "" for TCP over any protocol, else "tcp4", "tcp6", or one of Unix
	// sockets, such as "unix".
	Network string
	// Host is a name, an IP address without brackets, or the path of a socket.
	Host string
	// Port is a number or a placeholder. It is "" for sockets, and where a
	// placeholder for the host may bring its own port.
	Port string
	// Last is the last port of a range that begins with Port, else "".
	Last string
	// HasPort is whether a port was written.
	HasPort bool
}

// isUnix reports whether a network is one of Unix sockets.
func isUnix(network string) bool {
	switch network {
	case "unix", "unixgram", "unixpacket", "unix+h2c":
		return true
	}
	return false
}

// Parse reads an address: a host with or without a port, a range of ports, a scheme
// or a network, or the path of a Unix socket behind unix/. The port is the default
// one if none is written. Placeholders may stand in it. The errors say what to write
// instead, and never show credentials.
func Parse(text string) (Address, error) {
	masked, placeholders, paired := mask(text)
	if err := checkText(masked, text); err != nil {
		return Address{}, err
	}
	if !paired {
		return Address{}, fmt.Errorf("node '%s' is not an address: it has a brace without its counterpart", text)
	}
	p := parser{text: text, placeholders: placeholders}
	a, err := p.parse(masked)
	if err != nil {
		return Address{}, err
	}
	for _, part := range []*string{&a.Host, &a.Port} {
		*part = p.unmask(*part)
	}
	return a, nil
}

// checkText refuses what is several addresses, or none.
func checkText(masked, text string) error {
	isBlank := func(r rune) bool { return r <= ' ' || unicode.IsSpace(r) }
	list := strings.FieldsFunc(text, func(r rune) bool { return r == ',' || r == ';' || isBlank(r) })
	switch {
	case text == "":
		return errors.New("the address of a node must not be empty")
	case strings.Contains(masked, "@") && !strings.HasPrefix(strings.ToLower(masked), "unix"): // unix/@name is a socket without a file
		return errors.New("the address of a node must have no credentials: write what is behind the '@', and the credentials with header_up")
	case len(list) == 0, !utf8.ValidString(text), strings.ContainsFunc(text, isMask):
		return fmt.Errorf("node %q is not an address", text)
	case strings.ContainsAny(masked, ",;"):
		return fmt.Errorf("node '%s' is not an address: nodes are separated by blanks alone, so write '%s'", text, strings.Join(list, " "))
	case strings.ContainsFunc(masked, isBlank):
		return fmt.Errorf("node %q is not an address: there are blanks in it; write each node as a word of its own, as in 'm1 m2'", text)
	}
	return nil
}

// Placeholders are read as one letter each, out of those that Unicode leaves to
// everybody's own use.
const (
	firstMask = '\uE000'
	lastMask  = '\uE0FF'
)

// mask replaces placeholders by letters. Braces that do not pair are left.
func mask(text string) (masked string, placeholders []string, ok bool) {
	var out strings.Builder
	for text != "" {
		begin := strings.IndexAny(text, "{}")
		if begin < 0 {
			break
		}
		end := strings.IndexAny(text[begin+1:], "{}")
		if text[begin] == '}' || end < 0 || text[begin+1+end] == '{' || len(placeholders) > lastMask-firstMask {
			out.WriteString(text)
			return out.String(), placeholders, false
		}
		out.WriteString(text[:begin])
		out.WriteRune(firstMask + rune(len(placeholders))) //nolint:gosec // there are no more than masks
		placeholders = append(placeholders, text[begin:begin+end+2])
		text = text[begin+end+2:]
	}
	out.WriteString(text)
	return out.String(), placeholders, true
}

func isMask(r rune) bool { return r >= firstMask && r <= lastMask }

// parser reads one address, whose placeholders are masked.
type parser struct {
	text         string // as it was written
	placeholders []string
}

func (p *parser) unmask(text string) string {
	for i, placeholder := range p.placeholders {
		text = strings.ReplaceAll(text, string(firstMask+rune(i)), placeholder)
	}
	return text
}

// errorf makes an error that shows the address as it was written.
func (p *parser) errorf(format string, arguments ...any) error {
	for i, argument := range arguments {
		if part, isText := argument.(string); isText {
			arguments[i] = p.unmask(part)
		}
	}
	return fmt.Errorf("node '%s' "+format, append([]any{p.text}, arguments...)...)
}

func (p *parser) parse(rest string) (a Address, err error) {
	scheme, behind, found := strings.Cut(rest, "://")
	if found {
		a.Scheme, rest = strings.ToLower(scheme), behind
		switch a.Scheme {
		case "http", "https", "h2c":
		case "ws":
			return a, p.errorf("must not begin with ws://: write http://, which serves WebSockets too")
		case "wss":
			return a, p.errorf("must not begin with wss://: write https://, which serves WebSockets too")
		default:
			return a, p.errorf("has an unsupported scheme: write https://, or none")
		}
	} else if network, behind, found := strings.Cut(rest, "/"); found {
		switch network = strings.ToLower(network); {
		case isUnix(network):
			if behind == "" {
				return a, p.errorf("is not an address: write the path of its socket, as in unix//run/tigergraph.sock")
			}
			a.Network, a.Host = network, behind
			return a, nil
		case network == "tcp":
			rest = behind
		case network == "tcp4", network == "tcp6":
			a.Network, rest = network, behind
		case network == "udp", network == "udp4", network == "udp6", network == "fd", network == "fdgram":
			return a, p.errorf("cannot be dialled by %s: write the host alone", network)
		}
	}
	if end := strings.IndexAny(rest, "/?#"); end >= 0 {
		prefix := ""
		if a.Scheme != "" {
			prefix = a.Scheme + "://"
		}
		if end == 0 {
			return a, p.errorf("is not an address: it has no host")
		}
		return a, p.errorf("must have no path: write '%s', and change paths with the rewrite directive", prefix+rest[:end])
	}
	host, port, err := p.split(rest)
	if err != nil {
		return a, err
	}
	if a.Host, err = p.host(host); err != nil {
		return a, err
	}
	a.HasPort = port != ""
	if port == "" && !p.mayBringPort(host) {
		port = DefaultPort
	}
	a.Port, a.Last, err = p.port(port)
	return a, err
}

// mayBringPort reports whether the value of a placeholder at the end of a host may
// end with a port.
func (p *parser) mayBringPort(host string) bool {
	last, _ := utf8.DecodeLastRuneInString(host)
	return isMask(last)
}

// split takes host and port apart.
func (p *parser) split(rest string) (host, port string, err error) {
	brackets := p.errorf("is not an address: write brackets around an IPv6 address alone, such as [fd00::1]:%s", DefaultPort)
	if strings.ContainsAny(rest, "[]") {
		inside, behind, closed := strings.Cut(strings.TrimPrefix(rest, "["), "]")
		if rest[0] != '[' || !closed || strings.ContainsAny(inside+behind, "[]") || behind != "" && behind[0] != ':' || !strings.Contains(inside, ":") {
			return "", "", brackets
		}
		host, port = inside, behind
	} else if strings.Count(rest, ":") > 1 {
		return rest, "", nil // an IPv6 address without a port, or nothing
	} else if colon := strings.IndexByte(rest, ':'); colon >= 0 {
		host, port = rest[:colon], rest[colon:]
	} else {
		return rest, "", nil
	}
	switch {
	case host == "" && port != ":":
		return "", "", p.errorf("has no host: write 'localhost%s' if it is this machine", port)
	case port == ":":
		return "", "", p.errorf("has a colon, but no port behind it: write '%s', or a port", strings.TrimSuffix(p.text, ":"))
	}
	return host, strings.TrimPrefix(port, ":"), nil
}

// label is a part of a host's name.
var label = regexp.MustCompile(`^[\pL\pN_\x{E000}-\x{E0FF}]([\pL\pM\pN_\x{E000}-\x{E0FF}-]*[\pL\pM\pN_\x{E000}-\x{E0FF}])?$`)

// host checks a host, and writes it in small letters.
func (p *parser) host(host string) (string, error) {
	if host == "" {
		return "", p.errorf("is not an address: it has no host")
	}
	if strings.Contains(host, ":") {
		// In a URL the zone begins with %25.
		parsed, err := netip.ParseAddr(strings.Replace(host, "%25", "%", 1))
		if err != nil {
			return "", p.errorf("is not an address: '%s' is not an IPv6 address, and a port is a number", host)
		}
		return parsed.String(), nil
	}
	name := strings.TrimSuffix(host, ".")
	labels := strings.Split(name, ".")
	numbers := true
	for _, one := range labels {
		if !label.MatchString(one) || len(one) > 63 && len(p.placeholders) == 0 {
			return "", p.errorf("is not an address: '%s' is not the name of a host", host)
		}
		numbers = numbers && strings.Trim(one, "0123456789") == ""
	}
	if _, err := netip.ParseAddr(name); numbers && len(labels) > 1 && err != nil || len(name) > 253 {
		return "", p.errorf("is not an address: '%s' is neither an IP address nor the name of a host", host)
	}
	return strings.ToLower(host), nil
}

// port checks a port or a range of ports.
func (p *parser) port(text string) (first, last string, err error) {
	if text == "" || strings.ContainsFunc(text, isMask) {
		return text, "", nil
	}
	first, last, isRange := strings.Cut(text, "-")
	from, ok := number(first)
	if !ok {
		return "", "", p.errorf("has no valid port: it must be a number from 1 to 65535, not '%s'", first)
	}
	if !isRange {
		return strconv.Itoa(from), "", nil
	}
	to, ok := number(last)
	switch {
	case !ok:
		return "", "", p.errorf("has no valid port: it must be a number from 1 to 65535, not '%s'", last)
	case to < from:
		return "", "", p.errorf("has a range of ports that ends before it begins: write '%s-%s'", last, first)
	case to-from >= longestRange:
		return "", "", p.errorf("has a range of %s ports, and may have %s", strconv.Itoa(to-from+1), strconv.Itoa(longestRange))
	}
	return strconv.Itoa(from), strconv.Itoa(to), nil
}

// number reads a port, without sign or blanks.
func number(text string) (int, bool) {
	port, err := strconv.ParseUint(text, 10, 16)
	return int(port), err == nil && port > 0
}

// Expand returns the addresses of a range of ports one by one.
func (a Address) Expand() []Address {
	if a.Last == "" {
		return []Address{a}
	}
	from, _ := number(a.Port)
	to, _ := number(a.Last)
	var all []Address
	for port := from; port <= to; port++ {
		one := a
		one.Port, one.Last = strconv.Itoa(port), ""
		all = append(all, one)
	}
	return all
}

// Dial returns what is dialled, as an upstream of Caddy has it: the scheme is the
// transport's affair.
func (a Address) Dial() string {
	if isUnix(a.Network) {
		return a.Network + "/" + a.Host
	}
	dial := a.Host
	if a.Port != "" {
		port := a.Port
		if a.Last != "" {
			port += "-" + a.Last
		}
		dial = net.JoinHostPort(a.Host, port)
	}
	if a.Network != "" {
		dial = a.Network + "/" + dial
	}
	return dial
}

// String returns the address with its scheme, as a proxy's configuration has it.
func (a Address) String() string {
	if a.Scheme == "" {
		return a.Dial()
	}
	if strings.Contains(a.Host, ":") {
		a.Host = strings.Replace(a.Host, "%", "%25", 1) // as in a URL
	}
	return a.Scheme + "://" + a.Dial()
}

// key is the same for all ways to write one node.
func (a Address) key() string {
	if isUnix(a.Network) {
		return "unix/" + path.Clean(a.Host)
	}
	return net.JoinHostPort(a.hostKey(), a.Port)
}

func (a Address) hostKey() string {
	if parsed, err := netip.ParseAddr(a.Host); err == nil {
		return parsed.Unmap().String()
	}
	return strings.TrimSuffix(a.Host, ".")
}

// SameAs reports whether two addresses are those of one node.
func (a Address) SameAs(other Address) bool { return a.key() == other.key() }
