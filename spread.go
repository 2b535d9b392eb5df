package tigergraph

import (
	"time"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/balance"
)

// lineupLasts is how long the weights of a slow start are taken to stay the same.
const lineupLasts = 100 * time.Millisecond

// mostAtOnce is how many loads are looked at without an allocation.
const mostAtOnce = 256

// leastLoaded returns the place of the candidate with the fewest requests in flight
// for its weight; None if that takes a closer look.
func (c *call) leastLoaded() int {
	c.align()
	l := c.policy.lineups[c.service].Load()
	if l == nil || l.roster != c.roster || l.changes != c.policy.app.fleet.Changes() || !l.until.IsZero() && time.Now().After(l.until) {
		l = c.lineUp()
	}
	if l.Lineup == nil || len(l.Nodes) > mostAtOnce {
		return balance.None
	}
	var buffer [mostAtOnce]int32
	loads := buffer[:len(l.Nodes)]
	for place, i := range l.Nodes {
		if host := c.pool[i].Host; host != nil {
			loads[place] = int32(host.NumRequests()) //nolint:gosec // nobody has so many in flight
		}
	}
	place := l.Least(loads)
	if place == balance.None {
		return balance.None
	}
	i := int(l.Nodes[place])
	if !c.pool[i].Available() {
		return balance.None
	}
	return i
}

// lineUp makes a service's line-up anew.
func (c *call) lineUp() *lineup {
	l := &lineup{roster: c.roster, changes: c.policy.app.fleet.Changes()}
	room := c.look(nil)
	defer standingsPool.Put(room)
	l.Lineup = balance.NewLineup(room.nodes, room.tiers)
	for _, node := range room.nodes {
		if node.Warming {
			l.until = time.Now().Add(lineupLasts)
		}
	}
	c.policy.lineups[c.service].Store(l)
	return l
}
