package tigergraph

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
	"go.uber.org/zap"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/balance"
	"github.com/caddy-tigergraph/caddy-tigergraph/internal/service"
)

// forgetAfter is how long a node of a dynamic pool is checked after it was last
// in there.
const forgetAfter = 10 * time.Minute

// mostDeparted is how many nodes are checked that have left a dynamic pool: those
// that left last.
const mostDeparted = 100

// acquireProber gives a new member its prober. The caller holds the policy's
// lock.
func (p *Policy) acquireProber(m *member) {
	if p.checker == nil || p.released {
		return
	}
	node, err := dialInfo(m.dial)
	if err != nil {
		p.logger.Warn("node cannot be checked", zap.String("node", m.dial), zap.Error(err))
		return
	}
	key, kin, err := p.proberKeys(m.Address)
	if err != nil {
		p.logger.Warn("node cannot be checked", zap.String("node", m.dial), zap.Error(err))
		return
	}
	checker := p.checker
	m.dialInfo = node
	m.prober = p.app.fleet.Prober(m.Address, key, kin, func(s service.Service) bool {
		_, checked := checker.Plan(s.String())
		return checked
	})
	if p.owner != nil {
		m.prober.StartFor(p.owner.lend(m))
	}
}

// dialInfo says how to reach an upstream outside of a request.
func dialInfo(dial string) (reverseproxy.DialInfo, error) {
	expanded, err := caddy.NewReplacer().ReplaceOrErr(dial, true, true)
	if err != nil {
		return reverseproxy.DialInfo{}, fmt.Errorf("its address is known only during a request: %w", err)
	}
	address, err := caddy.ParseNetworkAddress(expanded)
	if err != nil {
		return reverseproxy.DialInfo{}, fmt.Errorf("parsing its address: %w", err)
	}
	if address.PortRangeSize() != 1 {
		return reverseproxy.DialInfo{}, fmt.Errorf("its address has %d ports, expected one", address.PortRangeSize())
	}
	return reverseproxy.DialInfo{
		Network: address.Network,
		Address: address.JoinHostPort(0),
		Host:    address.Host,
		Port:    strconv.FormatUint(uint64(address.StartPort), 10),
	}, nil
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

// forget drops the members that have not been in a dynamic pool for long.
func (p *Policy) forget(now time.Time) {
	if !p.dynamic {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.released {
		return
	}
	current := p.roster.Load()
	if p.asked.Swap(false) {
		for _, m := range current.byPool {
			m.seen = now
		}
	}
	kept := *current
	kept.members = make([]*member, len(current.members))
	kept.byDial = make(map[string]*member, len(current.byDial))
	var forgotten []*member
	for i, m := range current.members {
		switch {
		case m == nil:
		case m.seen.IsZero(): // new since the last look
			m.seen = now
			fallthrough
		case now.Sub(m.seen) < forgetAfter || p.isStatic(m):
			kept.members[i], kept.byDial[m.dial] = m, m
		default:
			forgotten = append(forgotten, m)
		}
	}
	for _, m := range p.surplus(&kept) {
		kept.members[m.index] = nil
		delete(kept.byDial, m.dial)
		forgotten = append(forgotten, m)
	}
	if forgotten == nil {
		return
	}
	kept.alignment = alignment{}
	if kept.tokens != nil {
		kept.issue(p, kept.tokens.Epoch())
	}
	p.roster.Store(&kept)
	for _, m := range forgotten {
		if m.prober != nil && p.owner != nil {
			m.prober.Prober.Release(p.owner.lend(m))
		}
		m.release(p.app.fleet)
	}
}

// surplus returns the nodes that left the dynamic pool first, if too many have. The
// caller holds the policy's lock.
func (p *Policy) surplus(known *roster) []*member {
	departed := make(map[string]*member, len(known.byDial))
	maps.Copy(departed, known.byDial)
	for _, m := range known.byPool {
		delete(departed, m.dial)
	}
	if len(departed) <= mostDeparted {
		return nil
	}
	byTime := slices.SortedFunc(maps.Values(departed), func(a, b *member) int { return a.seen.Compare(b.seen) })
	byTime = slices.DeleteFunc(byTime, p.isStatic)
	return byTime[:max(len(byTime)-mostDeparted, 0)]
}

// isStatic reports whether a member is used when the dynamic source fails.
func (p *Policy) isStatic(m *member) bool {
	return slices.ContainsFunc(p.host.Upstreams, func(u *reverseproxy.Upstream) bool { return u.Dial == m.dial })
}

// activeMembers returns the nodes of the active cluster.
func (p *Policy) activeMembers() []*member {
	active := p.roster.Load().active
	return slices.DeleteFunc(p.allMembers(), func(m *member) bool { return m.cluster != active })
}

// allMembers returns the nodes that the policy knows.
func (p *Policy) allMembers() []*member {
	var all []*member
	for _, m := range p.roster.Load().members {
		if m != nil {
			all = append(all, m)
		}
	}
	return all
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
	message := "every node is down by its health checks; requests are sent to them all the same"
	if best < balance.OpenDown {
		message = "every node that is up is draining, or out by Caddy's passive checks or circuit breakers; requests are sent to them all the same"
	}
	p.logger.Warn(message, zap.String("service", s.String()))
}

// noteClosed makes the next such episode worth a warning, once this one is over.
func (p *Policy) noteClosed(s service.Service) {
	if p.warnedOpen[s].Load() && !p.failsOpen(s) {
		p.warnedOpen[s].Store(false)
	}
}
