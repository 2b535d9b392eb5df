package command

import (
	"encoding/json"
	"net/http"
	"slices"
	"strings"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/statuspage"
)

// completeNodes completes the name of a node by those of the running Caddy.
func completeNodes(command *cobra.Command, given []string, begun string) ([]string, cobra.ShellCompDirective) {
	return complete(command, given, begun, "nodes", func(body []byte) (names []string, err error) {
		var nodes []statuspage.NodeStatus
		err = json.Unmarshal(body, &nodes)
		for _, node := range nodes {
			names = append(names, node.Address)
		}
		return slices.Compact(names), err
	})
}

// completeClusters completes the name of a cluster in the same way.
func completeClusters(command *cobra.Command, given []string, begun string) ([]string, cobra.ShellCompDirective) {
	return complete(command, given, begun, "clusters", func(body []byte) (names []string, err error) {
		var clusters []statuspage.ClusterStatus
		err = json.Unmarshal(body, &clusters)
		for _, cluster := range clusters {
			names = append(names, cluster.Name)
		}
		return names, err
	})
}

// complete completes the one argument of a command out of what a call answers with.
func complete(command *cobra.Command, given []string, begun, call string, names func([]byte) ([]string, error)) ([]string, cobra.ShellCompDirective) {
	if len(given) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	body, _, err := ask(caddycmd.Flags{FlagSet: command.Flags()}, http.MethodGet, call, nil)
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	all, err := names(body)
	if err != nil {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return slices.DeleteFunc(all, func(name string) bool { return !strings.HasPrefix(name, begun) }), cobra.ShellCompDirectiveNoFileComp
}
