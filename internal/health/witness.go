package health

import (
	"time"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/service"
)

// noteAfter is how long an owner hears nothing of the failures of live requests after
// it was told of one.
const noteAfter = time.Minute

// Witness takes in what a live request for a service met, and when that began (now, if
// it is zero). While all is well, and a good word has been heard since
// the last probe began, another one costs no more than to find out that it is not
// needed.
func (p *Prober) Witness(s service.Service, o Outcome, began time.Time) {
	w := p.services[s]
	if o == Answered {
		if w != nil && w.listening.Load() {
			w.vouch()
		}
		return
	}
	switch {
	case o.IsOfNode():
		for _, each := range p.services {
			if each != nil {
				each.accuse(o, began, each == w)
			}
		}
	case o.IsFailure() && w != nil:
		w.accuse(o, began, true)
	}
}

// vouch takes in a good word of a live request.
func (w *watch) vouch() {
	owner := w.prober.Owner()
	if owner == nil || !w.listening.Swap(false) { // another request was quicker
		return
	}
	defer w.recover(owner)
	down := Verdict(w.shown.verdict.Load()) == Down
	w.take(owner, owner.Plan(w.service).Thresholds, result{began: time.Now()})
	if down {
		w.hurry() // it cannot bring the service up, but a probe can
	}
}

// accuse takes in a failure that a live request met. It is counted for the verdict
// unless another one was a moment ago, and brings the next probe forward. Direct is
// whether the request was for this service.
func (w *watch) accuse(o Outcome, began time.Time, direct bool) {
	owner := w.prober.Owner()
	if owner == nil {
		return
	}
	defer w.recover(owner)
	plan, now := owner.Plan(w.service), time.Now()
	if began.IsZero() {
		began = now
	}
	w.mu.Lock()
	w.tally.add(now, o)
	counts := w.counted.IsZero() || now.Sub(w.counted) >= plan.pause()
	if counts {
		w.counted, w.urgent = now, w.urgent || o.IsOfNode()
	}
	note := direct && (w.noted.IsZero() || now.Sub(w.noted) >= noteAfter)
	if note {
		w.noted = now
	}
	w.mu.Unlock()
	if note {
		owner.Witnessed(w.service, o)
	}
	if counts {
		w.take(owner, plan.Thresholds, result{
			failure: EvidenceError{o}, silent: o == TimedOut, began: began, took: now.Sub(began), decides: o.IsOfNode(),
		})
		w.hurry()
	}
}
