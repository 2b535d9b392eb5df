package tigergraph

import (
	"slices"
	"sync"
	"time"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/balance"
	"github.com/caddy-tigergraph/caddy-tigergraph/internal/health"
	"github.com/caddy-tigergraph/caddy-tigergraph/internal/service"
)

// standings is room for a look at all nodes.
type standings struct {
	nodes []balance.Standing
	tiers []balance.Tier
}

var standingsPool = sync.Pool{New: func() any { return new(standings) }}

// look returns the standings of all nodes of the pool, with room for their tiers.
// The caller puts them back.
func (c *call) look(failed balance.Set) *standings {
	room := standingsPool.Get().(*standings)
	room.nodes = room.nodes[:0]
	for i := range c.pool {
		room.nodes = append(room.nodes, c.standing(i, failed))
	}
	room.tiers = slices.Grow(room.tiers[:0], len(c.pool))[:len(c.pool)]
	return room
}

// memberAt returns the member with an address, nil if the policy has none.
func (c *call) memberAt(address string) *member {
	c.align()
	for _, m := range c.roster.members {
		if m != nil && m.Address == address {
			return m
		}
	}
	return nil
}

// standing returns what counts of a node of the pool for this request.
func (c *call) standing(i int, failed balance.Set) balance.Standing {
	upstream, m := c.pool[i], c.roster.byPool[i]
	standing := balance.Standing{
		Seed:     m.seed,
		Weight:   max(m.weight, 1), // without weight it gets something only where there is no other
		Healthy:  upstream.Healthy(),
		Full:     upstream.Full(),
		Failed:   failed.Has(m.index),
		Draining: m.isDraining(),
		Backup:   m.backup,
		Standby:  m.cluster != c.roster.active,
		Kept:     m.cluster == c.roster.kept,
	}
	// An outlook has no request, and tells of one that is no read.
	if standing.Standby && c.policy.StandbyReads && c.request != nil {
		standing.Reads = m.cluster == balance.FirstStandby(c.roster.active) && service.Repeatable(c.request)
	}
	if upstream.Host != nil {
		standing.Load = upstream.NumRequests()
	}
	if m.prober == nil {
		return standing
	}
	verdict := m.prober.Verdict(c.service)
	standing.Down = verdict == health.Down
	standing.GoodWord = m.prober.GoodWord(c.service)
	if since, silent := m.prober.Failing(c.service); silent {
		standing.SilentSince = since
	}
	standing.Unchecked = verdict == health.Unknown && c.policy.startChecking[c.service]
	if c.policy.SlowStart != 0 {
		warmth := m.prober.Warmth(c.service, time.Duration(c.policy.SlowStart))
		standing.Weight *= warmth
		standing.Warming = warmth < 1
	}
	return standing
}

// align makes the roster's alignment that of the pool.
func (c *call) align() {
	if !c.aligned {
		c.roster, c.aligned = c.policy.rosterFor(c.pool), true
	}
}

// position returns a member's place in the pool, or None.
func (c *call) position(m *member) int {
	if i, ok := c.roster.place(m, c.pool); ok {
		return i
	}
	c.align()
	i, _ := c.roster.place(m, c.pool)
	return i
}
