package tigergraph

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
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
	// movedKey is what it was acquired by, "" if it is the policy's alone.
	moved    *movedClients
	movedKey string

	companies affinity.Companies[*member]

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

// Provision sets up the policy.
func (p *Policy) Provision(ctx caddy.Context) error {
	host := hostHandler(ctx)
	w, dials := p.written(host), dialsOf(host)
	err := p.provision(ctx, host)
	p.site = siteOf(ctx, w, dials)
	if err != nil {
		// Core's clean-up of a handler takes its upstreams out of the pool that
		// the running configuration uses, although it had not put them in when
		// its policy failed. Without upstreams there is nothing to take out.
		if host != nil {
			host.Upstreams = nil
		}
		if p.site.name != "" {
			err = fmt.Errorf("site %s: %w", p.site.name, err)
		}
		return err
	}
	p.pool = poolText(host, w.dynamic)
	p.warn(w)
	p.app.adopt(p)
	return nil
}

func (p *Policy) provision(ctx caddy.Context, host *reverseproxy.Handler) error {
	if err := p.checkWhole(); err != nil {
		return err
	}
	app, err := ctx.App("tigergraph")
	if err != nil {
		return fmt.Errorf("getting the tigergraph app: %w", err)
	}
	p.app = app.(*App)
	p.logger = ctx.Logger()
	if p.Affinity == "" {
		p.Affinity = byCookie
	}
	p.hashed = balance.ClientIP
	if p.Affinity == byHeader {
		p.hashed = balance.Header
	}
	p.spreadRESTPP = p.spreads(service.RESTPP)
	p.prefixes = affinity.Prefixes{IPv4: 32, IPv6: 64}
	if p.IPv4Prefix != 0 {
		p.prefixes.IPv4 = p.IPv4Prefix
	}
	if p.IPv6Prefix != 0 {
		p.prefixes.IPv6 = p.IPv6Prefix
	}
	if p.FallbackRaw != nil {
		fallback, err := ctx.LoadModule(p, "FallbackRaw")
		if err != nil {
			return fmt.Errorf("fallback: %w", err)
		}
		p.fallback = fallback.(reverseproxy.Selector)
	}
	if p.Affinity == byCookie {
		cookie := Cookie{}
		if p.Cookie != nil {
			cookie = *p.Cookie
		}
		cookie.Name = orDefault(cookie.Name, p.defaultCookieName())
		if p.cookie, p.keys, err = cookie.settings(); err != nil {
			return fmt.Errorf("cookie: %w", err)
		}
	}

	idle := defaultFailback
	if p.Failback != nil {
		idle = time.Duration(*p.Failback)
	}
	if idle > 0 {
		p.acquireMoved(host, idle)
	}

	p.roster.Store(&roster{kept: -1})
	if host != nil {
		p.host = host
		p.dynamic = host.DynamicUpstreamsRaw != nil
		if err := p.completeNodes(host.Upstreams); err != nil {
			return err
		}
		p.proxyTrusts = len(host.TrustedProxies) > 0
		p.rekeys, p.ourTransport = rekeys(host.Headers), isOurs(host.Transport)
		if transport, ours := host.Transport.(*Transport); ours {
			transport.observe = p.observe
		}
		if err := p.provisionHealthCheck(ctx); err != nil {
			return err
		}
		if len(host.Upstreams) > 0 {
			p.rosterFor(host.Upstreams)
		}
	}
	if p.keys != nil {
		p.renewTokens(time.Now())
	}
	return nil
}

// provisionHealthCheck loads the health check. Without a proxy there is no
// transport to probe through, and no check.
func (p *Policy) provisionHealthCheck(ctx caddy.Context) error {
	if p.HealthCheckOff {
		return nil
	}
	if p.HealthCheckRaw == nil {
		p.HealthCheckRaw = caddyconfig.JSONModuleObject(new(Services), "checker", "services", nil)
	}
	module, err := ctx.LoadModule(p, "HealthCheckRaw")
	if err != nil {
		return fmt.Errorf("health_check: %w", err)
	}
	checker, ok := module.(HealthChecker)
	if !ok {
		return fmt.Errorf("health_check: %T is not a health checker", module)
	}
	if p.checkSettings, err = json.Marshal(checker); err != nil {
		return fmt.Errorf("health_check: encoding its settings: %w", err)
	}
	for s := range service.Count {
		plan, _ := checker.Plan(s.String())
		p.startChecking[s] = plan.StartChecking
	}
	p.checker, p.transport = checker, p.host.Transport
	return nil
}

// movedPool holds the memory of moved clients by what decides where they belong,
// so that a reload sends nobody home.
var movedPool = caddy.NewUsagePool()

// movedClients is a memory in the pool.
type movedClients struct{ *affinity.Moved }

// Destruct implements caddy.Destructor.
func (movedClients) Destruct() error { return nil }

// acquireMoved gives the policy its memory of moved clients.
func (p *Policy) acquireMoved(host *reverseproxy.Handler, idle time.Duration) {
	create := func() (caddy.Destructor, error) { return &movedClients{affinity.NewMoved(idle, mostMoved)}, nil }
	if host == nil {
		created, _ := create()
		p.moved = created.(*movedClients)
		return
	}
	var dials []string
	for _, upstream := range host.Upstreams {
		dials = append(dials, upstream.Dial)
	}
	slices.Sort(dials)
	p.movedKey = fmt.Sprintf("%q %s %q %q %d %s", dials, host.DynamicUpstreamsRaw, p.Affinity, p.Header, p.prefixes, idle)
	pooled, _, _ := movedPool.LoadOrNew(p.movedKey, create) // which never fails
	p.moved = pooled.(*movedClients)
}

// Cleanup gives up the probers and the memory of moved clients.
func (p *Policy) Cleanup() error {
	p.stopProbes()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.released {
		return nil
	}
	p.released = true
	var errs []error
	if p.movedKey != "" {
		_, err := movedPool.Delete(p.movedKey)
		errs = append(errs, err)
	}
	if current := p.roster.Load(); current != nil {
		for _, m := range current.members {
			errs = append(errs, m.giveUpProber())
		}
	}
	return errors.Join(errs...)
}

// hostHandler returns the proxy that is being provisioned with this policy, nil
// in a bare context. A proxy within another's response routes has two above it.
func hostHandler(ctx caddy.Context) *reverseproxy.Handler {
	for _, module := range slices.Backward(ctx.Modules()) {
		if handler, ok := module.(*reverseproxy.Handler); ok {
			return handler
		}
	}
	return nil
}

// readyCookies makes the cookies' tokens if their key has to come from storage.
func (p *Policy) readyCookies() error {
	if p.cookie == nil || p.roster.Load().tokens != nil {
		return nil
	}
	key, err := p.app.key.load(p.app.ctx)
	if err != nil {
		return err
	}
	p.mu.Lock()
	p.keys = [][]byte{key}
	p.mu.Unlock()
	p.renewTokens(time.Now())
	return nil
}

// renewTokens makes the tokens of the present epoch unless they are there, and
// returns how long they will do.
func (p *Policy) renewTokens(now time.Time) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.keys == nil {
		return longestRefresh
	}
	epoch := affinity.Epoch(now, p.cookie.lifetime)
	if current := p.roster.Load(); current.tokens == nil || current.tokens.Epoch() != epoch {
		renewed := *current
		renewed.issue(p, epoch)
		p.roster.Store(&renewed)
	}
	return affinity.EpochEnd(epoch, p.cookie.lifetime).Sub(now)
}

// Interface guards
var (
	_ caddy.Module          = (*Policy)(nil)
	_ caddy.Provisioner     = (*Policy)(nil)
	_ caddy.CleanerUpper    = (*Policy)(nil)
	_ caddyfile.Unmarshaler = (*Policy)(nil)
	_ reverseproxy.Selector = (*Policy)(nil)
)
