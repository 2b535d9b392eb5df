// Package balance decides which node gets a request. Values go in, what counts of
// each node for this request, and a decision comes out: which node, and why.
//
// A decision has two steps, so that most requests cost one look. If the client has
// a node of its own (a session, a cookie, a home) and that node suits, all is
// settled (Standing.Suits). Only if not, all nodes are looked at (Decide).
package balance

// None is the index of no node.
const None = -1

// Standing is what counts of one node for one request at this moment. The zero
// value but for Healthy and Weight is that of a node without a blemish.
type Standing struct {
	// Seed is the node's part of a rendezvous hash, by affinity.Seed.
	Seed uint64
	// Weight is the node's share of new clients, slow start included; above 0.
	Weight float64
	// Load is how many requests the node has in flight.
	Load int
	// SilentSince is when the failures of the request's service began, if they are
	// time-outs and nothing else; 0 if there are none, or any other. It and
	// GoodWord are moments of one clock.
	SilentSince int64
	// GoodWord is when the service last proved that it lives; 0 if it never did.
	GoodWord int64

	// Healthy: Caddy's passive checks and circuit breaker have nothing against it.
	Healthy bool
	// Full: it has as many requests in flight as it may have.
	Full bool
	// Failed: it has failed this same request already.
	Failed bool
	// Down: the verdict for the request's service is down.
	Down bool
	// Unchecked: it must not be used before a first check has passed.
	Unchecked bool
	// Draining: it takes no new clients.
	Draining bool
	// Backup: it is used only where no primary can be.
	Backup bool
	// Warming: slow start keeps it below its weight.
	Warming bool
	// Standby: it belongs to a cluster that is not the active one.
	Standby bool
	// Kept: its cluster was the active one, and keeps its sessions for a while.
	Kept bool
	// Reads: it belongs to the standby cluster that may get this request, which
	// can be sent twice, while the active cluster cannot serve.
	Reads bool
}

// Tier orders nodes by how willingly they are used for a request. The candidates
// are the nodes of the best tier that has any.
type Tier uint8

// The tiers. From OpenUp on a pool fails open: checks must never empty a pool
// that works.
const (
	// Primary nodes are where requests belong.
	Primary Tier = iota
	// Backup nodes step in.
	Backup
	// StandbyReads are nodes of a standby cluster that get what only reads.
	StandbyReads
	// OpenUp nodes are up, but Caddy's passive checks or a circuit breaker are
	// against them.
	OpenUp
	OpenUpBackup
	// OpenUpDraining nodes are up and take no new clients.
	OpenUpDraining
	// OpenDown nodes are down by their verdict.
	OpenDown
	OpenDownBackup
	OpenDownDraining
	// Excluded nodes are no candidates at all.
	Excluded
)

// IsOpen reports whether a node of this tier is used only because the pool fails
// open.
func (t Tier) IsOpen() bool { return t >= OpenUp && t < Excluded }

// OpenWarning returns what an operator is told where the best nodes are of this tier,
// and the pool fails open.
func (t Tier) OpenWarning() string {
	if t < OpenDown {
		return "every node that is up is draining, or out by Caddy's passive checks or circuit breakers; requests are sent to them all the same"
	}
	return "every node is down by its health checks; requests are sent to them all the same"
}

// Suits reports whether a request can be sent to the client's own node at once,
// whatever the standing of the others. A session stays on a node that is draining.
func (s Standing) Suits(session bool) bool {
	return !s.Full && s.tier(session) == Primary
}

// Serves reports whether the node can serve the sessions it has.
func (s Standing) Serves() bool { return s.tier(true) <= Backup }

// tier returns where a node stands if the pool may fail open. The node of a
// session counts although it is draining, or full: it is waited for.
func (s Standing) tier(session bool) Tier {
	if s.Failed || s.Full && !session {
		return Excluded
	}
	draining := s.Draining && !session
	usable := s.Healthy && !s.Down && !s.Unchecked && !draining
	if s.Standby {
		switch {
		case usable && session && s.Kept:
			return Primary
		case usable && s.Reads:
			return StandbyReads
		}
		return Excluded
	}
	if usable {
		if s.Backup {
			return Backup
		}
		return Primary
	}
	open := OpenUp
	if s.Down || s.Unchecked {
		open = OpenDown
	}
	switch {
	case draining:
		return open + 2
	case s.Backup:
		return open + 1
	}
	return open
}

// settled is the standing without what is true of this one request or moment only.
func (s Standing) settled() Standing {
	s.Full, s.Failed = false, false
	return s
}

// FirstStandby returns the index of the first cluster that is not the active one.
func FirstStandby(active int) int {
	if active == 0 {
		return 1
	}
	return 0
}
