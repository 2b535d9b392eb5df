package tigergraph

import (
	"fmt"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/affinity"
	"github.com/caddy-tigergraph/caddy-tigergraph/internal/balance"
)

// joinMoved gives the policy its part of the memory of moved clients.
func (p *Policy) joinMoved(host *reverseproxy.Handler, idle time.Duration) {
	nodes := []string{fmt.Sprintf("%p", p)} // without a proxy nobody has the same
	if host != nil {
		nodes = nil
		for _, upstream := range host.Upstreams {
			nodes = append(nodes, upstream.Dial)
		}
		if host.DynamicUpstreamsRaw != nil {
			nodes = append(nodes, affinity.NodesOf(host.DynamicUpstreamsRaw)...)
		}
	}
	p.moved = p.app.fleet.Moved.Join(p.app, fmt.Sprintf("%q %q %d", p.Affinity, p.Header, p.prefixes), nodes, idle)
}

// homeOrMoved returns the place of the node that a client without a cookie
// belongs to, and why: its home, or the node it was moved to when that could not
// be used.
func (c *call) homeOrMoved(key uint64) (i int, why balance.Reason) {
	c.align()
	if i := c.movedTo(key); i != balance.None {
		return i, balance.Moved
	}
	return c.roster.homes.Of(key), c.hashedBy()
}

// movedTo returns the place of the node that a client was moved to which is known
// only by its key.
func (c *call) movedTo(key uint64) int {
	moved := c.policy.moved
	if moved == nil || moved.Empty() || !c.isKnownByKey() {
		return balance.None
	}
	client := c.client(key)
	dial, found := moved.Find(client)
	if !found {
		return balance.None
	}
	if m := c.roster.byDial[dial]; m != nil {
		if i := c.position(m); i != balance.None {
			return i
		}
	}
	moved.Forget(client)
	return balance.None
}

// client returns what a client is remembered by.
func (c *call) client(key uint64) affinity.Client {
	return affinity.Client{Key: key, Service: uint8(c.service)}
}
