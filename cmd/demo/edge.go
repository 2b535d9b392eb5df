package main

import (
	"cmp"
	"crypto/tls"
	"crypto/x509"
	_ "embed"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"text/template"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"

	// What the Caddyfile uses.
	_ "github.com/caddyserver/caddy/v2/modules/standard"

	_ "github.com/caddy-tigergraph/caddy-tigergraph"
	"github.com/caddy-tigergraph/caddy-tigergraph/internal/tgnode"
)

// edgeCaddyfile is the edge's configuration but for the addresses.
//
//go:embed edge.Caddyfile
var edgeCaddyfile string

var edgeTemplate = template.Must(template.New("edge.Caddyfile").Parse(edgeCaddyfile))

// edgeConfig is what the Caddyfile's template is filled with.
type edgeConfig struct {
	Front     *front
	Nodes     []string
	Standby   []string // none, if there is no other cluster
	Control   string
	AccessLog string
	Admin     string // the admin endpoint's address; none if it is off
	Storage   string
}

// statusPath is where the edge's status page is.
const statusPath = "/tigergraph-status"

// StatusPath returns it for the Caddyfile.
func (edgeConfig) StatusPath() string { return statusPath }

// NodeList returns the nodes as the Caddyfile has them.
func (c edgeConfig) NodeList() string { return strings.Join(c.Nodes, " ") }

// StandbyList returns the nodes of the other cluster as the Caddyfile has them.
func (c edgeConfig) StandbyList() string { return strings.Join(c.Standby, " ") }

// StandbyName returns what the other cluster is called.
func (edgeConfig) StandbyName() string { return standby }

// AdminAddress returns what stands behind the option "admin".
func (c edgeConfig) AdminAddress() string { return cmp.Or(c.Admin, "off") }

func (c edgeConfig) caddyfile() string {
	var b strings.Builder
	if err := edgeTemplate.Execute(&b, c); err != nil {
		panic(err) // the template is embedded, and a strings.Builder never fails
	}
	return b.String()
}

// startEdge runs Caddy in this process. When it returns, the edge serves.
func startEdge(config edgeConfig) error {
	adapted, warnings, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(config.caddyfile()), map[string]any{"filename": "edge.Caddyfile"})
	if err != nil {
		return fmt.Errorf("adapting the edge's Caddyfile: %w", err)
	}
	for _, warning := range warnings {
		return fmt.Errorf("adapting the edge's Caddyfile: %s", warning)
	}
	if err := caddy.Load(adapted, true); err != nil {
		return fmt.Errorf("starting the edge: %w", err)
	}
	if err := awaitCertificates(config); err != nil {
		return errors.Join(fmt.Errorf("waiting for the edge's certificates: %w", err), stopEdge())
	}
	return nil
}

// awaitCertificates returns when the edge has its certificates, which its CA
// makes after Caddy has started. An interrupt does not cut this short: it takes
// milliseconds, and a certificate stored after the clean-up would stay behind.
func awaitCertificates(config edgeConfig) error {
	roots, err := config.authorities()
	if err != nil {
		return err
	}
	deadline := time.Now().Add(time.Minute)
	dialer := &net.Dialer{Deadline: deadline}
	for _, name := range config.Front.names() {
		address := config.Front.addresses[0] // where localhost is
		if name != localhost {
			address = name // Caddy tells IP addresses apart by where the client connects
		}
		address = net.JoinHostPort(address, strconv.Itoa(config.Front.port))
		for {
			conn, err := tls.DialWithDialer(dialer, "tcp", address, &tls.Config{RootCAs: roots, ServerName: name, MinVersion: tls.VersionTLS12})
			if err == nil {
				_ = conn.Close()
				break
			}
			if time.Now().After(deadline) {
				return fmt.Errorf("certificate of %s: %w", name, err)
			}
			time.Sleep(10 * time.Millisecond)
		}
	}
	return nil
}

// authorities returns the edge's own, which exists once Caddy has started.
func (c edgeConfig) authorities() (*x509.CertPool, error) {
	root, err := os.ReadFile(filepath.Join(c.Storage, "pki", "authorities", "local", "root.crt"))
	if err != nil {
		return nil, err
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(root)
	return roots, nil
}

func stopEdge() error {
	if err := caddy.Stop(); err != nil {
		return fmt.Errorf("stopping the edge: %w", err)
	}
	return nil
}

const localhost = "localhost"

// front is where the edge listens.
type front struct {
	host      string // as the user wrote it
	addresses []string
	port      int
	release   func() // gives the reserved port up
}

// url returns what to type into a browser.
func (f *front) url() string { return "https://" + f.authority() }

// authority returns host and port.
func (f *front) authority() string { return net.JoinHostPort(f.host, strconv.Itoa(f.port)) }

// Bind returns the addresses as the Caddyfile has them.
func (f *front) Bind() string {
	var hosts []string
	for _, address := range f.addresses {
		hosts = append(hosts, bracketed(address))
	}
	return strings.Join(hosts, " ")
}

// Sites returns the addresses of the Caddyfile's site. Caddy answers to no other
// name, so that no foreign domain can be pointed at the demo.
func (f *front) Sites() string {
	var sites []string
	for _, name := range f.names() {
		sites = append(sites, fmt.Sprintf("https://%s:%d", bracketed(name), f.port))
	}
	return strings.Join(sites, ", ")
}

// names returns what the edge has certificates for.
func (f *front) names() []string { return append([]string{localhost}, f.addresses...) }

func bracketed(address string) string {
	if strings.Contains(address, ":") {
		return "[" + address + "]"
	}
	return address
}

// reserve takes the port for the edge. Caddy itself would not complain about
// one in use: its listeners share a port, so that reloads can overlap.
func reserve(listen string) (*front, error) {
	host, portText, err := net.SplitHostPort(listen)
	if err != nil {
		return nil, fmt.Errorf("-listen %s: want host:port, as in %s", listen, defaultListen)
	}
	port, err := strconv.ParseUint(portText, 10, 16)
	if err != nil {
		return nil, fmt.Errorf("-listen %s: %q is not the number of a port", listen, portText)
	}
	f := &front{host: host, port: int(port)}
	if f.port == 0 { // It must be one that no outgoing connection gets before Caddy listens there.
		free, err := tgnode.FreeAddress()
		if err != nil {
			return nil, err
		}
		_, portText, _ = net.SplitHostPort(free)
		f.port, _ = strconv.Atoi(portText)
	}
	if host == localhost {
		f.addresses = []string{"127.0.0.1", "::1"}
	} else {
		// Whoever reaches the demo can stop its nodes.
		ip, err := netip.ParseAddr(host)
		if err != nil || !ip.IsLoopback() {
			return nil, fmt.Errorf("-listen %s: the demo listens on this machine only: localhost, 127.0.0.1 or [::1]", listen)
		}
		f.addresses = []string{ip.Unmap().String()}
	}

	var listeners []net.Listener
	f.release = sync.OnceFunc(func() {
		for _, listener := range listeners {
			_ = listener.Close()
		}
	})
	var usable []string
	for _, address := range f.addresses {
		listener, err := net.Listen("tcp", net.JoinHostPort(address, strconv.Itoa(f.port)))
		switch {
		case errors.Is(err, syscall.EADDRINUSE):
			f.release()
			return nil, fmt.Errorf("%s is in use; stop what listens there or choose another address with -listen %s",
				listen, net.JoinHostPort(host, strconv.Itoa(otherPort(f.port))))
		case err != nil && len(usable) > 0:
			continue // localhost is 127.0.0.1 alone where there is no IPv6
		case err != nil:
			return nil, fmt.Errorf("listening on %s: %w", listen, err)
		}
		listeners = append(listeners, listener)
		usable = append(usable, address)
		f.port = listener.Addr().(*net.TCPAddr).Port
	}
	f.addresses = usable
	return f, nil
}

// otherPort suggests another port than the one in use.
func otherPort(port int) int {
	if port+1000 > 65535 {
		return port - 1000
	}
	return port + 1000
}
