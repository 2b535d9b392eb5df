package tigergraph

import (
	"net/http"

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
	graphPlaceholder    = "http.tigergraph.graph"
	queryPlaceholder    = "http.tigergraph.query"
)

// noted returns what is known of a request under the name of a placeholder, nil if nothing
// is.
func noted(r *http.Request, name string) (value any) {
	if replacer, is := r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer); is {
		value, _ = replacer.Get(name)
	}
	return value
}

// note keeps something with a request.
func note(r *http.Request, name string, value any) {
	if replacer, is := r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer); is {
		replacer.Set(name, value)
	}
}

// requestKnower is the writer of a middleware that has set the placeholders of the graph
// and the query.
type requestKnower interface{ knowsRequest() }

// mapGraphAndQuery sets the placeholders of the graph and the query, which are found out
// when somebody asks for them. The middleware can afford a function that knows the
// request; a policy without it sets the request itself, which costs no allocation.
func mapGraphAndQuery(r *http.Request) {
	replacer, ok := r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
	if !ok {
		return
	}
	if service.Of(r.URL.Path) != service.RESTPP {
		replacer.Map(noGraphAndQuery)
		return
	}
	replacer.Map(func(key string) (any, bool) {
		switch key {
		case graphPlaceholder:
			return (*service.GraphOf)(r).String(), true
		case queryPlaceholder:
			return (*service.QueryOf)(r).String(), true
		}
		return nil, false
	})
}

// noGraphAndQuery are their values for other services.
func noGraphAndQuery(key string) (any, bool) {
	return "", key == graphPlaceholder || key == queryPlaceholder
}

// usualPlaceholders are the placeholders' values, by service, for the reasons of
// a usual first choice.
type usualPlaceholders [service.Count][balance.Spread + 1]caddy.ReplacerFunc

// newPlaceholders returns the placeholders of a node with this label.
func newPlaceholders(node any) (usual usualPlaceholders) {
	for s := range service.Count {
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
				if s == service.RESTPP {
					return nil, false
				}
				return noGraphAndQuery(key)
			}
		}
	}
	return usual
}
