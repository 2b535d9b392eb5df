package balance

import (
	"math"
	"math/rand/v2"
)

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
// several. The loads are those of the candidates, and so is the tally: who reads them
// makes it on the way, since a second look at a hundred would cost more than the first.
func (l *Lineup) Least(loads []int32, tally Tally) int {
	if l.Weights == nil {
		return tally.pick(loads)
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

// Tally keeps account of how many of the loads that were added are the smallest.
type Tally struct {
	least int32
	ties  int
}

// NewTally returns one without loads.
func NewTally() Tally { return Tally{least: math.MaxInt32} }

// Add takes in a load.
func (t *Tally) Add(load int32) {
	switch {
	case load == t.least:
		t.ties++
	case load < t.least:
		t.least, t.ties = load, 1
	}
}

// pick returns the place of one of the smallest loads, at random.
func (t *Tally) pick(loads []int32) int {
	nth := draw(t.ties)
	if t.ties == len(loads) && len(loads) > 0 {
		return nth
	}
	for i, load := range loads {
		if load == t.least {
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
