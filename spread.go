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
	l := c.policy.lineups[c.service].Load()
	same := l != nil && l.roster == c.roster && len(l.pool) == len(c.pool) && &l.pool[0] == &c.pool[0]
	if same {
		c.aligned = true
	}
	c.align()
	if l == nil || l.roster != c.roster || l.changes != c.policy.app.fleet.Changes() || !l.until.IsZero() && time.Now().After(l.until) {
		l = c.lineUp()
		same = len(l.pool) > 0
	}
	if l.Lineup == nil || len(l.Nodes) > mostAtOnce {
		return balance.None
	}
	var buffer [mostAtOnce]int32
	loads := buffer[:len(l.Nodes)]
	tally := balance.NewTally()
	if same {
		for place, host := range l.hosts {
			loads[place] = int32(host.NumRequests()) //nolint:gosec // nobody has so many in flight
			tally.Add(loads[place])
		}
	} else {
		for place, i := range l.Nodes {
			if host := c.pool[i].Host; host != nil {
				loads[place] = int32(host.NumRequests()) //nolint:gosec // nobody has so many in flight
			}
			tally.Add(loads[place])
		}
	}
	place := l.Least(loads, tally)
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
	if l.Lineup = balance.NewLineup(room.nodes, room.tiers); l.Lineup != nil {
		l.pool = c.pool
		for _, i := range l.Nodes {
			if host := c.pool[i].Host; host != nil {
				l.hosts = append(l.hosts, host)
			} else { // Caddy does not count
				l.pool = nil
			}
		}
	}
	for _, node := range room.nodes {
		if node.Warming {
			l.until = time.Now().Add(lineupLasts)
		}
	}
	c.policy.lineups[c.service].Store(l)
	return l
}
