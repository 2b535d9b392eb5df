package command

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
	"github.com/caddyserver/caddy/v2/modules/caddytls"
	"github.com/spf13/cobra"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/address"
	"github.com/caddy-tigergraph/caddy-tigergraph/internal/console"
	"github.com/caddy-tigergraph/caddy-tigergraph/internal/health"
	"github.com/caddy-tigergraph/caddy-tigergraph/internal/service"
)

func checkCommand(nodes Nodes) *cobra.Command {
	command := &cobra.Command{
		Use:   "check <nodes...> [--timeout <duration>] [--cacert <file>] [--cert <file> --key <file>] [--server-name <name>] [--insecure] [--json]",
		Short: "Probes the services of nodes directly, without a server",
		Long: `
Asks each service of each node what the health checks ask, and says what to do
about each that fails. A node is a host with or without a port (default 14240),
with https:// before it if it speaks TLS. Nodes are separated by blanks.`,
		Args: arguments(someNodes),
		RunE: runner(func(out *console.Printer, flags caddycmd.Flags, arguments []string) (int, error) {
			findings, err := checkNodes(nodes, arguments, flags.Duration("timeout"), certificates{
				authority: flags.String("cacert"), certificate: flags.String("cert"), key: flags.String("key"),
				serverName: flags.String("server-name"), insecure: flags.Bool("insecure"),
			})
			if err != nil {
				return exitCannotTell, err
			}
			if flags.Bool("json") {
				encoded, err := json.MarshalIndent(findings, "", "\t")
				if err != nil {
					return exitCannotTell, fmt.Errorf("encoding the findings: %w", err)
				}
				out.Print("%s\n", encoded)
			} else {
				out.Findings(findings)
			}
			for _, finding := range findings {
				if !finding.Passed && !finding.Unknown {
					return exitDown, nil
				}
			}
			return exitFine, nil
		}),
	}
	command.Flags().DurationP("timeout", "", 2*time.Second, "How long each probe may take")
	command.Flags().StringP("cacert", "", "", "A file with the authorities that the nodes' certificates must come from, instead of the system's")
	command.Flags().StringP("cert", "", "", "A file with the client certificate that the nodes ask for (mTLS)")
	command.Flags().StringP("key", "", "", "A file with its key")
	command.Flags().StringP("server-name", "", "", "The name that the nodes' certificates must have, instead of the host's")
	command.Flags().BoolP("insecure", "", false, "Do not verify the nodes' certificates")
	command.Flags().BoolP("json", "", false, "Print JSON")
	return command
}

// someNodes is the rule for a command that takes nodes.
func someNodes(command *cobra.Command, arguments []string) error {
	if len(arguments) == 0 {
		return fmt.Errorf("%s needs the nodes, as in '%s m1 m2 m3'", command.Name(), command.CommandPath())
	}
	return nil
}

// certificates are the settings for nodes that speak TLS.
type certificates struct {
	authority, certificate, key, serverName string
	insecure                                bool
}

// given reports whether there are any that need TLS to mean something.
func (c *certificates) given() bool { return *c != certificates{insecure: c.insecure} }

// config returns the settings as the transport has them.
func (c *certificates) config() (*reverseproxy.TLSConfig, error) {
	if (c.certificate == "") != (c.key == "") {
		return nil, errors.New("--cert and --key go together")
	}
	config := &reverseproxy.TLSConfig{
		ClientCertificateFile: c.certificate, ClientCertificateKeyFile: c.key, ServerName: c.serverName, InsecureSkipVerify: c.insecure,
	}
	if c.authority != "" {
		// Caddy would take a file without any for an authority that nothing comes from.
		content, err := os.ReadFile(c.authority)
		if err != nil {
			return nil, fmt.Errorf("--cacert: %w", err)
		}
		if !x509.NewCertPool().AppendCertsFromPEM(content) {
			return nil, fmt.Errorf("--cacert: there is no certificate in %s, or none in PEM", c.authority)
		}
		config.CARaw = caddyconfig.JSONModuleObject(caddytls.FileCAPool{TrustedCACertPEMFiles: []string{c.authority}}, "provider", "file", nil)
	}
	return config, nil
}

// target is a node that is checked.
type target struct {
	name      string // as it is shown
	info      reverseproxy.DialInfo
	transport *reverseproxy.HTTPTransport
}

// findTargets returns the nodes to check.
func findTargets(ctx caddy.Context, nodes Nodes, given []string, settings certificates) (targets []target, err error) {
	config, err := settings.config()
	if err != nil {
		return nil, err
	}
	secure := false
	for _, node := range given {
		several, err := address.Parse(node)
		if err != nil {
			return nil, err
		}
		transport, prefix := new(reverseproxy.HTTPTransport), ""
		if several.Scheme == "https" {
			transport.TLS, prefix, secure = config, "https://", true
		}
		if err := transport.Provision(ctx); err != nil {
			return nil, fmt.Errorf("setting up the transport: %w", err)
		}
		for _, one := range several.Expand() {
			info, err := nodes.Dial(one.Dial())
			if err != nil {
				return nil, fmt.Errorf("node '%s': %w", node, err)
			}
			targets = append(targets, target{prefix + one.Dial(), info, transport})
		}
	}
	if !secure && settings.given() {
		return nil, fmt.Errorf("--cacert, --cert, --key and --server-name are for nodes that speak TLS: write https:// before them, as in https://%s", given[0])
	}
	return targets, nil
}

// checkNodes probes all services of all nodes at once.
func checkNodes(nodes Nodes, given []string, timeout time.Duration, settings certificates) ([]console.Finding, error) {
	if timeout <= 0 {
		return nil, fmt.Errorf("the timeout must be more than 0, not %s", timeout)
	}
	ctx, cancel := caddy.NewContext(caddy.Context{Context: context.Background()})
	defer cancel()

	prober, err := nodes.Prober(ctx, timeout)
	if err != nil {
		return nil, fmt.Errorf("setting up the check: %w", err)
	}
	targets, err := findTargets(ctx, nodes, given, settings)
	if err != nil {
		return nil, err
	}
	findings := make([]console.Finding, len(targets)*int(service.Count))
	var probes sync.WaitGroup
	for i, to := range targets {
		for s := range service.Count {
			probes.Go(func() {
				limited, cancel := context.WithTimeout(ctx, timeout)
				defer cancel()
				witness := &witness{HTTPTransport: to.transport}
				began := time.Now()
				err := prober.Probe(limited, witness, to.info, s.String())
				found := console.Finding{
					Node: to.name, Service: s.String(), Passed: err == nil, Unknown: errors.Is(err, health.ErrNoRoute),
					LatencyMS: float64(time.Since(began).Microseconds()) / 1000,
					Advice:    health.Advice(s.String(), err),
				}
				if err != nil {
					found.Error = err.Error()
				}
				if console.IsOdd(err) {
					found.Came = witness.came()
				}
				findings[i*int(service.Count)+int(s)] = found
			})
		}
	}
	probes.Wait()
	return findings, nil
}

// witness remembers how the last answer began, for people who wonder who gave it.
type witness struct {
	*reverseproxy.HTTPTransport
	response *http.Response
	begin    strings.Builder
}

// mostCame is how much of an answer is remembered.
const mostCame = 160

// RoundTrip implements http.RoundTripper.
func (w *witness) RoundTrip(r *http.Request) (*http.Response, error) {
	response, err := w.HTTPTransport.RoundTrip(r)
	if err != nil {
		return nil, err
	}
	w.response = response
	w.begin.Reset()
	response.Body = struct {
		io.Reader
		io.Closer
	}{io.TeeReader(response.Body, w), response.Body}
	return response, nil
}

// Write remembers what was read.
func (w *witness) Write(p []byte) (int, error) {
	w.begin.Write(p[:min(len(p), mostCame-w.begin.Len())])
	return len(p), nil
}

// came says what came, "" if nothing did.
func (w *witness) came() string {
	if w.response == nil {
		return ""
	}
	return console.Came(w.response, w.begin.String(), w.begin.Len() == mostCame)
}
