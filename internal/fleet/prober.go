package fleet

import (
	"slices"
	"sync"
	"time"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/health"
	"github.com/caddy-tigergraph/caddy-tigergraph/internal/service"
)

// Prober is a prober that is shared by all sites, and by the configurations before and
// after a reload, that check the same node in the same way. So verdicts survive.
type Prober struct {
	*health.Prober
	Address string

	fleet *Fleet
	key   string
	kin   [service.Count]string
	begin sync.Once
}

// Prober acquires the prober of a node. Key says what is checked and how. Kin says, for
// each service, what decides whether a verdict of one prober is true for another: all
// of that but when it is probed and what the results are worth.
func (f *Fleet) Prober(address, key string, kin [service.Count]string, checked func(service.Service) bool) *Prober {
	f.mu.Lock()
	defer f.mu.Unlock()
	h := f.probers[key]
	if h == nil {
		p := &Prober{Prober: health.NewProber(address, checked), Address: address, fleet: f, key: key, kin: kin}
		p.Pace = &f.pace
		h = &held[*Prober]{value: p}
		f.probers[key] = h
		for _, kin := range kin {
			f.byKin[kin] = append(f.byKin[kin], p)
		}
		f.observer.ProberJoined(p)
	}
	h.count++
	return h.value
}

// Release gives up the prober. Its verdicts can still be read.
func (p *Prober) Release() {
	f := p.fleet
	f.mu.Lock()
	defer f.mu.Unlock()
	h := f.probers[p.key]
	if h == nil || h.value != p {
		return
	}
	if h.count--; h.count > 0 {
		return
	}
	delete(f.probers, p.key)
	for _, kin := range p.kin {
		left := slices.DeleteFunc(f.byKin[kin], func(other *Prober) bool { return other == p })
		if f.byKin[kin] = left; len(left) == 0 {
			delete(f.byKin, kin)
		}
	}
	p.End()
	f.observer.ProberLeft(p)
}

// StartFor lets an owner's probes begin, or go on with what it lends. A new prober
// begins with what is known already: a reload may have changed no more than the rhythm.
func (p *Prober) StartFor(owner health.Owner) {
	p.begin.Do(func() {
		for s := range service.Count {
			if ancestor := p.ancestor(s); ancestor != nil {
				p.Inherit(ancestor.Prober, s)
			}
		}
	})
	p.Start(owner)
}

// ancestor returns the prober that knows most lately how a service is, nil if no
// relative of this prober does.
func (p *Prober) ancestor(s service.Service) *Prober {
	p.fleet.mu.Lock()
	defer p.fleet.mu.Unlock()
	var newest *Prober
	var probed time.Time
	for _, other := range p.fleet.byKin[p.kin[s]] {
		if last := other.Report(s).LastProbe; other != p && last.After(probed) {
			newest, probed = other, last
		}
	}
	return newest
}
