package command

import (
	"errors"
	"fmt"
	"slices"
	"time"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/console"
)

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

// What status --json prints.
const (
	jsonOfNodes = "true"
	jsonOfAll   = "all"
)

// isJSONWanted reports whether JSON is to be printed, and not a table.
func isJSONWanted(flags caddycmd.Flags) bool {
	what := flags.String("json")
	return what != "" && what != "false"
}
