package tigergraph

import (
	"fmt"
	"slices"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/affinity"
	"github.com/caddy-tigergraph/caddy-tigergraph/internal/balance"
)

// movedPool holds the memory of moved clients by what decides where they belong,
// so that a reload sends nobody home.
var movedPool = caddy.NewUsagePool()

// movedClients is a memory in the pool.
type movedClients struct{ *affinity.Moved }

// Destruct implements caddy.Destructor.
func (movedClients) Destruct() error { return nil }

// acquireMoved gives the policy its memory of moved clients.
func (p *Policy) acquireMoved(host *reverseproxy.Handler, idle time.Duration) {
	create := func() (caddy.Destructor, error) { return &movedClients{affinity.NewMoved(idle, mostMoved)}, nil }
	if host == nil {
		created, _ := create()
		p.moved = created.(*movedClients)
		return
	}
	var dials []string
	for _, upstream := range host.Upstreams {
		dials = append(dials, upstream.Dial)
	}
	slices.Sort(dials)
	p.movedKey = fmt.Sprintf("%q %s %q %q %d %s", dials, host.DynamicUpstreamsRaw, p.Affinity, p.Header, p.prefixes, idle)
	pooled, _, _ := movedPool.LoadOrNew(p.movedKey, create) // which never fails
	p.moved = pooled.(*movedClients)
}

// homeOrMoved returns the place of the node that a client without a cookie
// belongs to, and why: its home, or the node it was moved to when that could not
// be used.
func (c *call) homeOrMoved(key uint64) (i int, why balance.Reason) {
	c.align()
	if i := c.movedTo(key); i != balance.None {
		return i, balance.Moved
	}
	return c.roster.homes.of(key), c.hashedBy()
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
