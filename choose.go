package tigergraph

import (
	"math/rand/v2"
	"net/http"
	"slices"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/affinity"
	"github.com/caddy-tigergraph/caddy-tigergraph/internal/asyncquery"
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
	call := call{
		policy:  p,
		pool:    pool,
		roster:  p.roster.Load(),
		request: r,
		writer:  w,
		vars:    vars,
		service: service.Of(r.URL.Path),
	}
	if memory := vars[memoryKey]; memory != nil {
		call.again = true
		if v := call.recall(memory); v != nil {
			return call.choose(v)
		}
	}
	return call.chooseOwn()
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

// visit is what a policy remembers of a request between the attempts to send it.
// A usual first choice is remembered as a pointer to the choice alone.
type visit struct {
	policy  *Policy
	key     uint64  // of the client
	pinned  *member // the node that its cookie names, or nil
	holder  *member // the node that alone knows the query it asks about, or nil
	current bool    // the cookie need not be replaced
	secure  bool    // the client came over TLS
	failed  []*member
	chosen  *member // the last answer, nil if there was none
	// displaced: it is counted that the pinned node lost the client.
	displaced bool
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
	newest := c.newestVisit()
	if newest == nil {
		newest, _ = memory.(*visit)
	}
	if earlier, ok := memory.(*choice); ok && newest == nil {
		newest = &visit{policy: earlier.policy, secure: earlier.secure, chosen: earlier.member}
		if earlier.pinned {
			newest.pinned = earlier.member
		}
		if earlier.policy == c.policy {
			newest.key = c.clientKey()
		}
		c.setNewestVisit(newest)
	}
	for v := newest; v != nil; v = v.others {
		if v.policy == c.policy {
			if v.chosen != nil {
				v.failed = append(v.failed, v.chosen)
				if v.chosen.prober != nil {
					v.chosen.prober.suspect(c.service)
				}
				v.chosen = nil
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
		if v.others = c.newestVisit(); v.others == nil {
			v.others, _ = c.vars[memoryKey].(*visit)
		}
		c.setNewestVisit(v)
	case c.vars != nil:
		c.vars[memoryKey] = v
	}
	return v
}

// newestVisit returns the visit that a later choice left, nil if none did.
func (c *call) newestVisit() *visit {
	replacer, ok := c.request.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
	if !ok {
		return nil
	}
	value, _ := replacer.Get(memoryKey)
	newest, _ := value.(*visit)
	return newest
}

// setNewestVisit leaves one.
func (c *call) setNewestVisit(v *visit) {
	if replacer, ok := c.request.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer); ok {
		replacer.Set(memoryKey, v)
	}
}

// chooseOwn answers the first call for a request. Nearly all requests end here,
// without a look at more than one node: the client's own can take it.
func (c *call) chooseOwn() *reverseproxy.Upstream {
	p := c.policy
	var key uint64
	secure := c.isSecure() // which the middleware asks about, too
	pin, current := affinity.NoPin, false
	if p.cookie != nil {
		pin, current = c.cutCookie()
	}
	if holder := c.queryHolder(); holder != nil {
		return c.choose(c.remember(&visit{key: c.clientKey(), holder: holder, secure: secure}))
	}
	i, why := pin, pinnedByCookie
	if pin == affinity.NoPin {
		key = c.clientKey()
		if p.Affinity != byNothing && !c.isFallbackDue() {
			i, why = c.homeOrMoved(key)
		}
	}
	if i != affinity.NoPin {
		own, pinned := c.roster.byPool[i], i == pin
		standing := c.standing(i, nil)
		if pinned && c.service == service.GUI {
			c.trustVerdict(&standing, i)
		}
		if standing.Suits(pinned) && (pinned || c.warmth(own) == 1) {
			switch {
			case c.again, p.hashed == hashedHeader: // which the proxy may rewrite before a retry
				v := &visit{key: key, current: current, secure: secure, chosen: own}
				if pinned {
					v.pinned = own
				}
				c.remember(v)
			case c.vars != nil:
				c.vars[memoryKey] = own.choice(secure, pinned)
			}
			if !current {
				c.setCookie(own, secure)
			}
			c.label(own, why)
			return c.pool[i]
		}
	}
	v := &visit{key: key, current: current, secure: secure}
	if pin != affinity.NoPin {
		v.key, v.pinned = c.clientKey(), c.roster.byPool[pin]
	}
	return c.choose(c.remember(v))
}

// choose answers a call by looking at all nodes.
func (c *call) choose(v *visit) *reverseproxy.Upstream {
	c.align()
	var standingsBuffer [16]affinity.Standing
	var tiersBuffer [16]affinity.Tier
	standings, tiers := standingsBuffer[:0], tiersBuffer[:]
	for i := range c.pool {
		standings = append(standings, c.standing(i, v.failed))
	}
	if len(tiers) < len(standings) {
		tiers = make([]affinity.Tier, len(standings))
	}
	tiers = tiers[:len(standings)]
	pinned := affinity.NoPin
	switch {
	case v.holder != nil:
		// A dynamic pool may lack it, as DNS leaves out a node that is not ready.
		if pinned = c.position(v.holder); pinned != affinity.NoPin {
			standings[pinned].Backup = false // the data that matters is its alone
			c.trustVerdict(&standings[pinned], pinned)
		}
	case v.pinned != nil:
		if pinned = c.position(v.pinned); pinned != affinity.NoPin && c.service == service.GUI {
			c.trustVerdict(&standings[pinned], pinned)
		}
	}

	best, honoured := affinity.Candidates(standings, pinned, c.policy.FailClosed, tiers)
	chosen, why := affinity.NoPin, pinnedByCookie
	switch {
	case best == affinity.Excluded:
		// Every node failed, or none is left. Should the proxy wait and ask once
		// more, each may be tried again.
		v.failed = nil
	case honoured && standings[pinned].Full:
		// Waiting costs the user less than the session.
	case honoured:
		chosen = pinned
		if v.holder != nil {
			why = askedByID
		}
	case v.holder != nil:
		// Others would say that there is no such query, and clients would ask for
		// ever. Should the proxy wait, the holder may be back.
		v.failed = nil
	default:
		chosen, why = c.pick(v, tiers, best)
	}
	if chosen == affinity.NoPin {
		c.takeBackCookie()
		return nil
	}
	if standings[chosen].Down {
		why = failedOpen
		c.policy.noteOpen(c.service)
	}
	v.chosen = c.roster.byPool[chosen]
	if v.chosen == v.pinned && v.current {
		c.takeBackCookie()
	} else {
		c.setCookie(v.chosen, v.secure)
	}
	if v.pinned != nil && v.chosen != v.pinned && !v.displaced && !c.isKnownByKey() {
		v.displaced = true
		displacedTotal.WithLabelValues(v.pinned.address).Inc()
	}
	c.label(v.chosen, why)
	return c.pool[chosen]
}

// pick chooses one of the candidates, the nodes of the best tier, and says why.
func (c *call) pick(v *visit, tiers []affinity.Tier, best affinity.Tier) (chosen int, why reason) {
	p := c.policy
	moved := v.pinned != nil || len(v.failed) > 0
	switch {
	case p.Affinity == byNothing:
		chosen, why = c.leastRequests(tiers, best), leastConnections
	case v.pinned == nil && c.isFallbackDue():
		chosen, why = c.askFallback(tiers, best), chosenByFallback
	default:
		chosen = affinity.NoPin
	}
	if chosen != affinity.NoPin {
		if moved {
			why = failedOver
		}
		return chosen, why
	}
	own, reason := c.homeOrMoved(v.key)
	if reason == movedBefore && tiers[own] == best {
		return own, movedBefore
	}
	chosen, why = c.highest(v.key, tiers, best), p.hashed
	home := c.roster.homes.of(v.key)
	switch {
	case chosen != home:
		c.noteMove(v.key, home, chosen)
	case reason == movedBefore && !c.suitsOtherwise(c.roster.byPool[own]):
		p.moved.Forget(c.client(v.key)) // it has come home
	}
	if moved || chosen != home {
		why = failedOver
	}
	return chosen, why
}

// highest returns the candidate that rendezvous hashing names for a client.
func (c *call) highest(key uint64, tiers []affinity.Tier, best affinity.Tier) int {
	var seedsBuffer [16]uint64
	var weightsBuffer [16]float64
	var indexesBuffer [16]int
	seeds, weights, indexes := seedsBuffer[:0], weightsBuffer[:0], indexesBuffer[:0]
	equal := true
	for i, m := range c.roster.byPool {
		if tiers[i] != best {
			continue
		}
		weight := c.weight(m)
		seeds, weights, indexes = append(seeds, m.seed), append(weights, weight), append(indexes, i)
		equal = equal && weight == weights[0]
	}
	if equal {
		return indexes[affinity.Home(key, seeds)]
	}
	return indexes[affinity.WeightedHome(key, seeds, weights)]
}

// weight returns what a candidate weighs, for new clients. A node without weight
// is one only where there is no other.
func (c *call) weight(m *member) float64 { return max(m.weight, 1) * c.warmth(m) }

// warmth returns which part of its weight a node has, for new clients.
func (c *call) warmth(m *member) float64 {
	if c.policy.SlowStart == 0 || m.prober == nil {
		return 1
	}
	return m.prober.warmth(c.service, time.Duration(c.policy.SlowStart))
}

// homeOrMoved returns the place of the node that a client without a cookie
// belongs to, and why: its home, or the node it was moved to when that could not
// be used.
func (c *call) homeOrMoved(key uint64) (i int, why reason) {
	c.align()
	if moved := c.policy.moved; moved != nil && !moved.Empty() && c.isKnownByKey() {
		client := c.client(key)
		if dial, found := moved.Find(client); found {
			if m := c.roster.byDial[dial]; m != nil {
				if i := c.position(m); i != affinity.NoPin {
					return i, movedBefore
				}
			}
			moved.Forget(client)
		}
	}
	return c.roster.homes.of(key), c.policy.hashed
}

// noteMove remembers where a client was sent that is known only by its key, if
// its home could not have taken it. A node that is only full, or that failed
// this one request, will be its home again at the next.
func (c *call) noteMove(key uint64, home, chosen int) {
	if c.policy.moved == nil || !c.isKnownByKey() {
		return
	}
	if m := c.roster.byPool[home]; c.suitsOtherwise(m) && c.warmth(m) == 1 {
		return
	}
	c.policy.moved.Remember(c.client(key), c.roster.byPool[chosen].dial)
}

// suitsOtherwise reports whether a node that is only full, or has only failed
// this one request, suits the client's others.
func (c *call) suitsOtherwise(m *member) bool {
	standing := c.standing(c.position(m), nil)
	standing.Full = false
	return standing.Suits(false)
}

// client returns what a client is remembered by.
func (c *call) client(key uint64) affinity.Client {
	return affinity.Client{Key: key, Service: uint8(c.service)}
}

// isKnownByKey reports whether the client gets no cookie with the answer.
func (c *call) isKnownByKey() bool {
	return c.policy.cookie == nil || c.service != service.GUI || c.writer == nil
}

// leastRequests returns the candidate with the fewest requests in flight, one of
// them at random if there are several.
func (c *call) leastRequests(tiers []affinity.Tier, best affinity.Tier) int {
	chosen, fewest, ties := affinity.NoPin, 0, 0
	for i, upstream := range c.pool {
		if tiers[i] != best {
			continue
		}
		requests := 0
		if upstream.Host != nil {
			requests = upstream.NumRequests()
		}
		switch {
		case chosen == affinity.NoPin || requests < fewest:
			chosen, fewest, ties = i, requests, 1
		case requests == fewest:
			// https://en.wikipedia.org/wiki/Reservoir_sampling
			ties++
			if rand.IntN(ties) == 0 { //nolint:gosec // no secret depends on it
				chosen = i
			}
		}
	}
	return chosen
}

// isFallbackDue reports whether the fallback policy has a say in a request
// without a valid cookie: only a browser's, for nobody else keeps the answer.
func (c *call) isFallbackDue() bool {
	return c.policy.fallback != nil && c.service == service.GUI && c.writer != nil
}

// askFallback lets the fallback policy choose among the candidates.
func (c *call) askFallback(tiers []affinity.Tier, best affinity.Tier) int {
	var candidates reverseproxy.UpstreamPool
	for i, upstream := range c.pool {
		if tiers[i] == best {
			candidates = append(candidates, upstream)
		}
	}
	chosen := c.policy.fallback.Select(candidates, c.request, c.writer)
	if chosen == nil {
		return affinity.NoPin
	}
	return slices.Index(c.pool, chosen)
}

// queryHolder returns the node that alone knows the asynchronous query a request
// is about, nil if it is about none that is known.
func (c *call) queryHolder() *member {
	if c.service != service.RESTPP || !asyncquery.IsFollowUp(c.request.URL.Path) || c.policy.app == nil {
		return nil
	}
	for address := range c.policy.app.queries.Nodes(c.request.URL.RawQuery) {
		c.align()
		for _, m := range c.roster.members {
			if m != nil && m.address == address {
				return m
			}
		}
	}
	return nil
}

// standing returns what counts of a node of the pool for this request.
func (c *call) standing(i int, failed []*member) affinity.Standing {
	upstream, m := c.pool[i], c.roster.byPool[i]
	standing := affinity.Standing{
		Healthy: upstream.Healthy(),
		Full:    upstream.Full() || m.standby,
		Failed:  failed != nil && slices.Contains(failed, m),
		// A node that takes no new clients keeps those with a cookie.
		Draining: m.isDraining(),
		Backup:   m.backup,
	}
	if m.prober != nil {
		verdict := m.prober.verdict(c.service)
		standing.Down = verdict == health.Down
		standing.Unchecked = verdict == health.Unknown && c.policy.startChecking[c.service]
	}
	return standing
}

// trustVerdict lets the one node that can serve a request count as healthy if its
// checks are sure that the service is up. Caddy's passive checks count a node's
// failures over all of its services: a few requests to a RESTPP that is dead would
// cost all users of the node their sessions.
func (c *call) trustVerdict(standing *affinity.Standing, i int) {
	if standing.Healthy || !c.policy.onlyPassive {
		return
	}
	if m := c.roster.byPool[i]; m.prober != nil && m.prober.isSurelyUp(c.service) {
		standing.Healthy = true
	}
}

// align makes the roster's alignment that of the pool.
func (c *call) align() {
	if !c.aligned {
		c.roster, c.aligned = c.policy.rosterFor(c.pool), true
	}
}

// position returns a member's place in the pool, or NoPin.
func (c *call) position(m *member) int {
	if i, ok := c.roster.place(m, c.pool); ok {
		return i
	}
	c.align()
	i, _ := c.roster.place(m, c.pool)
	return i
}

// clientKey returns the key that a client without a cookie is known by.
func (c *call) clientKey() uint64 {
	if c.policy.hashed == hashedHeader {
		if value := c.request.Header.Get(c.policy.Header); value != "" {
			return affinity.ValueKey(value)
		}
	}
	client, _ := c.vars[caddyhttp.ClientIPVarKey].(string)
	return c.policy.prefixes.Key(client)
}

// isSecure reports whether the client came over TLS: to us, or to a trusted
// proxy in front of us that says so.
func (c *call) isSecure() bool {
	if c.request.TLS != nil {
		return true
	}
	if trusted, _ := c.vars[caddyhttp.TrustedProxyVarKey].(bool); !trusted && !c.policy.proxyTrusts {
		return false
	}
	forwarded := c.request.Header["X-Forwarded-Proto"]
	return len(forwarded) > 0 && forwarded[len(forwarded)-1] == "https"
}

// cutCookie removes our cookie from the request, for the node must not see it,
// and returns the place in the pool of the node that it names if it is valid,
// else NoPin.
func (c *call) cutCookie() (pin int, current bool) {
	values := c.request.Header["Cookie"]
	if len(values) == 0 {
		return affinity.NoPin, false
	}
	var pinned *member
	tokens := c.tokens()
	left := affinity.CutCookie(values, c.policy.cookie.name, func(value string) {
		if pinned != nil || tokens == nil {
			return
		}
		pin, valid := tokens.Lookup(value)
		if !valid {
			// A dynamic pool may hold nodes that no request has met yet; after a
			// reload these are all.
			c.align()
			if c.roster.tokens == tokens {
				return
			}
			tokens = c.tokens()
			pin, valid = tokens.Lookup(value)
		}
		if valid {
			pinned, current = c.roster.members[pin.Node], pin.Current
		}
	})
	if left == nil {
		delete(c.request.Header, "Cookie")
	} else {
		c.request.Header["Cookie"] = left
	}
	if pinned == nil {
		return affinity.NoPin, false
	}
	pin = c.position(pinned) // NoPin if it was removed from the pool
	return pin, current && pin != affinity.NoPin
}

// tokens returns the valid tokens. The server may get a request before the app
// has started and read their key; the request waits for that.
func (c *call) tokens() *affinity.Tokens {
	if c.roster.tokens == nil {
		if err := c.policy.readyCookies(); err != nil {
			return nil // the app's start fails with the same error
		}
		c.roster, c.aligned = c.policy.roster.Load(), false
	}
	return c.roster.tokens
}

// setCookie pins a browser to a node.
func (c *call) setCookie(m *member, secure bool) {
	p := c.policy
	if p.cookie == nil || c.service != service.GUI || c.writer == nil || c.tokens() == nil {
		return
	}
	header, line := c.writer.Header(), c.roster.cookies[m.index].line(secure)
	if values := header["Set-Cookie"]; values == nil {
		header["Set-Cookie"] = []string{line}
	} else {
		header["Set-Cookie"] = affinity.ReplaceCookie(values, p.cookie.name, line)
	}
}

// takeBackCookie removes the cookie that an earlier attempt left.
func (c *call) takeBackCookie() {
	p := c.policy
	if p.cookie == nil || c.writer == nil {
		return
	}
	header := c.writer.Header()
	if values, set := header["Set-Cookie"]; set {
		if values = affinity.ReplaceCookie(values, p.cookie.name, ""); len(values) > 0 {
			header["Set-Cookie"] = values
		} else {
			delete(header, "Set-Cookie")
		}
	}
}

// reason is why a node was chosen.
type reason uint8

const (
	pinnedByCookie reason = iota
	hashedClientIP
	hashedHeader
	chosenByFallback
	leastConnections
	movedBefore
	askedByID
	failedOver
	failedOpen

	reasons // their number
)

// The values of the placeholders, boxed once.
var (
	reasonLabels = [reasons]any{
		pinnedByCookie:   "cookie",
		hashedClientIP:   "client_ip",
		hashedHeader:     "header",
		chosenByFallback: "fallback",
		leastConnections: "least_conn",
		movedBefore:      "moved",
		askedByID:        "request_id",
		failedOver:       "failover",
		failedOpen:       "fail_open",
	}
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
)

// label sets the placeholders, and counts the choice.
func (c *call) label(m *member, why reason) {
	m.selections.count(m.address, c.service, why)
	replacer, ok := c.request.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
	if !ok {
		return
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

// usualPlaceholders are the placeholders' values, by service, for the reasons of
// a usual first choice.
type usualPlaceholders [service.Count][hashedHeader + 1]caddy.ReplacerFunc

func (m *member) usualPlaceholders() (usual usualPlaceholders) {
	for s := range usual {
		for why := range usual[s] {
			usual[s][why] = func(key string) (any, bool) {
				switch key {
				case nodePlaceholder:
					return m.label, true
				case servicePlaceholder:
					return serviceLabels[s], true
				case affinityPlaceholder:
					return reasonLabels[why], true
				}
				return nil, false
			}
		}
	}
	return usual
}
