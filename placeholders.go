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

// usualPlaceholders are the placeholders' values, by service, for the reasons of
// a usual first choice.
type usualPlaceholders [service.Count][balance.Spread + 1]caddy.ReplacerFunc

// newPlaceholders returns the placeholders of a node with this label.
func newPlaceholders(node any) (usual usualPlaceholders) {
	for s := range usual {
		for why := range usual[s] {
			usual[s][why] = func(key string) (any, bool) {
				switch key {
				case nodePlaceholder:
					return node, true
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
