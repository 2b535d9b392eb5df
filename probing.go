package tigergraph

// succeed makes the nodes of a dynamic pool known that the running configuration has
// for it, so that their verdicts survive a reload though no request comes in time.
func (p *Policy) succeed(running *App) {
	if running == nil || !p.dynamic {
		return
	}
	for _, before := range running.allPolicies() {
		pool := before.roster.Load().pool
		if before.pool != p.pool || before.site.name != p.site.name || len(pool) == 0 {
			continue
		}
		current := p.rosterFor(pool)
		borrowed := *current
		borrowed.borrowed = true
		p.roster.CompareAndSwap(current, &borrowed)
		return
	}
}

// startProbes lets the probes of the policy's nodes begin.
func (p *Policy) startProbes() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.checker == nil || p.owner != nil || p.released {
		return
	}
	p.owner = &probeOwner{app: p.app, checker: p.checker, transport: p.host.Transport}
	for _, m := range p.roster.Load().members {
		if m != nil && m.prober != nil {
			m.prober.StartFor(p.owner.lend(m))
		}
	}
}

// stopProbes ends the probes of the policy's nodes, except those that another policy
// wants.
func (p *Policy) stopProbes() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.owner == nil {
		return
	}
	for _, m := range p.roster.Load().members {
		if m != nil && m.prober != nil {
			m.prober.Prober.Release(p.owner.lend(m))
		}
	}
	p.owner = nil
}
