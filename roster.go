package tigergraph

import (
	"slices"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/affinity"
	"github.com/caddy-tigergraph/caddy-tigergraph/internal/balance"
)

// roster is a picture of the nodes that a policy knows and of the tokens that
// are valid for them. It is immutable; changes make a new one.
type roster struct {
	members []*member // nil where one was forgotten
	byDial  map[string]*member
	tokens  *affinity.Tokens // nil until the key is known
	cookies []affinity.Lines // by index of the member
	// active is the cluster that gets requests; kept the one that was before, and
	// keeps its sessions, -1 if none does.
	active, kept int
	alignment
}

// alignment says how the upstreams of a pool correspond to members. The last
// pool's is kept: static upstreams never change, and others seldom do.
type alignment struct {
	pool   reverseproxy.UpstreamPool
	byPool []*member
	// borrowed is whether the upstreams are those of the configuration before, with its
	// settings, until a request brings others.
	borrowed bool
	homes    affinity.Homes
	// position is the index in the pool, by index of the member; balance.None where the pool lacks it.
	position []int
}

// homesOf returns the nodes that clients belong to while all is well: the primaries
// with a weight, or all if there are none; none where a dynamic pool lacks the cluster.
func homesOf(members []*member, active int) (homes affinity.Homes) {
	eligible := func(m *member) bool { return m.cluster == active && !m.backup && m.weight > 0 }
	if !slices.ContainsFunc(members, eligible) {
		eligible = func(m *member) bool { return m.cluster == active }
	}
	for i, m := range members {
		if eligible(m) {
			homes.Add(i, m.seed, max(m.weight, 1)) // those of weight 0 are equal
		}
	}
	return homes
}

// same reports whether an upstream stands where it did. That of a dynamic pool is another
// one for each request; its host, which counts, is another one only if Caddy had
// forgotten it.
func (a *alignment) same(i int, upstream *reverseproxy.Upstream) bool {
	of := a.pool[i]
	return of == upstream || !a.borrowed && of.Host == upstream.Host && of.Dial == upstream.Dial
}

// fits reports whether the alignment is that of this pool.
func (a *alignment) fits(pool reverseproxy.UpstreamPool) bool {
	if len(pool) != len(a.pool) {
		return false
	}
	for i, upstream := range pool {
		if !a.same(i, upstream) {
			return false
		}
	}
	return true
}

// place returns a member's index in a pool, balance.None if it is not in there. It is
// not ok if the alignment turns out to be another pool's.
func (a *alignment) place(m *member, pool reverseproxy.UpstreamPool) (i int, ok bool) {
	if m.index >= len(a.position) || len(pool) != len(a.pool) {
		return balance.None, false
	}
	i = a.position[m.index]
	if i == balance.None || a.byPool[i] != m {
		return balance.None, a.fits(pool)
	}
	return i, a.same(i, pool[i])
}

// align returns the roster with the alignment of another pool, all of whose
// upstreams must be members.
func (r *roster) align(pool reverseproxy.UpstreamPool) *roster {
	aligned := *r
	aligned.alignment = alignment{
		pool:     slices.Clone(pool),
		byPool:   make([]*member, len(pool)),
		position: make([]int, len(r.members)),
	}
	for i := range aligned.position {
		aligned.position[i] = balance.None
	}
	for i, upstream := range pool {
		m := r.byDial[upstream.Dial]
		aligned.byPool[i] = m
		if aligned.position[m.index] == balance.None {
			aligned.position[m.index] = i
		}
	}
	aligned.homes = homesOf(aligned.byPool, r.active)
	return &aligned
}

// upstream returns a member's upstream in the last pool, nil if it was not in
// there.
func (r *roster) upstream(m *member) *reverseproxy.Upstream {
	if m.index >= len(r.position) || r.position[m.index] == balance.None {
		return nil
	}
	return r.pool[r.position[m.index]]
}

// knows reports whether every upstream of a pool is a member.
func (r *roster) knows(pool reverseproxy.UpstreamPool) bool {
	for _, upstream := range pool {
		if _, ok := r.byDial[upstream.Dial]; !ok {
			return false
		}
	}
	return true
}

// lineup is a line-up of a service's candidates, and what it holds for.
type lineup struct {
	*balance.Lineup // nil if no node is a candidate by right
	roster          *roster
	// pool is what the roster was aligned with, and hosts have the loads of the
	// candidates as long as it is the same. Nobody changes a pool in its place: requests
	// read it at any time.
	pool    reverseproxy.UpstreamPool
	hosts   []*reverseproxy.Host
	changes uint64
	// until is when slow start has changed the weights; zero if it does not.
	until time.Time
}
