package tigergraph

import (
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
	"go.uber.org/zap"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/affinity"
	"github.com/caddy-tigergraph/caddy-tigergraph/internal/fleet"
	"github.com/caddy-tigergraph/caddy-tigergraph/internal/service"
)

// rosterFor returns the policy's roster, aligned with this pool.
func (p *Policy) rosterFor(pool reverseproxy.UpstreamPool) *roster {
	current := p.roster.Load()
	if current.fits(pool) {
		return current
	}
	if !current.knows(pool) {
		current = p.enroll(pool)
	}
	aligned := current.align(pool)
	// If somebody else was faster, the next request may align once more.
	p.roster.CompareAndSwap(current, aligned)
	return aligned
}

// enroll makes the upstreams of a pool members.
func (p *Policy) enroll(pool reverseproxy.UpstreamPool) *roster {
	p.mu.Lock()
	defer p.mu.Unlock()
	grown := *p.roster.Load()
	byDial := make(map[string]*member, len(grown.byDial)+len(pool))
	members := slices.Clone(grown.members)
	for _, m := range members {
		if m != nil {
			byDial[m.dial] = m
		}
	}
	for _, upstream := range pool {
		if _, known := byDial[upstream.Dial]; known {
			continue
		}
		index := slices.Index(members, nil)
		if index < 0 {
			index = len(members)
			members = append(members, nil)
		}
		// Edges must agree on an address whether it was written out or came from
		// the environment.
		address := caddy.NewReplacer().ReplaceKnown(upstream.Dial, "")
		m := newMember(p, p.acquireNode(address), upstream.Dial, index)
		p.acquireProber(m)
		members[index] = m
		byDial[m.dial] = m
	}
	grown.members, grown.byDial = members, byDial
	grown.alignment = alignment{}
	if grown.tokens != nil {
		grown.issue(p, grown.tokens.Epoch())
	}
	p.roster.Store(&grown)
	return &grown
}

func newMember(p *Policy, n *fleet.Node, dial string, index int) *member {
	m := &member{
		Node: n, dial: dial, index: index, seed: affinity.Seed(n.Address), label: n.Address,
		weight: 1, backup: slices.Contains(p.Backup, dial), cluster: p.plain().IndexOf(dial),
	}
	if weight, set := p.Weights[dial]; set {
		m.weight = float64(weight)
	}
	m.retiring = m.weight == 0 || slices.Contains(p.Drain, dial)
	if m.requests, _ = n.Attached.(*requestCounters); m.requests == nil { // nobody else knows the node
		m.requests = newRequestCounters(n.Address)
		m.requests.Leave()
	}
	m.choices = newChoices(p, m)
	m.placeholders = newPlaceholders(m.label)
	return m
}

// acquireNode returns the node with this address. The caller holds the policy's lock.
func (p *Policy) acquireNode(address string) *fleet.Node {
	if p.released {
		return &fleet.Node{Address: address} // nobody else's
	}
	n := p.app.fleet.Node(address)
	n.Follow(p.app.operator.Known(), time.Now())
	return n
}

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
	key, kin := p.proberSettings.keys(m.Address)
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
