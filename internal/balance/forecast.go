package balance

// Forecast says what would become of new clients.
type Forecast struct {
	// Best is the tier of the candidates, Excluded if there are none.
	Best Tier
	// Shares is which part of the new clients each node would get.
	Shares []float64
}

// NewForecast looks at all nodes as for a new client's request. Where weights do
// not count, as with a fallback policy, the candidates are taken to share alike.
func NewForecast(nodes []Standing, failClosed, weighted bool) Forecast {
	r := Request{Query: None, Session: None, Pin: None, FailClosed: failClosed}
	tiers := make([]Tier, len(nodes))
	f := Forecast{Best: rank(&r, nodes, tiers), Shares: make([]float64, len(nodes))}
	if f.Best == Excluded {
		return f
	}
	total := 0.0
	for i, node := range nodes {
		if tiers[i] != f.Best {
			continue
		}
		f.Shares[i] = 1
		if weighted {
			f.Shares[i] = node.Weight
		}
		total += f.Shares[i]
	}
	for i := range f.Shares {
		f.Shares[i] /= total
	}
	return f
}
