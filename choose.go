package tigergraph

import (
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/affinity"
	"github.com/caddy-tigergraph/caddy-tigergraph/internal/asyncquery"
	"github.com/caddy-tigergraph/caddy-tigergraph/internal/balance"
	"github.com/caddy-tigergraph/caddy-tigergraph/internal/health"
	"github.com/caddy-tigergraph/caddy-tigergraph/internal/service"
)

// Select chooses the node for a request: which service it is for, which nodes
// are candidates, which of these it is. The proxy calls it once for each attempt
// to send the request, so a second call means that the first choice failed.
func (p *Policy) Select(pool reverseproxy.UpstreamPool, r *http.Request, w http.ResponseWriter) *reverseproxy.Upstream {
	if len(pool) == 0 {
		return nil
	}
	p.sendOnce(r)
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
	if memory := vars[memoryKey]; memory != nil {
		c.again = true
		if v := c.recall(memory); v != nil {
			return c.chooseAgain(v)
		}
	}
	return c.chooseFirst()
}

// call is one call of Select.
type call struct {
	policy  *Policy
	pool    reverseproxy.UpstreamPool
	roster  *roster
	request *http.Request
	writer  http.ResponseWriter // nil where another policy asks
	vars    map[string]any      // of the request, nil in a bare context
	service service.Service
	aligned bool // the roster's alignment is known to be that of the pool
	// again is whether this or another policy has chosen a node for the request
	// before.
	again bool
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
			m.noteSession()
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

// beginsSession reports whether a request begins a new session on a node that is
// draining, by a password: it may as well begin on another. So drains come to an
// end.
func (c *call) beginsSession(pinned int) bool {
	m := c.roster.byPool[pinned]
	return c.service == service.GUI && c.request.Method == http.MethodPost &&
		(m.isDraining() || m.cluster == c.roster.kept) && service.Clean(c.request.URL.Path) == "/api/auth/login"
}

// suits reports whether the client's own node can take the request at once.
func (c *call) suits(i int, pinned bool) bool {
	standing := c.standing(i, nil)
	return standing.Suits(pinned) && (pinned || !standing.Warming)
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

// isSpread reports whether a request without a valid cookie belongs to no node.
func (c *call) isSpread() bool {
	return c.policy.Affinity == byNothing ||
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

// standings is room for a look at all nodes.
type standings struct {
	nodes []balance.Standing
	tiers []balance.Tier
}

var standingsPool = sync.Pool{New: func() any { return new(standings) }}

// look returns the standings of all nodes of the pool, with room for their tiers.
// The caller puts them back.
func (c *call) look(failed memberSet) *standings {
	room := standingsPool.Get().(*standings)
	room.nodes = room.nodes[:0]
	for i := range c.pool {
		room.nodes = append(room.nodes, c.standing(i, failed))
	}
	room.tiers = slices.Grow(room.tiers[:0], len(c.pool))[:len(c.pool)]
	return room
}

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
		r.Home = c.roster.homes.of(v.key)
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
		v.left.requests.countRetry(v.left.address, c.service)
	}
	v.left = nil
	if v.chosen == v.pinned && v.current && !v.several {
		c.takeBackCookie()
	} else {
		c.setCookie(v.chosen, v.secure, v.pinned != nil, v.several)
	}
	if v.pinned != nil && v.chosen != v.pinned && !v.displaced && !c.isKnownByKey() {
		c.countDisplaced(v)
	}
	if v.chosen == v.pinned || v.chosen == v.session {
		v.chosen.noteSession()
	}
	c.label(v.chosen, d.Why)
	return c.pool[d.Node]
}

// homeOrMoved returns the place of the node that a client without a cookie
// belongs to, and why: its home, or the node it was moved to when that could not
// be used.
func (c *call) homeOrMoved(key uint64) (i int, why balance.Reason) {
	c.align()
	if i := c.movedTo(key); i != balance.None {
		return i, balance.Moved
	}
	return c.roster.homes.of(key), c.hashedBy()
}

// movedTo returns the place of the node that a client was moved to which is known
// only by its key.
func (c *call) movedTo(key uint64) int {
	moved := c.policy.moved
	if moved == nil || moved.Empty() || !c.isKnownByKey() {
		return balance.None
	}
	client := c.client(key)
	dial, found := moved.Find(client)
	if !found {
		return balance.None
	}
	if m := c.roster.byDial[dial]; m != nil {
		if i := c.position(m); i != balance.None {
			return i
		}
	}
	moved.Forget(client)
	return balance.None
}

// client returns what a client is remembered by.
func (c *call) client(key uint64) affinity.Client {
	return affinity.Client{Key: key, Service: uint8(c.service)}
}

// isKnownByKey reports whether the client gets no cookie with the answer.
func (c *call) isKnownByKey() bool {
	return c.policy.cookie == nil || c.service != service.GUI || c.writer == nil
}

// isFallbackDue reports whether the fallback policy has a say in a request
// without a valid cookie: only a browser's, for nobody else keeps the answer.
func (c *call) isFallbackDue() bool {
	return c.policy.fallback != nil && c.service == service.GUI && c.writer != nil
}

// askFallback lets the fallback policy choose among the candidates.
func (c *call) askFallback(tiers []balance.Tier, best balance.Tier) int {
	var candidates reverseproxy.UpstreamPool
	for i, upstream := range c.pool {
		if tiers[i] == best {
			candidates = append(candidates, upstream)
		}
	}
	chosen := c.policy.fallback.Select(candidates, c.request, c.writer)
	if chosen == nil {
		return balance.None
	}
	return slices.Index(c.pool, chosen)
}

// queryHolder returns the node that alone knows the asynchronous query a request
// is about, nil if it is about none that any node knows.
func (c *call) queryHolder() *member {
	if c.service != service.RESTPP || !asyncquery.IsFollowUp(c.request.URL.Path) || c.policy.app == nil {
		return nil
	}
	if m := c.rememberedHolder(); m != nil {
		return m
	}
	return c.searchQuery()
}

// rememberedHolder returns the node that is remembered for a query.
func (c *call) rememberedHolder() *member {
	for address := range c.policy.app.memories.queries.Nodes(c.request.URL.RawQuery) {
		if m := c.memberAt(address); m != nil {
			return m
		}
	}
	return nil
}

// memberAt returns the member with an address, nil if the policy has none.
func (c *call) memberAt(address string) *member {
	c.align()
	for _, m := range c.roster.members {
		if m != nil && m.address == address {
			return m
		}
	}
	return nil
}

// standing returns what counts of a node of the pool for this request.
func (c *call) standing(i int, failed memberSet) balance.Standing {
	upstream, m := c.pool[i], c.roster.byPool[i]
	standing := balance.Standing{
		Seed:     m.seed,
		Weight:   max(m.weight, 1), // without weight it gets something only where there is no other
		Healthy:  upstream.Healthy(),
		Full:     upstream.Full(),
		Failed:   failed.has(m),
		Draining: m.isDraining(),
		Backup:   m.backup,
		Standby:  m.cluster != c.roster.active,
		Kept:     m.cluster == c.roster.kept,
	}
	// An outlook has no request, and tells of one that is no read.
	if standing.Standby && c.policy.StandbyReads && c.request != nil {
		standing.Reads = m.cluster == c.roster.firstStandby() && service.Repeatable(c.request)
	}
	if upstream.Host != nil {
		standing.Load = upstream.NumRequests()
	}
	if m.prober == nil {
		return standing
	}
	verdict := m.prober.verdict(c.service)
	standing.Down = verdict == health.Down
	standing.GoodWord = m.prober.GoodWord(c.service)
	if since, silent := m.prober.Failing(c.service); silent {
		standing.SilentSince = since
	}
	standing.Unchecked = verdict == health.Unknown && c.policy.startChecking[c.service]
	if c.policy.SlowStart != 0 {
		warmth := m.prober.warmth(c.service, time.Duration(c.policy.SlowStart))
		standing.Weight *= warmth
		standing.Warming = warmth < 1
	}
	return standing
}

// align makes the roster's alignment that of the pool.
func (c *call) align() {
	if !c.aligned {
		c.roster, c.aligned = c.policy.rosterFor(c.pool), true
	}
}

// position returns a member's place in the pool, or None.
func (c *call) position(m *member) int {
	if i, ok := c.roster.place(m, c.pool); ok {
		return i
	}
	c.align()
	i, _ := c.roster.place(m, c.pool)
	return i
}

// hashedBy returns what a client without a node is hashed by: its address, also
// where the header of the affinity `header` is missing.
func (c *call) hashedBy() balance.Reason {
	if c.policy.hashed == balance.Header && c.request.Header.Get(c.policy.Header) == "" {
		return balance.ClientIP
	}
	return c.policy.hashed
}

// clientKey returns the key that a client without a cookie is known by.
func (c *call) clientKey() uint64 {
	if c.policy.hashed == balance.Header {
		if value := c.request.Header.Get(c.policy.Header); value != "" {
			return affinity.ValueKey(value)
		}
	}
	client, _ := c.vars[caddyhttp.ClientIPVarKey].(string)
	return c.policy.prefixes.Key(client)
}

func (c *call) isSecure() bool { return isSecure(c.request, c.vars, c.policy.proxyTrusts) }

// isSecure reports whether a client came over TLS: to us, or to a proxy in front
// of us that says so, if it is trusted by the server or, as given, by our proxy.
func isSecure(r *http.Request, vars map[string]any, proxyTrusts bool) bool {
	if r.TLS != nil {
		return true
	}
	if trusted, _ := vars[caddyhttp.TrustedProxyVarKey].(bool); !trusted && !proxyTrusts {
		return false
	}
	forwarded := r.Header["X-Forwarded-Proto"]
	return len(forwarded) > 0 && forwarded[len(forwarded)-1] == "https"
}
