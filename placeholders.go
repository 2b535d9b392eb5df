package tigergraph

import (
	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/balance"
	"github.com/caddy-tigergraph/caddy-tigergraph/internal/service"
)

// The values of the placeholders, boxed once.
var (
	reasonLabels = func() (labels [balance.Reasons]any) {
		for why := range balance.Reasons {
			labels[why] = why.String()
		}
		return labels
	}()
	serviceLabels = [service.Count]any{
		service.GUI:    service.GUI.String(),
		service.GSQL:   service.GSQL.String(),
		service.RESTPP: service.RESTPP.String(),
	}
)

// The placeholders.
const (
	nodePlaceholder     = "http.tigergraph.node"
	servicePlaceholder  = "http.tigergraph.service"
	affinityPlaceholder = "http.tigergraph.affinity"
)

// label sets the placeholders, and counts the choice.
func (c *call) label(m *member, why balance.Reason) {
	m.selections.count(m.Address, c.service, why)
	replacer, ok := c.request.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
	if !ok {
		return
	}
	// Handing over a function that exists already costs a fifth of three calls of
	// Set, each of which locks. But what is set comes before what functions say,
	// so only the first to label a request may use one.
	if usual := m.placeholders[c.service]; !c.again && int(why) < len(usual) {
		replacer.Map(usual[why])
		return
	}
	replacer.Set(nodePlaceholder, m.label)
	replacer.Set(servicePlaceholder, serviceLabels[c.service])
	replacer.Set(affinityPlaceholder, reasonLabels[why])
}

// usualPlaceholders are the placeholders' values, by service, for the reasons of
// a usual first choice.
type usualPlaceholders [service.Count][balance.Spread + 1]caddy.ReplacerFunc

func (m *member) usualPlaceholders() (usual usualPlaceholders) {
	for s := range usual {
		for why := range usual[s] {
			usual[s][why] = func(key string) (any, bool) {
				switch key {
				case nodePlaceholder:
					return m.label, true
				case servicePlaceholder:
					return serviceLabels[s], true
				case affinityPlaceholder:
					return reasonLabels[why], true
				}
				return nil, false
			}
		}
	}
	return usual
}
