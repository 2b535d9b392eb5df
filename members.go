package tigergraph

import "slices"

// activeMembers returns the nodes of the active cluster.
func (p *Policy) activeMembers() []*member {
	active := p.roster.Load().active
	return slices.DeleteFunc(p.allMembers(), func(m *member) bool { return m.cluster != active })
}

// allMembers returns the nodes that the policy knows.
func (p *Policy) allMembers() []*member {
	return slices.DeleteFunc(slices.Clone(p.roster.Load().members), func(m *member) bool { return m == nil })
}
