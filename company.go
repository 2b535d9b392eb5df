package tigergraph

import (
	"context"
	"net/http"
	"net/http/httptrace"
	"sync"

	"github.com/cespare/xxhash/v2"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/affinity"
	"github.com/caddy-tigergraph/caddy-tigergraph/internal/balance"
)

// joinOrAskFallback returns the place of the node that an unanswered request of the
// same browser went to, if it is a candidate, else of the one that the fallback
// policy chooses.
func (c *call) joinOrAskFallback(v *visit, tiers []balance.Tier, best balance.Tier) (i int) {
	if v.company == nil {
		c.joinCompany(v)
	}
	v.company.Place(func(earlier *member) *member {
		if earlier != nil {
			if i = c.position(earlier); i != balance.None && tiers[i] == best {
				return earlier
			}
		}
		if i = c.askFallback(tiers, best); i == balance.None {
			return earlier
		}
		return c.roster.byPool[i]
	})
	return i
}

// countDisplaced counts a browser whose node could not be used. One that has several
// requests under way loses its node with each of them, and is counted once.
func (c *call) countDisplaced(v *visit) {
	v.displaced = true
	if v.company == nil {
		c.joinCompany(v)
	}
	if v.company.Count() {
		v.pinned.requests.IfKnown(func() { displacedTotal.WithLabelValues(v.pinned.Address).Inc() })
	}
}

// joinCompany makes a request one of its client's unanswered ones. It leaves when the
// header of its answer goes out, as the middleware tells. Where there is none, it does
// when the answer begins to arrive: one that is endless is an answer. Whatever ends a
// request without an answer ends its context.
func (c *call) joinCompany(v *visit) {
	client := affinity.Browser[*member]{Address: v.key, Agent: xxhash.Sum64String(c.request.UserAgent())}
	if v.pinned != nil {
		client.Lost, client.Cookies = v.pinned, affinity.HashOf(c.request.Header["Cookie"])
	}
	v.company = c.policy.companies.Join(client)
	v.leave = sync.OnceFunc(v.company.Leave)
	context.AfterFunc(c.request.Context(), v.leave)
	if c.writer != nil && !isWithinAnother(c.writer) {
		// The request is the proxy's own copy, which it sends by this context.
		*c.request = *c.request.WithContext(httptrace.WithClientTrace(c.request.Context(), &httptrace.ClientTrace{GotFirstResponseByte: v.leave}))
	}
}

// leaveCompany takes a request whose answer begins out of its company.
func leaveCompany(r *http.Request) {
	for v := newestOf(r); v != nil; v = v.others {
		if v.leave != nil {
			v.leave()
		}
	}
}
