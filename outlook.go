package tigergraph

import (
	"go.uber.org/zap"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/balance"
	"github.com/caddy-tigergraph/caddy-tigergraph/internal/service"
)

// outlook is how a new client's request for a service would be treated.
type outlook struct {
	balance.Forecast
	members []*member // in the order of the shares
}

// outlook returns the present outlook of a service. It is empty for a dynamic pool
// that nobody has asked for yet.
func (p *Policy) outlook(s service.Service) outlook {
	roster := p.roster.Load()
	c := call{policy: p, pool: roster.pool, roster: roster, service: s, aligned: true}
	room := c.look(nil)
	defer standingsPool.Put(room)
	weighted := p.fallback == nil || s != service.GUI
	return outlook{balance.NewForecast(room.nodes, p.FailClosed, weighted), roster.byPool}
}

// failsOpen reports whether a new client's request for a service would be sent to
// a node although none is a candidate by right.
func (p *Policy) failsOpen(s service.Service) bool { return p.outlook(s).Best.IsOpen() }

// isUnavailable reports whether a new client's request would be sent to no node.
func (o *outlook) isUnavailable() bool {
	return len(o.members) > 0 && o.Best == balance.Excluded
}

// noteOpen warns, once, that the policy sends requests to nodes that the checks are
// against. A retry that has no other node left is no reason to.
func (p *Policy) noteOpen(s service.Service) {
	if p.warnedOpen[s].Load() {
		return
	}
	best := p.outlook(s).Best
	if !best.IsOpen() || !p.warnedOpen[s].CompareAndSwap(false, true) {
		return
	}
	p.logger.Warn(best.OpenWarning(), zap.String("service", s.String()))
}

// noteClosed logs that the pool no longer fails open for a service, and lets noteOpen
// warn again.
func (p *Policy) noteClosed(s service.Service) {
	if p.warnedOpen[s].Load() && !p.failsOpen(s) && p.warnedOpen[s].CompareAndSwap(true, false) {
		p.logger.Info("there are nodes to choose from again; requests are sent to those alone", zap.String("service", s.String()))
	}
}
