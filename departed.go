package tigergraph

import (
	"maps"
	"slices"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/lookup"
)

// forget drops the members that have not been in a dynamic pool for long, and of those
// that have left it all but the last ones.
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
	known := slices.DeleteFunc(slices.Clone(current.members), func(m *member) bool { return m == nil })
	there, static := make(map[*member]bool), make(map[string]bool)
	for _, m := range p.stillThere(current) {
		there[m] = true
	}
	for _, upstream := range p.host.Upstreams { // used when the dynamic source fails
		static[upstream.Dial] = true
	}
	nodes := make([]lookup.Presence, len(known))
	for i, m := range known {
		nodes[i] = lookup.Presence{Seen: m.seen, There: there[m], InPool: current.upstream(m) != nil, Static: static[m.dial]}
	}
	kept := *current
	kept.members, kept.byDial = slices.Clone(current.members), maps.Clone(current.byDial)
	var forgotten []*member
	for _, i := range lookup.Forgotten(nodes, now) {
		m := known[i]
		kept.members[m.index] = nil
		delete(kept.byDial, m.dial)
		forgotten = append(forgotten, m)
	}
	for i, m := range known {
		m.seen = nodes[i].Seen
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
