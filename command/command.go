// Package command has what `caddy tigergraph` does on the command line: it asks a running
// Caddy about the nodes behind it, or the nodes themselves. What it prints is in
// internal/console. It is public because internal packages know nothing of Caddy, and no
// API: it may change with any version.
package command

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
	"github.com/spf13/cobra"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/console"
	"github.com/caddy-tigergraph/caddy-tigergraph/internal/spelling"
)

// Nodes asks nodes themselves, as the health checks do. The package that registers the
// commands has one.
type Nodes interface {
	// Dial says how a node with this address is dialled.
	Dial(address string) (reverseproxy.DialInfo, error)
	// Prober returns what probes the services of nodes, each for so long at most.
	Prober(ctx caddy.Context, timeout time.Duration) (Prober, error)
}

// Prober probes the services of nodes.
type Prober interface {
	// Probe asks a service of a node, by this transport, whether it lives.
	Probe(ctx context.Context, transport http.RoundTripper, node reverseproxy.DialInfo, service string) error
}

// Register makes the commands known to Caddy.
func Register(nodes Nodes) {
	caddycmd.RegisterCommand(caddycmd.Command{
		Name:  "tigergraph",
		Usage: "<command>",
		Short: "Shows, checks and drains the nodes of a TigerGraph cluster, and switches between clusters",
		Long: `
Talks to a running Caddy about the TigerGraph nodes behind it, or checks nodes
directly. The exit status is 0 if all is well, 1 if something is down or was
refused, and 2 if there was nobody to ask.`,
		CobraFunc: func(root *cobra.Command) {
			root.SetFlagErrorFunc(cannotTell)
			// It has no flags, and would complain of those of a command that is misspelt.
			root.DisableFlagParsing = true
			root.RunE = withoutCommand
			root.AddCommand(statusCommand(), drainCommand(), readyCommand(), switchCommand(), checkCommand(nodes))
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
func runner(run func(out *console.Printer, flags caddycmd.Flags, arguments []string) (int, error)) func(*cobra.Command, []string) error {
	return func(command *cobra.Command, arguments []string) error {
		command.SilenceErrors = true
		out, result := console.New(command.OutOrStdout()), exitFine
		err := caddycmd.WrapCommandFuncForCobra(func(flags caddycmd.Flags) (int, error) {
			status, err := run(out, flags, arguments)
			if err != nil { // which Caddy would log besides
				_, _ = fmt.Fprintf(command.ErrOrStderr(), "Error: %s\n", console.Printable(err.Error()))
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
	return runner(func(*console.Printer, caddycmd.Flags, []string) (int, error) { return exitCannotTell, err })(command, nil)
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

// withoutCommand is what happens where no command is named, or one that is unknown.
func withoutCommand(root *cobra.Command, arguments []string) error {
	if len(arguments) == 0 || arguments[0] == "-h" || arguments[0] == "--help" {
		return root.Help()
	}
	var names []string
	for _, command := range root.Commands() {
		names = append(names, command.Name())
		if slices.Contains(command.SuggestFor, arguments[0]) {
			return cannotTell(root, fmt.Errorf("unknown command '%s': did you mean '%s'?", arguments[0], command.Name()))
		}
		if arguments[0] == "help" && slices.Contains(arguments[1:], command.Name()) {
			return command.Help()
		}
	}
	if arguments[0] == "help" {
		return root.Help()
	}
	expected := "expected one of " + spelling.List(names)
	if strings.HasPrefix(arguments[0], "-") {
		return cannotTell(root, fmt.Errorf("%s needs a command before its flags: %s", root.CommandPath(), expected))
	}
	return cannotTell(root, fmt.Errorf("unknown command '%s': %s", arguments[0], spelling.Hint(arguments[0], names, expected)))
}

// oneName is the rule for a command that takes the name of one thing. An empty variable
// of a script names none.
func oneName(what, example string) cobra.PositionalArgs {
	return arguments(func(command *cobra.Command, arguments []string) error {
		switch {
		case len(arguments) == 1 && len(strings.FieldsFunc(arguments[0], isBetweenNames)) > 1:
			return fmt.Errorf("%s takes one %s at a time, and not '%s'", command.Name(), strings.TrimPrefix(what, "a "), arguments[0])
		case len(arguments) == 1 && strings.TrimSpace(arguments[0]) != "":
			return nil
		case len(arguments) == 1:
			return fmt.Errorf("%s needs the name of %s, as in '%s %s', and not an empty one", command.Name(), what, command.CommandPath(), example)
		}
		return fmt.Errorf("%s needs the name of one %s, as in '%s %s', and got %d", command.Name(), strings.TrimPrefix(what, "a "), command.CommandPath(), example, len(arguments))
	})
}

// isBetweenNames reports whether a character stands between the names of a list.
func isBetweenNames(r rune) bool { return r == ',' || r == ';' || r == ' ' }

// addAdminFlags adds the flags by which other commands of Caddy find the admin
// endpoint.
func addAdminFlags(command *cobra.Command) *cobra.Command {
	command.Flags().StringP("address", "", "", "The address of Caddy's admin endpoint")
	command.Flags().StringP("config", "c", "", "The configuration file to take that address from")
	command.Flags().StringP("adapter", "a", "", "The name of the adapter for that file")
	return command
}
