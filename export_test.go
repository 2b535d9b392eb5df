package tigergraph

import "github.com/prometheus/client_golang/prometheus"

// Unanswered returns of how many clients a policy has requests that are unanswered.
func (p *Policy) Unanswered() int {
	return p.companies.Len()
}

// Displaced returns how many browsers have lost the node with this address.
func Displaced(address string) (browsers float64) {
	registry := prometheus.NewRegistry()
	registry.MustRegister(displacedTotal)
	families, _ := registry.Gather() // there is none if this fails
	for _, family := range families {
		for _, series := range family.GetMetric() {
			if series.GetLabel()[0].GetValue() == address {
				browsers = series.GetCounter().GetValue()
			}
		}
	}
	return browsers
}
