package command

import (
	"fmt"
	"time"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/console"
)

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
		Use:        "ready <node> [--wait <duration>] [--address <interface>]",
		SuggestFor: []string{"undrain"}, // which is nearer to its opposite
		Short:      "Lets a node take new clients again",
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
