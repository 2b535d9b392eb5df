package lookup

import (
	"slices"
	"time"
)

// Nodes that a source does not name any more may come back, and are remembered for a
// while. The bounds of that:
const (
	// ForgetAfter is how long a node is remembered after it was last there.
	ForgetAfter = 10 * time.Minute
	// MostDeparted is how many nodes are remembered that have left: those that left last.
	MostDeparted = 100
)

// Presence is what counts of a node for whether it is remembered.
type Presence struct {
	// Seen is when the node was last there, zero if nobody has looked yet.
	Seen time.Time
	// There is whether the sources or the last requests name the node, InPool whether it is
	// in the pool of the last request, and Static whether it is used while no source names one.
	There, InPool, Static bool
}

// Forgotten returns the indices of the nodes that need not be remembered any longer. It
// notes when each was last there.
func Forgotten(nodes []Presence, now time.Time) (forgotten []int) {
	var departed []int
	for i := range nodes {
		node := &nodes[i]
		if node.There || node.Seen.IsZero() {
			node.Seen = now
		}
		switch {
		case node.Static:
		case now.Sub(node.Seen) >= ForgetAfter:
			forgotten = append(forgotten, i)
		case !node.There && !node.InPool:
			departed = append(departed, i)
		}
	}
	if surplus := len(departed) - MostDeparted; surplus > 0 {
		slices.SortStableFunc(departed, func(a, b int) int { return nodes[a].Seen.Compare(nodes[b].Seen) })
		forgotten = append(forgotten, departed[:surplus]...)
	}
	return forgotten
}
