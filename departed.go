package tigergraph

import (
	"maps"
	"slices"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
)

// forgetAfter is how long a node of a dynamic pool is checked after it was last
// in there.
const forgetAfter = 10 * time.Minute

// mostDeparted is how many nodes are checked that have left a dynamic pool: those
// that left last.
const mostDeparted = 100

// forget drops the members that have not been in a dynamic pool for long.
func (p *Policy) forget(now time.Time) {
	if !p.dynamic {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.released {
		return
	}
	current := p.roster.Load()
	there := p.stillThere(current)
	for _, m := range there {
		m.seen = now
	}
	kept := *current
	kept.members = make([]*member, len(current.members))
	kept.byDial = make(map[string]*member, len(current.byDial))
	var forgotten []*member
	for i, m := range current.members {
		switch {
		case m == nil:
		case m.seen.IsZero(): // new since the last look
			m.seen = now
			fallthrough
		case now.Sub(m.seen) < forgetAfter || p.isStatic(m):
			kept.members[i], kept.byDial[m.dial] = m, m
		default:
			forgotten = append(forgotten, m)
		}
	}
	for _, m := range p.surplus(&kept, there) {
		kept.members[m.index] = nil
		delete(kept.byDial, m.dial)
		forgotten = append(forgotten, m)
	}
	if forgotten == nil {
		return
	}
	if kept.tokens != nil {
		kept.issue(p, kept.tokens.Epoch())
	}
	left := slices.DeleteFunc(slices.Clone(current.pool), func(u *reverseproxy.Upstream) bool { return kept.byDial[u.Dial] == nil })
	aligned := kept.align(left)
	aligned.borrowed = current.borrowed
	p.roster.Store(aligned)
	for _, m := range forgotten {
		if m.prober != nil && p.owner != nil {
			m.prober.Prober.Release(p.owner.lend(m))
		}
		m.release(p.app.fleet)
	}
}

// stillThere returns the members that are in the pool now. Where only requests tell what is
// in there, and there was none since the last look, that is what they told last.
func (p *Policy) stillThere(current *roster) (members []*member) {
	asked := p.asked.Swap(false)
	if sources, ours := p.host.DynamicUpstreams.(*Upstreams); ours {
		if dials, known := sources.known(); known {
			for _, dial := range dials {
				if m := current.byDial[dial]; m != nil {
					members = append(members, m)
				}
			}
			if !asked {
				return members
			}
		}
	}
	return append(members, current.byPool...)
}

// surplus returns the nodes that left the dynamic pool first, if too many have. The
// caller holds the policy's lock, and says which are still there.
func (p *Policy) surplus(known *roster, there []*member) []*member {
	departed := make(map[string]*member, len(known.byDial))
	maps.Copy(departed, known.byDial)
	for _, m := range slices.Concat(known.byPool, there) {
		delete(departed, m.dial)
	}
	if len(departed) <= mostDeparted {
		return nil
	}
	byTime := slices.SortedFunc(maps.Values(departed), func(a, b *member) int { return a.seen.Compare(b.seen) })
	byTime = slices.DeleteFunc(byTime, p.isStatic)
	return byTime[:max(len(byTime)-mostDeparted, 0)]
}

// isStatic reports whether a member is used when the dynamic source fails.
func (p *Policy) isStatic(m *member) bool {
	return slices.ContainsFunc(p.host.Upstreams, func(u *reverseproxy.Upstream) bool { return u.Dial == m.dial })
}
