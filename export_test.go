package tigergraph

// Unanswered returns of how many clients a policy has requests that are unanswered.
func (p *Policy) Unanswered() int {
	p.companies.mu.Lock()
	defer p.companies.mu.Unlock()
	return len(p.companies.byClient)
}
