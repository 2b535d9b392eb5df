package tigergraph

import (
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/caddy-tigergraph/caddy-tigergraph/command"
)

func init() {
	command.Register(nodesOfCommands{})
}

// nodesOfCommands asks nodes for the commands.
type nodesOfCommands struct{}

// Dial implements command.Nodes.
func (nodesOfCommands) Dial(address string) (reverseproxy.DialInfo, error) { return dialInfo(address) }

// Prober implements command.Nodes.
func (nodesOfCommands) Prober(ctx caddy.Context, timeout time.Duration) (command.Prober, error) {
	checker := &Services{Timeout: caddy.Duration(timeout)}
	return checker, checker.Provision(ctx)
}
