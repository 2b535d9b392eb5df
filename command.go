package tigergraph

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"sync"
	"text/tabwriter"
	"time"
	"unicode"

	"github.com/caddyserver/caddy/v2"
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/address"
	"github.com/caddy-tigergraph/caddy-tigergraph/internal/health"
	"github.com/caddy-tigergraph/caddy-tigergraph/internal/service"
)

func init() {
	caddycmd.RegisterCommand(caddycmd.Command{
		Name:  "tigergraph",
		Usage: "<command>",
		Short: "Shows, checks and drains the nodes of a TigerGraph cluster",
		Long: `
Talks to a running Caddy about the TigerGraph nodes behind it, or checks nodes
directly. The exit status is 0 if all is well, 1 if something is down or was
refused, and 2 if there was nobody to ask.`,
		CobraFunc: func(root *cobra.Command) {
			// Without these an unknown command would print the help, and succeed.
			root.Args = arguments(cobra.NoArgs)
			root.RunE = func(command *cobra.Command, _ []string) error { return command.Help() }
			root.SetFlagErrorFunc(cannotTell)
			root.AddCommand(statusCommand(), drainCommand(), readyCommand(), checkCommand())
		},
	})
}

// The exit statuses.
const (
	exitFine       = 0
	exitDown       = 1
	exitCannotTell = 2
)

// runner makes a function that prints what it has to say a command's.
func runner(run func(out *printer, flags caddycmd.Flags, arguments []string) (int, error)) func(*cobra.Command, []string) error {
	return func(command *cobra.Command, arguments []string) error {
		command.SilenceErrors = true
		out, result := newPrinter(command.OutOrStdout()), exitFine
		err := caddycmd.WrapCommandFuncForCobra(func(flags caddycmd.Flags) (int, error) {
			status, err := run(out, flags, arguments)
			if err != nil { // which Caddy would log besides
				_, _ = fmt.Fprintf(command.ErrOrStderr(), "Error: %s\n", printable(err.Error()))
			}
			result = status
			return status, nil
		})(command, nil)
		if err == nil && result == exitDown {
			return errDown // which makes the status, and is not printed
		}
		return err
	}
}

var errDown = errors.New("something is down, or was refused")

// cannotTell reports a command that was not understood: its status must not be
// that of something that is down.
func cannotTell(command *cobra.Command, err error) error {
	return runner(func(*printer, caddycmd.Flags, []string) (int, error) { return exitCannotTell, err })(command, nil)
}

// arguments makes a rule for arguments report by cannotTell.
func arguments(rule cobra.PositionalArgs) cobra.PositionalArgs {
	return func(command *cobra.Command, arguments []string) error {
		if err := rule(command, arguments); err != nil {
			return cannotTell(command, err)
		}
		return nil
	}
}

// addAdminFlags adds the flags by which other commands of Caddy find the admin
// endpoint.
func addAdminFlags(command *cobra.Command) *cobra.Command {
	command.Flags().StringP("address", "", "", "The address of Caddy's admin endpoint")
	command.Flags().StringP("config", "c", "", "The configuration file to take that address from")
	command.Flags().StringP("adapter", "a", "", "The name of the adapter for that file")
	return command
}

func statusCommand() *cobra.Command {
	command := &cobra.Command{
		Use:   "status [--json] [--alive] [--address <interface>]",
		Short: "Lists the nodes, their health, load and drains",
		Args:  arguments(cobra.NoArgs),
		RunE: runner(func(out *printer, flags caddycmd.Flags, _ []string) (int, error) {
			body, status, err := ask(flags, http.MethodGet, "nodes", nil)
			if err != nil {
				if flags.Bool("alive") {
					status = exitDown
				}
				return status, err
			}
			var nodes []nodeStatus
			if err := json.Unmarshal(body, &nodes); err != nil {
				return exitCannotTell, fmt.Errorf("understanding the answer: %w", err)
			}
			if flags.Bool("json") {
				out.print("%s", body)
			} else {
				out.nodes(nodes, time.Now())
			}
			if flags.Bool("alive") {
				return exitFine, nil
			}
			for _, node := range nodes {
				for _, s := range node.Services {
					if s.Verdict == health.Down.String() {
						return exitDown, nil
					}
				}
			}
			return exitFine, nil
		}),
	}
	command.Flags().BoolP("json", "", false, "Print JSON")
	command.Flags().BoolP("alive", "", false, "Exit with 0 though nodes are down, and 1 only if Caddy is: for a container's health check")
	return addAdminFlags(command)
}

func drainCommand() *cobra.Command {
	command := &cobra.Command{
		Use:   "drain <node> [--for <duration>] [--force] [--address <interface>]",
		Short: "Lets a node take no new clients; those with a cookie stay",
		Args:  arguments(cobra.ExactArgs(1)),
		RunE: runner(func(out *printer, flags caddycmd.Flags, arguments []string) (int, error) {
			request := map[string]any{"node": arguments[0], "force": flags.Bool("force")}
			if duration := flags.String("for"); duration != "" {
				request["for"] = duration
			}
			return askAboutNode(out, flags, "drain", request)
		}),
	}
	command.Flags().StringP("for", "", "", "How long, such as 30m or 1h. Default: until the node is said to be ready")
	command.Flags().BoolP("force", "", false, "Even if it is the last node that takes new clients")
	return addAdminFlags(command)
}

func readyCommand() *cobra.Command {
	return addAdminFlags(&cobra.Command{
		Use:   "ready <node> [--address <interface>]",
		Short: "Lets a node take new clients again",
		Args:  arguments(cobra.ExactArgs(1)),
		RunE: runner(func(out *printer, flags caddycmd.Flags, arguments []string) (int, error) {
			return askAboutNode(out, flags, "ready", map[string]any{"node": arguments[0]})
		}),
	})
}

// askAboutNode makes a call that changes a node, and prints what it is now.
func askAboutNode(out *printer, flags caddycmd.Flags, call string, request map[string]any) (int, error) {
	encoded, err := json.Marshal(request)
	if err != nil {
		return exitCannotTell, fmt.Errorf("encoding the request: %w", err)
	}
	body, status, err := ask(flags, http.MethodPost, call, encoded)
	if err != nil {
		return status, err
	}
	var node nodeStatus
	if err := json.Unmarshal(body, &node); err != nil {
		return exitCannotTell, fmt.Errorf("understanding the answer: %w", err)
	}
	switch {
	case !node.Draining:
		out.print("%s takes new clients.\n", node.Address)
	case call == "ready":
		return exitDown, fmt.Errorf("%s still takes no new clients, because the configuration says so (drain, or weight 0)", node.Address)
	case node.DrainUntil != nil:
		out.print("%s takes no new clients until %s. Requests in flight: %d.\n",
			node.Address, node.DrainUntil.Local().Format(time.DateTime), node.Requests)
	default:
		out.print("%s takes no new clients until it is said to be ready. Requests in flight: %d.\n", node.Address, node.Requests)
	}
	return exitFine, nil
}

// ask makes a call of the admin endpoint. The exit status is that of a failure.
func ask(flags caddycmd.Flags, method, call string, body []byte) (answer []byte, status int, err error) {
	address, err := caddycmd.DetermineAdminAPIAddress(flags.String("address"), nil, flags.String("config"), flags.String("adapter"))
	if err != nil {
		return nil, exitCannotTell, fmt.Errorf("finding the admin endpoint: %w", err)
	}
	var reader io.Reader
	if body != nil {
		reader = bytes.NewReader(body)
	}
	response, err := caddycmd.AdminAPIRequest(address, method, adminPrefix+call, make(http.Header), reader)
	if err != nil {
		if refusal := refusalIn(err); refusal != "" {
			return nil, exitDown, errors.New(inFlags.Replace(refusal))
		}
		return nil, exitCannotTell, fmt.Errorf("asking Caddy at %s: %w; is it running, with this plugin and its admin endpoint on?", address, err)
	}
	defer func() { _ = response.Body.Close() }()
	answer, err = io.ReadAll(response.Body)
	if err != nil {
		return nil, exitCannotTell, fmt.Errorf("reading the answer: %w", err)
	}
	return answer, exitFine, nil
}

// inFlags says with the flags of the commands what the admin endpoint says with the
// fields of its calls.
var inFlags = strings.NewReplacer("set 'force' to", "use --force to", "'for' must", "--for must")

// refusalIn returns the message with which our calls refuse a request.
func refusalIn(err error) string {
	text := err.Error()
	var answer struct{ Error string }
	if begin := strings.IndexByte(text, '{'); begin >= 0 && json.Unmarshal([]byte(text[begin:]), &answer) == nil {
		return answer.Error
	}
	return ""
}

func checkCommand() *cobra.Command {
	command := &cobra.Command{
		Use:   "check <nodes...> [--timeout <duration>] [--insecure] [--json]",
		Short: "Probes the services of nodes directly, without a server",
		Long: `
Asks each service of each node what the health checks ask, and says what to do
about each that fails. A node is a host with or without a port (default 14240),
with https:// before it if it speaks TLS.`,
		Args: arguments(cobra.MinimumNArgs(1)),
		RunE: runner(func(out *printer, flags caddycmd.Flags, arguments []string) (int, error) {
			findings, err := checkNodes(arguments, flags.Duration("timeout"), flags.Bool("insecure"))
			if err != nil {
				return exitCannotTell, err
			}
			if flags.Bool("json") {
				encoded, err := json.MarshalIndent(findings, "", "\t")
				if err != nil {
					return exitCannotTell, fmt.Errorf("encoding the findings: %w", err)
				}
				out.print("%s\n", encoded)
			} else {
				out.findings(findings)
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
	command.Flags().BoolP("insecure", "", false, "Do not verify the nodes' certificates")
	command.Flags().BoolP("json", "", false, "Print JSON")
	return command
}

// finding is what a probe of one service of one node found.
type finding struct {
	Node    string `json:"node"`
	Service string `json:"service"`
	// Passed is false, too, where there is no way to find out; then Unknown is true.
	Passed    bool    `json:"passed"`
	Unknown   bool    `json:"unknown,omitempty"`
	LatencyMS float64 `json:"latency_ms"`
	Error     string  `json:"error,omitempty"`
	Advice    string  `json:"advice,omitempty"`
}

// checkNodes probes all services of all nodes at once.
func checkNodes(nodes []string, timeout time.Duration, insecure bool) ([]finding, error) {
	if timeout <= 0 {
		return nil, fmt.Errorf("the timeout must be more than 0, not %s", timeout)
	}
	ctx, cancel := caddy.NewContext(caddy.Context{Context: context.Background()})
	defer cancel()

	checker := &Services{Timeout: caddy.Duration(timeout)}
	if err := checker.Provision(ctx); err != nil {
		return nil, fmt.Errorf("setting up the check: %w", err)
	}
	type target struct {
		address   string
		info      reverseproxy.DialInfo
		transport http.RoundTripper
	}
	var targets []target
	for _, node := range nodes {
		several, err := address.Parse(node)
		if err != nil {
			return nil, err
		}
		transport := new(reverseproxy.HTTPTransport)
		if several.Scheme == "https" {
			transport.TLS = &reverseproxy.TLSConfig{InsecureSkipVerify: insecure}
		}
		if err := transport.Provision(ctx); err != nil {
			return nil, fmt.Errorf("setting up the transport: %w", err)
		}
		for _, one := range several.Expand() {
			info, err := dialInfo(one.Dial())
			if err != nil {
				return nil, fmt.Errorf("node '%s': %w", node, err)
			}
			targets = append(targets, target{one.Dial(), info, transport})
		}
	}

	findings := make([]finding, len(targets)*int(service.Count))
	var probes sync.WaitGroup
	for i, to := range targets {
		for s := range service.Count {
			probes.Go(func() {
				limited, cancel := context.WithTimeout(ctx, timeout)
				defer cancel()
				began := time.Now()
				err := checker.Probe(limited, to.transport, to.info, s.String())
				found := finding{
					Node: to.address, Service: s.String(), Passed: err == nil, Unknown: errors.Is(err, health.ErrNoRoute),
					LatencyMS: float64(time.Since(began).Microseconds()) / 1000,
					Advice:    health.Advice(s.String(), err),
				}
				if err != nil {
					found.Error = err.Error()
				}
				findings[i*int(service.Count)+int(s)] = found
			})
		}
	}
	probes.Wait()
	return findings, nil
}

// printer prints for people, in colour on a terminal.
type printer struct {
	out    io.Writer
	colour bool
}

func newPrinter(out io.Writer) *printer {
	file, isFile := out.(*os.File)
	return &printer{out: out, colour: isFile && term.IsTerminal(int(file.Fd())) && os.Getenv("NO_COLOR") == ""}
}

func (p *printer) print(format string, arguments ...any) {
	_, _ = fmt.Fprintf(p.out, format, arguments...)
}

// paint colours a word by what it says. All colours are as long as each other,
// so that columns stay aligned.
func (p *printer) paint(word string) string {
	if !p.colour {
		return word
	}
	colour := "39" // the terminal's own
	switch word {
	case "up", "ok":
		colour = "32"
	case "down", "FAILED":
		colour = "31"
	case "unknown", "draining":
		colour = "33"
	}
	return "\x1b[" + colour + "m" + word + "\x1b[39m"
}

// nodes prints the nodes of a running Caddy.
func (p *printer) nodes(nodes []nodeStatus, now time.Time) {
	if len(nodes) == 0 {
		p.print("Caddy has no TigerGraph nodes.\n")
		return
	}
	table := tabwriter.NewWriter(p.out, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(table, strings.Join([]string{"NODE", p.paint("STATE"), p.paint("GUI"), p.paint("GSQL"), p.paint("RESTPP"), "REQUESTS", "WEIGHT"}, "\t"))
	for _, node := range nodes {
		state := "ready"
		switch {
		case node.Draining:
			state = "draining"
		case node.Role == "backup":
			state = "backup"
		}
		_, _ = fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%d\t%d\n", printable(node.Address), p.paint(state),
			p.paint(node.Services["gui"].Verdict), p.paint(node.Services["gsql"].Verdict), p.paint(node.Services["restpp"].Verdict),
			node.Requests, node.Weight)
	}
	_ = table.Flush()

	for _, node := range nodes {
		if node.Draining && node.DrainUntil != nil {
			p.print("\n%s is draining for another %s.\n", printable(node.Address), node.DrainUntil.Sub(now).Round(time.Second))
		}
		for _, name := range []string{"gui", "gsql", "restpp"} {
			p.trouble(node.Address, name, node.Services[name], now)
		}
	}
}

// trouble says what is wrong with a service, if something is.
func (p *printer) trouble(node, name string, s serviceStatus, now time.Time) {
	if s.Verdict == health.Down.String() || s.Advice != "" {
		p.print("\n%s %s is %s", printable(node), name, s.Verdict)
		if s.Since != nil {
			p.print(" for %s", now.Sub(*s.Since).Round(time.Second))
		}
		p.print(":\n  %s\n", wrap(printable(s.LastError), 78, "  "))
		if s.Advice != "" {
			p.print("  %s\n", wrap(printable(s.Advice), 78, "  "))
		}
	}
	if s.Evidence != nil && s.Evidence.Count > 0 {
		p.print("\n%s %s failed %d requests in the last five minutes, the last one %s ago:\n  %s\n", printable(node), name,
			s.Evidence.Count, now.Sub(s.Evidence.At).Round(time.Second), wrap(printable(s.Evidence.Last), 78, "  "))
	}
}

// findings prints what a check found.
func (p *printer) findings(findings []finding) {
	table := tabwriter.NewWriter(p.out, 0, 0, 2, ' ', 0)
	_, _ = fmt.Fprintln(table, strings.Join([]string{"NODE", "SERVICE", p.paint("RESULT"), "TIME"}, "\t"))
	for _, found := range findings {
		result := "ok"
		switch {
		case found.Unknown:
			result = "unknown"
		case !found.Passed:
			result = "FAILED"
		}
		_, _ = fmt.Fprintf(table, "%s\t%s\t%s\t%.1f ms\n", printable(found.Node), found.Service, p.paint(result), found.LatencyMS)
	}
	_ = table.Flush()

	// A node that is off fails in all its services: it is said once.
	type failure struct{ node, text string }
	services := make(map[failure][]string)
	var order []failure
	for _, found := range findings {
		if found.Passed {
			continue
		}
		f := failure{found.Node, wrap(printable(found.Error), 78, "  ") + "\n  " + wrap(found.Advice, 78, "  ")}
		if services[f] == nil {
			order = append(order, f)
		}
		services[f] = append(services[f], found.Service)
	}
	for _, f := range order {
		p.print("\n%s %s:\n  %s\n", printable(f.node), strings.Join(services[f], ", "), f.text)
	}
}

// wrap breaks a text into lines of at most so many columns, all but the first
// indented.
func wrap(text string, columns int, indent string) string {
	var lines strings.Builder
	column := len(indent)
	for i, word := range strings.Fields(text) {
		switch {
		case i == 0:
		case column+1+len(word) > columns:
			lines.WriteString("\n" + indent)
			column = len(indent)
		default:
			lines.WriteByte(' ')
			column++
		}
		lines.WriteString(word)
		column += len(word)
	}
	return lines.String()
}

// printable replaces what could disturb a terminal.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return '�'
	}, text)
}
