package balance

import "math/rand/v2"

// Lineup is the candidates among a pool's nodes at some moment, for requests that
// belong to none of them. As long as no standing changes but the loads, it saves
// looking at the others again. It is immutable.
type Lineup struct {
	// Nodes are the indexes of the candidates.
	Nodes []int32
	// Weights are the candidates' weights; nil if they are equal.
	Weights []float64
}

// NewLineup returns the candidates if there are any by right, nil otherwise.
func NewLineup(nodes []Standing, tiers []Tier) *Lineup {
	best := Excluded
	for i := range nodes {
		nodes[i] = nodes[i].settled()
		nodes[i].Healthy = true // who chooses one asks Caddy, whose checks do not tell when they change
		tiers[i] = nodes[i].tier(false)
		best = min(best, tiers[i])
	}
	if best != Primary && best != Backup {
		return nil
	}
	l := new(Lineup)
	equal := true
	for i, node := range nodes {
		if tiers[i] != best {
			continue
		}
		l.Nodes = append(l.Nodes, int32(i))
		l.Weights = append(l.Weights, node.Weight)
		equal = equal && node.Weight == l.Weights[0]
	}
	if equal {
		l.Weights = nil
	}
	return l
}

// Least returns the candidate, by its place in the line-up, with the fewest requests
// in flight for its weight, the new one included; one of them at random if there are
// several. The loads are those of the candidates.
func (l *Lineup) Least(loads []int32) int {
	if l.Weights == nil {
		return leastOf(loads)
	}
	least, ties := 0.0, 0
	for i, load := range loads {
		switch score := Score(int(load), l.Weights[i]); {
		case ties == 0 || score < least:
			least, ties = score, 1
		case score == least:
			ties++
		}
	}
	nth := draw(ties)
	for i, load := range loads {
		if Score(int(load), l.Weights[i]) == least {
			if nth == 0 {
				return i
			}
			nth--
		}
	}
	return None
}

// leastOf is Least where all weights are equal.
func leastOf(loads []int32) int {
	if len(loads) == 0 {
		return None
	}
	least, ties := loads[0], 0
	for _, load := range loads {
		if load < least {
			least, ties = load, 0
		}
		if load == least {
			ties++
		}
	}
	nth := draw(ties)
	for i, load := range loads {
		if load == least {
			if nth == 0 {
				return i
			}
			nth--
		}
	}
	return None
}

// draw returns one of so many at random.
func draw(ties int) int {
	if ties < 2 {
		return 0
	}
	return int(rand.Uint32N(uint32(ties))) //nolint:gosec // no secret depends on it, and no pool is that large
}
