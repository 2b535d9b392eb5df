package tigergraph

import (
	"encoding/json"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
	"go.uber.org/zap"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/affinity"
	"github.com/caddy-tigergraph/caddy-tigergraph/internal/balance"
	"github.com/caddy-tigergraph/caddy-tigergraph/internal/service"
)

func init() {
	caddy.RegisterModule(new(Policy))
}

// Policy is a load balancing policy that keeps each client on its TigerGraph
// node and moves it only when that node cannot serve it.
//
// A browser's session lives on the node where the user logged in, so requests
// to GraphStudio and its siblings (the `gui` service) get a cookie that names
// their node; requests to GSQL (`/gsqlserver`, `/gsql/v1`, `/gsql/scim`) and
// RESTPP (`/restpp`) honour that cookie but never set one, because GSQL clients
// would mistake it for their own session. A client without a cookie goes to the
// node that weighted rendezvous hashing of its address names: every edge with
// the same nodes names the same one, in any order of the nodes.
//
// A retry goes to a node that has not failed this request yet, and the one
// cookie in the response names the node that answered.
//
// The policy sets these placeholders:
//
// Placeholder | Description
// ------------|-------------
// `{http.tigergraph.node}` | The address of the chosen node
// `{http.tigergraph.service}` | `gui`, `gsql` or `restpp`
// `{http.tigergraph.affinity}` | Why that node: `cookie`, `client_ip`, `header`, `fallback`, `spread` (the fewest requests in flight for its weight), `session` (it knows the GSQL session), `request_id` (it alone knows the asynchronous query), `failover` (the client's own node could not be used), `moved` (to where the client was moved then), `standby` (no node of the active cluster could serve a read), `fail_open`
type Policy struct {
	// What keeps a client on its node:
	//
	// - `cookie` (the default): a cookie, and the client's address until it has one.
	// - `client_ip`: the client's address alone, as Caddy's `trusted_proxies` give
	//   it. It sets and reads no cookie.
	// - `header`: the value of a header, or the address where the header is
	//   missing. It sets and reads no cookie.
	// - `none`: nothing. The node with the fewest requests in flight is chosen.
	Affinity string `json:"affinity,omitempty"`

	// The header whose value identifies the client. Required with the affinity
	// `header`, an error with any other.
	Header string `json:"header,omitempty"`

	// The cookie that names a client's node. An error with an affinity other than
	// `cookie`.
	Cookie *Cookie `json:"cookie,omitempty"`

	// How many leading bits of an IPv4 address identify a client, 1 to 32.
	// Default: 32. With 24, as nginx's `ip_hash` does, an office behind one /24
	// shares a node.
	IPv4Prefix int `json:"ipv4_prefix,omitempty"`

	// How many leading bits of an IPv6 address identify a client, 1 to 128.
	// Default: 64, for a network usually gives its hosts changing addresses.
	IPv6Prefix int `json:"ipv6_prefix,omitempty"`

	// The policy that chooses the first node of a new cookie session. Default:
	// the hash of the client's address. An error with an affinity other than
	// `cookie`.
	FallbackRaw json.RawMessage `json:"fallback,omitempty" caddy:"namespace=http.reverse_proxy.selection_policies inline_key=policy"`

	// How long a client without a cookie, which was moved because its own node
	// could not be used, has to be idle before it goes back. 0 sends it back at
	// once. Up to 65536 such clients are remembered for each policy, the least
	// recently seen forgotten first. Default: 30m.
	Failback *caddy.Duration `json:"failback,omitempty"`

	// The weights of nodes by their address: one of weight 2 gets twice as many
	// clients as one of weight 1, and one of weight 0 no new clients. 0 to 65535.
	// Default: 1.
	Weights map[string]int `json:"weights,omitempty"`

	// The addresses of nodes with the same data that get requests only while no other
	// node can take them; a cookie for one counts only for as long. Another cluster,
	// such as the one for disaster recovery, is a standby.
	Backup []string `json:"backup,omitempty"`

	// The addresses of nodes that take no new clients. Those with a cookie stay.
	Drain []string `json:"drain,omitempty"`

	// How long a node whose service comes up again gets fewer new clients than its
	// weight says: a tenth at first, and steadily more. Default: 0, off.
	SlowStart caddy.Duration `json:"slow_start,omitempty"`

	// The services whose requests are each sent to the node with the fewest requests
	// in flight for its weight, as far as they are independent of each other and have
	// no valid cookie: `["restpp"]`, or `[]` for none. Default: `["restpp"]` with the
	// affinity `cookie`, else none.
	Spread []string `json:"spread,omitzero"`

	// What the nodes together are called. A name of its own is also in the default
	// name of the cookie: `TigerGraphNode_<name>`. Letters, digits, dots, hyphens and
	// underscores, 64 at most. Default: `primary`.
	Cluster string `json:"cluster,omitempty"`

	// Other clusters, such as the one for disaster recovery. Their nodes are upstreams
	// as well and are checked, but get no requests until `caddy tigergraph switch`
	// makes their cluster the active one. A node is in one cluster.
	Standby []Standby `json:"standby,omitempty"`

	// Whether requests that do no harm when they are sent twice go to the first
	// standby while no node of the active cluster can serve them. Default: false. An
	// error without a standby.
	StandbyReads bool `json:"standby_reads,omitempty"`

	// Whether requests fail with 503 when the checks find every node down. Default:
	// false: then every node that Caddy finds available gets requests, because
	// checks must never empty a pool that works.
	FailClosed bool `json:"fail_closed,omitempty"`

	// Whether the nodes' health is left unchecked. Default: false.
	HealthCheckOff bool `json:"health_check_off,omitempty"`

	// How the nodes' health is checked: a module in the namespace
	// `tigergraph.health_checks`. Default: `services` with its defaults.
	HealthCheckRaw json.RawMessage `json:"health_check,omitempty" caddy:"namespace=tigergraph.health_checks inline_key=checker"`

	app      *App
	logger   *zap.Logger
	host     *reverseproxy.Handler // whose policy this is; nil in a bare context
	prefixes affinity.Prefixes
	hashed   balance.Reason // why a client is sent to its home node
	fallback reverseproxy.Selector
	// proxyTrusts is whether the proxy itself, not its server, trusts proxies in
	// front of it. Core then keeps their X-Forwarded-Proto, and no other.
	proxyTrusts bool
	// spreadRESTPP is whether RESTPP requests that belong to no node are spread.
	spreadRESTPP bool
	lineups      [service.Count]atomic.Pointer[lineup]
	// rekeys is whether the proxy's header operations may make a request look
	// repeatable to Go's transport, or another one.
	rekeys bool
	// ourTransport is whether the transport of the proxy readies requests itself.
	ourTransport bool

	site site
	pool string // names the nodes

	cookie *cookieSettings // nil if the affinity is not by cookie
	keys   [][]byte        // guarded by mu until the roster holds tokens

	mu     sync.Mutex // serializes changes of the roster
	roster atomic.Pointer[roster]

	checker       HealthChecker // nil if the nodes' health is not checked
	checkSettings json.RawMessage
	transport     http.RoundTripper // at provisioning: nil if it is the default one
	startChecking [service.Count]bool
	keepTimer     *time.Timer // ends the drain of a cluster; guarded by mu
	owner         *probeOwner // nil unless the probes run; guarded by mu
	released      bool        // no prober may be acquired any more; guarded by mu
	warnedOpen    [service.Count]atomic.Bool

	// moved is where clients are that were moved; nil if they go back at once.
	moved *affinity.MovedClients

	companies companies

	dynamic bool        // the pool may change
	asked   atomic.Bool // a dynamic pool was handed over since the last look
}

// CaddyModule returns the Caddy module information.
func (*Policy) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.reverse_proxy.selection_policies.tigergraph",
		New: func() caddy.Module { return new(Policy) },
	}
}

// Interface guards
var (
	_ caddy.Module          = (*Policy)(nil)
	_ caddy.Provisioner     = (*Policy)(nil)
	_ caddy.CleanerUpper    = (*Policy)(nil)
	_ caddyfile.Unmarshaler = (*Policy)(nil)
	_ reverseproxy.Selector = (*Policy)(nil)
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
			m.NoteSession()
		}
		if !found.current {
			c.setCookie(m, secure, false)
		}
		c.label(m, why)
		return c.pool[own]
	}
	v := &visit{key: key, current: found.current, several: found.several, secure: secure}
	if pinned {
		v.key, v.pinned = c.clientKey(), c.roster.byPool[found.place]
	}
	return c.choose(c.remember(v))
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
		v.left.requests.countRetry(v.left.Address, c.service)
	}
	v.left = nil
	if v.chosen == v.pinned && v.current && !v.several {
		c.takeBackCookie()
	} else {
		c.setCookie(v.chosen, v.secure, v.several)
	}
	if v.pinned != nil && v.chosen != v.pinned && !v.displaced && !c.isKnownByKey() {
		v.displaced = true
		displacedTotal.WithLabelValues(v.pinned.Address).Inc()
	}
	if v.chosen == v.pinned || v.chosen == v.session {
		v.chosen.NoteSession()
	}
	c.label(v.chosen, d.Why)
	return c.pool[d.Node]
}
