package tigergraph

import (
	"net/http"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/affinity"
	"github.com/caddy-tigergraph/caddy-tigergraph/internal/balance"
)

// visit is what a policy remembers of a request between the attempts to send it.
// A usual first choice is remembered as a pointer to the choice alone.
type visit struct {
	policy  *Policy
	key     uint64    // of the client
	pinned  *member   // the node that its cookie names, or nil
	holder  *member   // the node that alone knows the query it asks about, or nil
	session *member   // the node that knows its GSQL session, or nil
	current bool      // the cookie need not be replaced
	several bool      // there was more than one cookie
	pins    []*member // the nodes that further cookies name
	secure  bool      // the client came over TLS
	spread  bool      // the request belongs to no node
	failed  balance.Set
	left    *member // which failed last, until another is chosen
	chosen  *member // the last answer, nil if there was none
	// opened is how many attempts were made although no node was a candidate by
	// right, and exhausted is when these were too many.
	opened    int
	exhausted time.Time
	// displaced: it is counted that the pinned node lost the client.
	displaced bool
	// company is what the client's other requests join, until the answer begins.
	company *affinity.Company[*member]
	leave   func()
	// others is what other policies remember, where a request passes through
	// several proxies.
	others *visit
}

// memoryKey is the request's variable under which it is remembered by the first
// choice of a node for it, and the placeholder under which it is by any later one.
// The transport may still be dialling for an earlier attempt then, although it
// found another connection in the end, and reads the variables meanwhile. Nobody
// may write to them; placeholders have a lock.
const memoryKey = "tigergraph.visit"

// recall returns what the policy remembers of the request, nil if this is its
// first call for it, and notes that the earlier choice failed.
func (c *call) recall(memory any) *visit {
	newest := newestVisit(c.request)
	if newest == nil {
		newest, _ = memory.(*visit)
	}
	if earlier, ok := memory.(*choice); ok && newest == nil {
		newest = &visit{policy: earlier.policy, secure: earlier.secure, spread: earlier.spread, chosen: earlier.member}
		if earlier.pinned {
			newest.pinned = earlier.member
		}
		if earlier.policy == c.policy {
			newest.key = c.clientKey()
		}
		setNewestVisit(c.request, newest)
	}
	for v := newest; v != nil; v = v.others {
		if v.policy == c.policy {
			if v.chosen != nil {
				v.failed.Add(v.chosen.index)
				v.left = v.chosen
				if v.chosen.prober != nil {
					v.chosen.prober.Suspect(c.service)
				}
				v.chosen = nil
				c.turnToNextPin(v)
			}
			return v
		}
	}
	return nil
}

// remember keeps what the next call for this request has to know.
func (c *call) remember(v *visit) *visit {
	v.policy = c.policy
	switch {
	case c.again:
		if v.others = newestVisit(c.request); v.others == nil {
			v.others, _ = c.vars[memoryKey].(*visit)
		}
		setNewestVisit(c.request, v)
	case c.vars != nil:
		c.vars[memoryKey] = v
	}
	return v
}

// rememberOwn remembers a first choice without an allocation, if that can be.
func (c *call) rememberOwn(m *member, v *visit, pinned bool) {
	if !c.again && c.policy.hashed != balance.Header { // whose field the proxy may rewrite before a retry
		if c.vars != nil {
			c.vars[memoryKey] = m.choice(v.secure, pinned, v.spread)
		}
		return
	}
	kept := *v
	kept.chosen = m
	if pinned {
		kept.pinned = m
	}
	c.remember(&kept)
}

// newestVisit returns the visit that a later choice left, nil if none did.
func newestVisit(r *http.Request) *visit {
	newest, _ := noted(r, memoryKey).(*visit)
	return newest
}

// setNewestVisit remembers a visit as the newest of a request.
func setNewestVisit(r *http.Request, v *visit) { note(r, memoryKey, v) }

// choiceFor returns the policy that chose a node for the request, the last if there
// were several and nil if none did, and whether the client came over TLS.
func choiceFor(r *http.Request) (policy *Policy, secure bool) {
	vars, _ := r.Context().Value(caddyhttp.VarsCtxKey).(map[string]any)
	if only, ok := vars[memoryKey].(*choice); ok && newestVisit(r) == nil {
		return only.policy, only.secure
	}
	if vars[memoryKey] != nil {
		if newest := newestOf(r); newest != nil {
			return newest.policy, newest.secure
		}
	}
	return nil, isSecure(r, vars, false)
}

// chosenFor returns the nodes that policies have chosen for the request, each its
// last.
func chosenFor(r *http.Request) (chosen []*member) {
	vars, _ := r.Context().Value(caddyhttp.VarsCtxKey).(map[string]any)
	if only, ok := vars[memoryKey].(*choice); ok && newestVisit(r) == nil {
		return []*member{only.member}
	}
	for v := newestOf(r); v != nil; v = v.others {
		if v.chosen != nil {
			chosen = append(chosen, v.chosen)
		}
	}
	return chosen
}

// chosenBy returns the node that the policy chose last for a request, nil if it chose
// none.
func (p *Policy) chosenBy(r *http.Request) *member {
	vars, _ := r.Context().Value(caddyhttp.VarsCtxKey).(map[string]any)
	if only, ok := vars[memoryKey].(*choice); ok && newestVisit(r) == nil {
		if only.policy == p {
			return only.member
		}
		return nil
	}
	for v := newestOf(r); v != nil; v = v.others {
		if v.policy == p {
			return v.chosen
		}
	}
	return nil
}

// newestOf returns the newest visit of a request; nil if there is none, or only a
// usual first choice.
func newestOf(r *http.Request) *visit {
	if newest := newestVisit(r); newest != nil {
		return newest
	}
	vars, _ := r.Context().Value(caddyhttp.VarsCtxKey).(map[string]any)
	first, _ := vars[memoryKey].(*visit)
	return first
}

// turnToNextPin lets a browser whose node has failed the request go where the next of
// its cookies says that it belongs: it may have been given that one when it lost the
// node before.
func (c *call) turnToNextPin(v *visit) {
	if v.pinned == nil || !v.failed.Has(v.pinned.index) {
		return
	}
	for i, m := range v.pins {
		if place := c.position(m); place != balance.None && c.standing(place, v.failed).Serves() {
			v.pinned, v.pins = m, v.pins[i+1:]
			return
		}
	}
}
