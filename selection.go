package tigergraph

import (
	"net/http"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/balance"
	"github.com/caddy-tigergraph/caddy-tigergraph/internal/service"
	"github.com/caddy-tigergraph/caddy-tigergraph/internal/settings"
)

// Select chooses the node for a request: which service it is for, which nodes
// are candidates, which of these it is. The proxy calls it once for each attempt
// to send the request, so a second call means that the first choice failed.
func (p *Policy) Select(pool reverseproxy.UpstreamPool, r *http.Request, w http.ResponseWriter) *reverseproxy.Upstream {
	if len(pool) == 0 || !p.sendOnce(r, w) {
		return nil
	}
	vars, _ := r.Context().Value(caddyhttp.VarsCtxKey).(map[string]any)
	if p.dynamic && !p.asked.Load() {
		p.asked.Store(true)
	}
	c := call{
		policy:  p,
		pool:    pool,
		roster:  p.roster.Load(),
		request: r,
		writer:  w,
		vars:    vars,
		service: service.Of(r.URL.Path),
	}
	memory := vars[memoryKey]
	if c.again = memory != nil; (p.rewrites || c.again) && !c.noteSent() {
		return nil
	}
	if c.again {
		if v := c.recall(memory); v != nil {
			return c.chooseAgain(v)
		}
	}
	return c.chooseFirst()
}

// chooseFirst answers the first call for a request. Nearly all requests end here,
// without a look at the standing of more than one node: the client's own can take
// the request, or it belongs to none.
func (c *call) chooseFirst() *reverseproxy.Upstream {
	p := c.policy
	secure := c.isSecure() // which the middleware asks about, too
	found := pins{place: balance.None}
	if p.cookie != nil {
		found = c.cutCookies()
	}
	if holder := c.queryHolder(); holder != nil {
		return c.choose(c.remember(&visit{key: c.clientKey(), holder: holder, secure: secure}))
	}
	if holder := c.sessionHolder(); holder != nil {
		v := &visit{key: c.clientKey(), session: holder, secure: secure}
		if found.place != balance.None {
			v.pinned = c.roster.byPool[found.place]
		}
		return c.choose(c.remember(v))
	}
	if found.place == balance.None && c.isSpread() {
		return c.chooseSpread(secure)
	}
	if found.place != balance.None && c.beginsSession(found.place) {
		found.place, found.current = balance.None, false
	}
	own, why := found.place, balance.Cookie
	var key uint64
	if own == balance.None {
		key = c.clientKey()
		if !c.isFallbackDue() {
			own, why = c.homeOrMoved(key)
		}
	}
	pinned := found.place != balance.None
	if own != balance.None && !found.several && c.suits(own, pinned) {
		m := c.roster.byPool[own]
		c.rememberOwn(m, &visit{key: key, current: found.current, secure: secure}, pinned)
		if pinned {
			m.NoteSession()
		}
		if !found.current {
			c.setCookie(m, secure, pinned, false)
		}
		c.label(m, why)
		return c.pool[own]
	}
	v := &visit{key: key, current: found.current, several: found.several, secure: secure}
	if pinned {
		v.key, v.pinned, v.pins = c.clientKey(), c.roster.byPool[found.place], found.others
	}
	return c.choose(c.remember(v))
}

// suits reports whether the client's own node can take the request at once.
func (c *call) suits(i int, pinned bool) bool {
	standing := c.standing(i, nil)
	return standing.Suits(pinned) && (pinned || !standing.Warming)
}

// isSpread reports whether a request without a valid cookie belongs to no node.
func (c *call) isSpread() bool {
	return c.policy.Affinity == settings.ByNothing ||
		c.policy.spreadRESTPP && c.service == service.RESTPP && service.IsIndependent(c.request)
}

// chooseAgain answers a later call.
func (c *call) chooseAgain(v *visit) *reverseproxy.Upstream {
	if !v.exhausted.IsZero() {
		if time.Since(v.exhausted) < patience {
			c.takeBackCookie()
			return nil
		}
		v.exhausted, v.opened = time.Time{}, 0
	}
	return c.choose(v)
}

const (
	// mostOpened is how often a request is sent while the pool fails open: to one
	// node, and to one more.
	mostOpened = 2
	// patience is less than a proxy waits that was told to wait for a node.
	patience = 100 * time.Millisecond
)

// choose answers a call by looking at all nodes.
func (c *call) choose(v *visit) *reverseproxy.Upstream {
	c.align()
	room := c.look(v.failed)
	defer standingsPool.Put(room)
	request := c.describe(v, room.nodes)
	decision := balance.Decide(&request, room.nodes, room.tiers)
	if decision.AskFallback {
		if decision.Node = c.joinOrAskFallback(v, room.tiers, decision.Best); decision.Node == balance.None {
			request.Fallback = false
			decision = balance.Decide(&request, room.nodes, room.tiers)
		}
	}
	for i := range decision.Asked(room.nodes) {
		if prober := c.roster.byPool[i].prober; prober != nil {
			prober.Suspect(c.service)
		}
	}
	return c.apply(v, decision)
}

// describe says what a decision needs to know of the request and its client.
func (c *call) describe(v *visit, nodes []balance.Standing) balance.Request {
	r := balance.Request{
		Query: balance.None, Session: balance.None, Pin: balance.None, Moved: balance.None, Home: balance.None,
		Key: v.key, Hashed: c.hashedBy(), Keyed: c.policy.moved != nil && c.isKnownByKey(),
		Fallback: c.isFallbackDue(), Spread: v.spread,
		Retry: len(v.failed) > 0, FailClosed: c.policy.FailClosed,
	}
	if v.holder != nil {
		r.IsQuery = true
		// A dynamic pool may lack it, as DNS leaves out a node that is not ready.
		if r.Query = c.position(v.holder); r.Query != balance.None {
			nodes[r.Query].Backup = false // the data that matters is its alone
		}
		return r
	}
	if v.session != nil {
		r.Session = c.position(v.session)
	}
	if v.pinned != nil {
		r.Pin = c.position(v.pinned)
	}
	if !v.spread {
		r.Home = c.roster.homes.Of(v.key)
		r.Moved = c.movedTo(v.key)
	}
	return r
}

// apply makes a decision true: the cookie, the labels, the memories.
func (c *call) apply(v *visit, d balance.Decision) *reverseproxy.Upstream {
	switch {
	case d.Exhausted:
		// Every node failed, or none is left. Should the proxy wait and ask once
		// more, each may be tried again.
		v.failed = nil
	case d.Node == balance.None && v.holder != nil:
		v.failed = nil // should the proxy wait, the holder may be back
	case d.Open && v.opened == mostOpened:
		v.failed, v.exhausted = nil, time.Now()
		d.Node = balance.None
	}
	if d.Node == balance.None {
		c.takeBackCookie()
		return nil
	}
	if d.Open {
		v.opened++
		c.policy.noteOpen(c.service)
	}
	switch moved := c.policy.moved; {
	case d.Remember:
		moved.Remember(c.client(v.key), c.roster.byPool[d.Node].dial)
	case d.Forget:
		moved.Forget(c.client(v.key))
	}
	v.chosen = c.roster.byPool[d.Node]
	if v.left != nil && v.left != v.chosen {
		v.left.requests.countRetry(c.service)
	}
	v.left = nil
	if d.IsVisit() || v.chosen == v.pinned && v.current && !v.several {
		c.takeBackCookie()
	} else {
		c.setCookie(v.chosen, v.secure, v.pinned != nil, v.several)
	}
	if v.pinned != nil && v.chosen != v.pinned && !d.IsVisit() && !v.displaced && !c.isKnownByKey() {
		c.countDisplaced(v)
	}
	if v.chosen == v.pinned || v.chosen == v.session {
		v.chosen.NoteSession()
	}
	c.label(v.chosen, d.Why)
	return c.pool[d.Node]
}

// chooseSpread answers the first call for a request that belongs to no node.
func (c *call) chooseSpread(secure bool) *reverseproxy.Upstream {
	if i := c.leastLoaded(); i != balance.None {
		m := c.roster.byPool[i]
		c.rememberOwn(m, &visit{secure: secure, spread: true}, false)
		c.label(m, balance.Spread)
		return c.pool[i]
	}
	return c.choose(c.remember(&visit{key: c.clientKey(), secure: secure, spread: true}))
}

// label sets the placeholders, and counts the choice.
func (c *call) label(m *member, why balance.Reason) {
	m.selections.count(&m.requests.Node, c.service, why)
	replacer, ok := c.request.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
	if !ok {
		return
	}
	if _, mapped := c.writer.(requestKnower); !mapped && !c.again && c.service == service.RESTPP {
		replacer.Set(graphPlaceholder, (*service.GraphOf)(c.request))
		replacer.Set(queryPlaceholder, (*service.QueryOf)(c.request))
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
