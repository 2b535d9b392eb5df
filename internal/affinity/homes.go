package affinity

// Homes are the nodes that clients belong to while all is well. Of equal weights none
// counts, which spares a logarithm.
type Homes struct {
	places  []int
	seeds   []uint64
	weights []float64
	unequal bool
}

// Add adds a node by its place among all, its seed, and its weight, more than 0.
func (h *Homes) Add(place int, seed uint64, weight float64) {
	h.places, h.seeds, h.weights = append(h.places, place), append(h.seeds, seed), append(h.weights, weight)
	h.unequal = h.unequal || weight != h.weights[0]
}

// Places are the places of the nodes.
func (h *Homes) Places() []int { return h.places }

// AreWeighed reports whether weights count.
func (h *Homes) AreWeighed() bool { return h.unequal }

// Of returns the place of a client's home, -1 if there is no node.
func (h *Homes) Of(key uint64) int {
	switch {
	case len(h.places) == 0:
		return -1
	case h.unequal:
		return h.places[WeightedHome(key, h.seeds, h.weights)]
	}
	return h.places[Home(key, h.seeds)]
}
