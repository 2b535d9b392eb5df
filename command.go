package tigergraph

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/console"
	"github.com/caddy-tigergraph/caddy-tigergraph/internal/statuspage"
)

func init() {
	caddycmd.RegisterCommand(caddycmd.Command{
		Name:  "tigergraph",
		Usage: "<command>",
		Short: "Shows, checks and drains the nodes of a TigerGraph cluster, and switches between clusters",
		Long: `
Talks to a running Caddy about the TigerGraph nodes behind it, or checks nodes
directly. The exit status is 0 if all is well, 1 if something is down or was
refused, and 2 if there was nobody to ask.`,
		CobraFunc: func(root *cobra.Command) {
			// Without these an unknown command would print the help, and succeed.
			root.Args = arguments(cobra.NoArgs)
			root.RunE = func(command *cobra.Command, _ []string) error { return command.Help() }
			root.SetFlagErrorFunc(cannotTell)
			for _, subcommand := range subcommands {
				root.AddCommand(subcommand())
			}
		},
	})
}

// subcommands make the commands below this one.
var subcommands = []func() *cobra.Command{statusCommand, drainCommand, readyCommand, switchCommand}

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

// oneName is the rule for a command that takes the name of one thing. An empty variable
// of a script names none.
func oneName(what, example string) cobra.PositionalArgs {
	return arguments(func(command *cobra.Command, arguments []string) error {
		switch {
		case len(arguments) == 1 && strings.TrimSpace(arguments[0]) != "":
			return nil
		case len(arguments) == 1:
			return fmt.Errorf("%s needs the name of %s, as in '%s %s', and not an empty one", command.Name(), what, command.CommandPath(), example)
		}
		return fmt.Errorf("%s needs the name of one %s, as in '%s %s', and got %d", command.Name(), strings.TrimPrefix(what, "a "), command.CommandPath(), example, len(arguments))
	})
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
		Use:   "status [--json[=all]] [--watch] [--alive] [--address <interface>]",
		Short: "Lists the nodes, their health, load and drains",
		Long: `
Says what is wrong first, then lists the nodes, and then says why each service
that is down is so, and what to do about it. The exit status is 1 if something is
down. With --watch it goes on until it is interrupted. With --json it prints the
nodes as GET /tigergraph/nodes of the admin endpoint does, with --json=all an object
of nodes, clusters and services.`,
		Args: arguments(cobra.NoArgs),
		RunE: runner(func(out *console.Printer, flags caddycmd.Flags, _ []string) (int, error) {
			if what := flags.String("json"); !slices.Contains([]string{"", "false", jsonOfNodes, jsonOfAll}, what) {
				return exitCannotTell, fmt.Errorf("--json prints the nodes, --json=%s everything: it takes no %q", jsonOfAll, what)
			}
			switch watching := flags.Bool("watch"); {
			case watching && flags.Bool("alive"):
				return exitCannotTell, errors.New("--alive asks once: leave out --watch")
			case watching:
				return watch(out, flags)
			}
			cluster, body, status, err := askForCluster(flags)
			switch {
			case err != nil && flags.Bool("alive"):
				return exitDown, err
			case err != nil:
				return status, err
			case isJSONWanted(flags):
				out.Print("%s", body)
			default:
				out.Status(cluster, time.Now())
			}
			if cluster.IsWell() || flags.Bool("alive") {
				return exitFine, nil
			}
			return exitDown, nil
		}),
	}
	command.Flags().StringP("json", "", "", "Print JSON: the nodes, or with --json="+jsonOfAll+" the clusters and services too")
	command.Flags().Lookup("json").NoOptDefVal = jsonOfNodes
	command.Flags().BoolP("watch", "", false, "Print it again every two seconds")
	command.Flags().BoolP("alive", "", false, "Exit with 0 though nodes are down, and 1 only if Caddy is: for a container's health check")
	return addAdminFlags(command)
}

// watchEvery is how often status --watch looks.
const watchEvery = 2 * time.Second

// watch prints the status again and again, until the process is ended. A Caddy that
// does not answer may come back.
func watch(out *console.Printer, flags caddycmd.Flags) (int, error) {
	for {
		cluster, body, _, err := askForCluster(flags)
		now := time.Now()
		switch {
		case isJSONWanted(flags) && err == nil:
			out.Print("%s", body)
		case isJSONWanted(flags):
			return exitCannotTell, err
		default:
			out.Clear()
			out.Print("%s\n\n", now.Format(time.DateTime))
			if err != nil {
				out.Print("%s\n\n", console.Printable(err.Error()))
			} else {
				out.Status(cluster, now)
				out.Print("\n")
			}
		}
		time.Sleep(watchEvery)
	}
}

func drainCommand() *cobra.Command {
	command := &cobra.Command{
		Use:   "drain <node> [--for <duration>] [--force] [--wait <duration> [--idle <duration>]] [--address <interface>]",
		Short: "Lets a node take no new clients; those with a cookie stay",
		Long: `
Lets a node take no new clients; those with a cookie stay. With --wait it returns
once no request is in flight there and, with --idle, once no session has been used
for so long: then nobody notices that the node is restarted. The exit status is 1
if that has not come in time; the node goes on draining.`,
		Args:              oneName("a node", "m1"),
		ValidArgsFunction: completeNodes,
		RunE: runner(func(out *console.Printer, flags caddycmd.Flags, arguments []string) (int, error) {
			limit, idle, err := waits(flags)
			if err != nil {
				return exitCannotTell, err
			}
			duration, _, err := durationIn(flags, "for", "30m or 1h")
			if err != nil {
				return exitDown, err
			}
			request := map[string]any{"node": arguments[0], "force": flags.Bool("force")}
			if duration != "" {
				request["for"] = duration
			}
			node, status, err := askAboutNode(flags, "drain", request)
			if err != nil {
				return status, err
			}
			if node.DrainUntil != nil {
				out.Print("%s takes no new clients until %s. Requests in flight: %d.\n",
					node.Address, node.DrainUntil.Local().Format(time.DateTime), node.Requests)
			} else {
				out.Print("%s takes no new clients until it is said to be ready. Requests in flight: %d.\n", node.Address, node.Requests)
			}
			if limit == 0 {
				return exitFine, nil
			}
			return awaitQuiet(out, flags, node.Address, limit, idle)
		}),
	}
	command.Flags().StringP("for", "", "", "How long, such as 30m or 1h. Default: until the node is said to be ready")
	command.Flags().BoolP("force", "", false, "Even if it is the last node that takes new clients")
	command.Flags().StringP("wait", "", "", "Return once no request is in flight, but after so long at the latest")
	command.Flags().StringP("idle", "", "", "With --wait: and once no session has been used for so long")
	return addAdminFlags(command)
}

func readyCommand() *cobra.Command {
	command := &cobra.Command{
		Use:   "ready <node> [--wait <duration>] [--address <interface>]",
		Short: "Lets a node take new clients again",
		Long: `
Lets a node take new clients again. The exit status is 1 if it gets none for all
that, because it is down or the configuration drains it. With --wait it returns once
each service that is checked has passed a probe that was sent after the command.`,
		Args:              oneName("a node", "m1"),
		ValidArgsFunction: completeNodes,
		RunE: runner(func(out *console.Printer, flags caddycmd.Flags, arguments []string) (int, error) {
			limit, _, err := waits(flags)
			if err != nil {
				return exitCannotTell, err
			}
			began := time.Now()
			node, status, err := askAboutNode(flags, "ready", map[string]any{"node": arguments[0]})
			if err != nil {
				return status, err
			}
			if node.Draining {
				return exitDown, fmt.Errorf("%s still takes no new clients, because the configuration says so (drain, or weight 0)", node.Address)
			}
			if limit != 0 {
				return awaitProof(out, flags, node.Address, limit, began)
			}
			if down, reason := console.Down(*node); down != "" {
				return exitDown, fmt.Errorf("%s is not draining any more, but its %s: %s; 'caddy tigergraph status' says what to do", node.Address, down, reason)
			}
			out.Print("%s takes new clients.\n", node.Address)
			return exitFine, nil
		}),
	}
	command.Flags().StringP("wait", "", "", "Return once each service has passed a probe, but after so long at the latest")
	return addAdminFlags(command)
}

func switchCommand() *cobra.Command {
	command := &cobra.Command{
		Use:   "switch <cluster> [--drain <duration>] [--address <interface>]",
		Short: "Sends everybody to another cluster",
		Long: `
Makes another cluster the active one, in every site that knows it by this name: its
nodes get the requests from now on. With --drain, sessions that have a cookie stay in
the old one for so long; given again, the command changes how long, and without --drain
ends that. Nothing but this command ever switches back.`,
		Args:              oneName("a cluster", "dr"),
		ValidArgsFunction: completeClusters,
		RunE: runner(func(out *console.Printer, flags caddycmd.Flags, arguments []string) (int, error) {
			drain, duration, err := durationIn(flags, "drain", "30m or 1h")
			if err != nil {
				return exitDown, err
			}
			request := map[string]any{"cluster": arguments[0]}
			if drain != "" {
				request["drain"] = drain
			}
			var clusters []statuspage.ClusterStatus
			body, status, err := post(flags, "switch", request)
			if err != nil {
				return status, err
			}
			if err := json.Unmarshal(body, &clusters); err != nil {
				return exitCannotTell, notUnderstood(err)
			}
			out.Print("%s is the active cluster.\n", console.Printable(arguments[0]))
			kept := false
			for _, cluster := range clusters {
				if cluster.DrainingUntil != nil {
					out.Print("Sessions with a cookie stay in %s until %s.\n", cluster.Name, cluster.DrainingUntil.Local().Format(time.DateTime))
					kept = true
				}
			}
			if duration > 0 && !kept {
				out.Print("It was before: there are no sessions of another one to drain.\n")
			}
			return exitFine, nil
		}),
	}
	command.Flags().StringP("drain", "", "", "How long sessions with a cookie stay in the old cluster, such as 30m. Default: not at all")
	return addAdminFlags(command)
}
