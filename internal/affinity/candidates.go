package affinity

// Standing is what counts of one node for one request.
type Standing struct {
	// Healthy: Caddy's passive checks and circuit breaker have nothing against it.
	Healthy bool
	// Full: it has as many requests in flight as it may have.
	Full bool
	// Failed: it has failed this same request already.
	Failed bool
	// Down: its health checks say that it cannot serve the request's service.
	Down bool
	// Unchecked: it must not be used before a first check has passed.
	Unchecked bool
	// Draining: it takes no new clients.
	Draining bool
	// Backup: it is used only where no primary can be.
	Backup bool
}

// Tier orders nodes by how willingly they are used for a request. Only nodes of
// the best tier that has any are candidates.
type Tier uint8

const (
	// Primary nodes are where requests belong.
	Primary Tier = iota
	// Backup nodes may hold old data.
	Backup
	// FailOpen nodes are down by their checks, which must never empty a pool
	// that works.
	FailOpen
	// FailOpenBackup nodes are backups besides.
	FailOpenBackup
	// FailOpenDraining nodes are the last resort.
	FailOpenDraining
	// Excluded nodes are no candidates at all.
	Excluded
)

// IsFailOpen reports whether a node of this tier is used against the verdict of
// its checks, or while it takes no new clients.
func (t Tier) IsFailOpen() bool { return t >= FailOpen && t < Excluded }

// Suits reports whether a request of a client that belongs to the node can be
// sent there at once, whatever the standing of the others.
func (s Standing) Suits(pinned bool) bool {
	return !s.Full && s.tier(pinned) == Primary
}

// tier returns where a node stands, if the pool may fail open. The client's own
// node counts although it is draining or full: it is waited for.
func (s Standing) tier(pinned bool) Tier {
	if !s.Healthy || s.Failed || (s.Full && !pinned) {
		return Excluded
	}
	switch usable := !s.Down && !s.Unchecked && (!s.Draining || pinned); {
	case usable && !s.Backup:
		return Primary
	case usable:
		return Backup
	case s.Draining && !pinned:
		return FailOpenDraining
	case s.Backup:
		return FailOpenBackup
	default:
		return FailOpen
	}
}

// NoPin is the index of no node.
const NoPin = -1

// Candidates says which nodes may get a request. It stores the tier of each node
// in tiers, which is as long as nodes, and returns the best one: the candidates
// are the nodes of that tier, and there are none if it is Excluded. For a client
// that is pinned to a node, honoured says whether that node gets the request.
func Candidates(nodes []Standing, pinned int, failClosed bool, tiers []Tier) (best Tier, honoured bool) {
	best = Excluded
	unchecked := false
	for i, node := range nodes {
		tiers[i] = node.tier(i == pinned)
		best = min(best, tiers[i])
		unchecked = unchecked || node.Healthy && node.Unchecked
	}
	if best.IsFailOpen() && (failClosed || unchecked) {
		best = Excluded
	}
	if pinned == NoPin || best == Excluded {
		return best, false
	}
	// While a pool is failing open, a pin is worth more than the order of the
	// tiers: verdicts say little then, and a session is at stake.
	own := tiers[pinned]
	return best, own == best || best.IsFailOpen() && own.IsFailOpen()
}
