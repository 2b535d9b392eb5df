package command

import (
	"encoding/json"
	"fmt"
	"time"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/console"
	"github.com/caddy-tigergraph/caddy-tigergraph/internal/statuspage"
)

func switchCommand() *cobra.Command {
	command := &cobra.Command{
		Use:   "switch <cluster> [--drain <duration>] [--address <interface>]",
		Short: "Sends everybody to another cluster",
		Long: `
Makes another cluster the active one, in every site that knows it by this name: its
nodes get the requests from now on. With --drain, sessions with a cookie stay in the
old cluster for that time. Run the command again to change the time, or without
--drain to end it at once. Nothing but this command ever switches back. The exit
status is 1 if it was done but a service is down on every node of the new cluster.`,
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
				out.Print("It was already active, so no sessions are left to drain in another cluster.\n")
			}
			return tellOfCluster(out, flags, arguments[0])
		}),
	}
	command.Flags().StringP("drain", "", "", "How long sessions with a cookie stay in the old cluster, such as 30m. Default: not at all")
	return addAdminFlags(command)
}

// tellOfCluster says which nodes of the cluster that is now the active one are down. A
// Caddy that does not tell has switched all the same.
func tellOfCluster(out *console.Printer, flags caddycmd.Flags, name string) (int, error) {
	known, _, _, err := askForCluster(flags)
	if err != nil {
		return exitFine, nil
	}
	down, dead := known.DownIn(name)
	for _, line := range down {
		out.Print("%s\n", console.Printable(line))
	}
	if dead != "" {
		return exitDown, fmt.Errorf("%s is the active cluster, but %s on every node of it; 'caddy tigergraph status' says what to do", name, dead)
	}
	return exitFine, nil
}
