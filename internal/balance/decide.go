package balance

import (
	"iter"
	"math/rand/v2"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/affinity"
)

// Request is what a decision needs to know of a request and its client. Nodes are
// given by their index among the standings, None where there is none.
type Request struct {
	// Query is the node that alone knows the asynchronous query that the request is
	// about. IsQuery is set if there is one, though it may be in no pool.
	Query   int
	IsQuery bool
	// Session is the node that knows the client's GSQL session.
	Session int
	// Pin is the node that the client's cookie names.
	Pin int
	// Moved is the node that a client known by its key was moved to.
	Moved int
	// Home is the node that hashing names while all is well.
	Home int

	// Key identifies a client without a node, Hashed says by what.
	Key    uint64
	Hashed Reason
	// Keyed: the client has nothing but its key, so it may have to be remembered
	// where it is moved.
	Keyed bool
	// Fallback: a fallback policy has its say where the client has no node.
	Fallback bool
	// Spread: the request belongs to no node.
	Spread bool
	// Retry: an earlier attempt has failed.
	Retry bool
	// FailClosed keeps requests from nodes that are no candidates by right.
	FailClosed bool
}

// Decision is the answer.
type Decision struct {
	// Node gets the request; None if none may, or if the node that it has to go to
	// is full.
	Node int
	Why  Reason
	// Best is the tier of the candidates.
	Best Tier
	// AskFallback: the fallback policy is to choose among the candidates.
	AskFallback bool
	// Open: the request is sent although no node is a candidate by right.
	Open bool
	// Exhausted: Node is None, and will be until something changes.
	Exhausted bool
	// Remember: the client was moved, and stays there. Forget: it has come home.
	Remember, Forget bool

	// silent is the client's own node if it does not answer, but no other is known to be
	// better; None if that is not so.
	silent int
}

// IsVisit reports whether a standby answers what only reads. It does not become the
// client's node: once that is back, nobody shall have lost a session.
func (d *Decision) IsVisit() bool { return d.Why == Standby }

// Decide chooses a node by looking at all of them. It stores each node's tier in
// tiers, which is as long as nodes: a node is a candidate if its tier is the best.
func Decide(r *Request, nodes []Standing, tiers []Tier) Decision {
	own := r.own()
	d := Decision{Node: None, silent: None}
	if stays(r, own, nodes) {
		d.silent = own
		nodes[own].Down, nodes[own].Failed = false, false
	}
	d.Best = rank(r, nodes, tiers)
	if d.Best == Excluded {
		d.Exhausted = true
		return d
	}
	if r.IsQuery {
		// Others would say that there is no such query, and clients would ask for
		// ever.
		if honoured(r.Query, d.Best, tiers) {
			d.choose(r, r.Query, RequestID, nodes)
		}
		return d
	}
	if honoured(r.Session, d.Best, tiers) {
		d.choose(r, r.Session, Session, nodes)
		return d
	}
	if honoured(r.Pin, d.Best, tiers) {
		d.choose(r, r.Pin, Cookie, nodes)
		return d
	}
	if d.Best == StandbyReads {
		d.choose(r, hashed(r.Key, nodes, tiers, d.Best), Standby, nodes)
		return d
	}
	lost := r.Pin != None || r.Session != None
	switch {
	case r.Fallback:
		d.AskFallback = true
		d.Why = Fallback
		if lost || r.Retry {
			d.Why = Failover
		}
		d.opened(r, nodes)
		return d
	case r.Spread && !lost:
		d.choose(r, leastLoaded(nodes, tiers, d.Best), Spread, nodes)
		if r.Retry && d.Why == Spread {
			d.Why = Failover
		}
		return d
	case !lost && r.Moved != None && tiers[r.Moved] == d.Best:
		d.choose(r, r.Moved, Moved, nodes)
		return d
	}
	chosen := hashed(r.Key, nodes, tiers, d.Best)
	why := r.Hashed
	if chosen != r.Home || lost || r.Retry {
		why = Failover
	}
	d.choose(r, chosen, why, nodes)
	d.noteMove(r, nodes)
	return d
}

// own returns the node that the client belongs to.
func (r *Request) own() int {
	switch {
	case r.IsQuery:
		return r.Query
	case r.Session != None:
		return r.Session
	case r.Pin != None:
		return r.Pin
	case r.Spread || r.Fallback:
		return None
	case r.Moved != None:
		return r.Moved
	}
	return r.Home
}

// stays reports whether a client stays on a node that does not answer, because no
// other candidate has given a good word since that began: nobody is moved to a node
// that is no better.
func stays(r *Request, own int, nodes []Standing) bool {
	if own == None {
		return false
	}
	since := nodes[own].SilentSince
	if since == 0 || !nodes[own].Down && !nodes[own].Failed {
		return false
	}
	for i := range others(own, nodes) {
		if nodes[i].GoodWord > since {
			return false
		}
	}
	// Its standing apart from that must be one to stay for.
	mended := nodes[own]
	mended.Down, mended.Failed = false, false
	t := mended.tier(own == r.Session || own == r.Pin || r.IsQuery)
	return t == Primary || t == Backup
}

// others yields the nodes that a client may be moved to from its own.
func others(own int, nodes []Standing) iter.Seq[int] {
	return func(yield func(int) bool) {
		for i, node := range nodes {
			if i == own {
				continue
			}
			if t := node.tier(false); (t == Primary || t == Backup) && !yield(i) {
				return
			}
		}
	}
}

// mostAsked is how many other nodes are asked whether they are better than a client's own.
const mostAsked = 3

// Asked yields the nodes, a few, that are to be asked for a good word where a client stays
// on one that does not answer: live requests give none while nobody listens to them.
func (d *Decision) Asked(nodes []Standing) iter.Seq[int] {
	return func(yield func(int) bool) {
		if d.silent == None || d.Node != d.silent {
			return
		}
		asked := 0
		for i := range others(d.silent, nodes) {
			if asked++; asked > mostAsked || !yield(i) {
				return
			}
		}
	}
}

// rank stores the tiers of all nodes and returns the best.
func rank(r *Request, nodes []Standing, tiers []Tier) (best Tier) {
	best = Excluded
	unchecked := false
	for i, node := range nodes {
		tiers[i] = node.tier(i == r.Pin || i == r.Session || r.IsQuery && i == r.Query)
		best = min(best, tiers[i])
		unchecked = unchecked || node.Unchecked && !node.Standby
	}
	if best.IsOpen() && (r.FailClosed || unchecked) {
		return Excluded
	}
	return best
}

// honoured reports whether a client gets the node that it belongs to. While a pool
// fails open this is worth more than the order of the tiers: verdicts say little
// then, and a session is at stake.
func honoured(own int, best Tier, tiers []Tier) bool {
	return own != None && (tiers[own] == best || best.IsOpen() && tiers[own].IsOpen())
}

// choose notes the choice, unless the node is full: waiting costs the user less
// than the session.
func (d *Decision) choose(r *Request, node int, why Reason, nodes []Standing) {
	if node != None && nodes[node].Full {
		return
	}
	d.Node, d.Why = node, why
	d.opened(r, nodes)
}

// opened notes whether the pool fails open for the request. It is called so only if
// no node of the service was better, the ones that have failed this request and the
// full ones included.
func (d *Decision) opened(r *Request, nodes []Standing) {
	if !d.Best.IsOpen() {
		return
	}
	d.Open = true
	for i, node := range nodes {
		if node.settled().tier(i == r.Pin || i == r.Session) < OpenUp {
			d.Why = Failover
			return
		}
	}
	d.Why = FailOpen
}

// noteMove says whether a client that is known by its key alone is to be remembered
// where it is sent. A home that is only full, or failed this one request, will be
// its home again at the next.
func (d *Decision) noteMove(r *Request, nodes []Standing) {
	if !r.Keyed || d.Node == None || r.Home == None {
		return
	}
	if d.Node != r.Home {
		home := nodes[r.Home].settled()
		d.Remember = home.Warming || !home.Suits(false)
		return
	}
	if r.Moved != None {
		d.Forget = !nodes[r.Moved].settled().Suits(false)
	}
}

// hashed returns the candidate that rendezvous hashing names.
func hashed(key uint64, nodes []Standing, tiers []Tier, best Tier) int {
	first, equal := None, true
	for i := range nodes {
		if tiers[i] != best {
			continue
		}
		if first == None {
			first = i
		}
		equal = equal && nodes[i].Weight == nodes[first].Weight
	}
	chosen := None
	if equal { // among equal weights the order is the same, without a logarithm
		highest := uint64(0)
		for i := range nodes {
			if tiers[i] != best {
				continue
			}
			if score := affinity.Score(key, nodes[i].Seed); score > highest || chosen == None {
				chosen, highest = i, score
			}
		}
		return chosen
	}
	highest := 0.0
	for i := range nodes {
		if tiers[i] != best {
			continue
		}
		if score := affinity.WeightedScore(key, nodes[i].Seed, nodes[i].Weight); score > highest || chosen == None {
			chosen, highest = i, score
		}
	}
	return chosen
}

// leastLoaded returns the candidate with the fewest requests in flight for its
// weight, the new one included; one of them at random if there are several.
func leastLoaded(nodes []Standing, tiers []Tier, best Tier) int {
	chosen, least, ties := None, 0.0, 0
	for i := range nodes {
		if tiers[i] != best {
			continue
		}
		switch score := Score(nodes[i].Load, nodes[i].Weight); {
		case chosen == None || score < least:
			chosen, least, ties = i, score, 1
		case score == least:
			// https://en.wikipedia.org/wiki/Reservoir_sampling
			ties++
			if rand.IntN(ties) == 0 { //nolint:gosec // no secret depends on it
				chosen = i
			}
		}
	}
	return chosen
}

// Score is what a node would carry for its weight with one more request.
func Score(load int, weight float64) float64 { return float64(load+1) / weight }
