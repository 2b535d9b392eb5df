package tigergraph

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
	"go.uber.org/zap"
	"golang.org/x/net/http/httpguts"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/affinity"
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
// `{http.tigergraph.affinity}` | Why that node: `cookie`, `client_ip`, `header`, `fallback`, `least_conn`, `failover` (the client's own node could not be used), `moved` (to where it was moved then), `request_id` (it alone knows the asynchronous query), `fail_open`
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

	// The addresses of nodes that get requests only while no other node can take
	// them, as those of a disaster-recovery cluster. Their data may be old, so a
	// cookie for one counts only for as long.
	Backup []string `json:"backup,omitempty"`

	// The addresses of nodes that take no new clients. Those with a cookie stay.
	Drain []string `json:"drain,omitempty"`

	// How long a node whose service comes up again gets fewer new clients than its
	// weight says: a tenth at first, and steadily more. Default: 0, off.
	SlowStart caddy.Duration `json:"slow_start,omitempty"`

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
	hashed   reason // why a client is sent to its home node
	fallback reverseproxy.Selector
	// proxyTrusts is whether the proxy itself, not its server, trusts proxies in
	// front of it. Core then keeps their X-Forwarded-Proto, and no other.
	proxyTrusts bool
	// onlyPassive is whether Caddy can find a node unhealthy by nothing but passive
	// checks.
	onlyPassive bool
	// rekeys is whether the proxy's header operations may make a request look
	// repeatable to Go's transport, or another one.
	rekeys bool
	// ourTransport is whether the transport of the proxy readies requests itself.
	ourTransport bool

	cookie *cookieSettings // nil if the affinity is not by cookie
	keys   [][]byte        // guarded by mu until the roster holds tokens

	mu     sync.Mutex // serializes changes of the roster
	roster atomic.Pointer[roster]

	checker       HealthChecker // nil if the nodes' health is not checked
	checkSettings json.RawMessage
	transport     http.RoundTripper // at provisioning: nil if it is the default one
	startChecking [service.Count]bool
	owner         *probeOwner // nil unless the probes run; guarded by mu
	released      bool        // no prober may be acquired any more; guarded by mu
	warnedOpen    [service.Count]atomic.Bool

	// moved is where clients are that were moved; nil if they go back at once.
	// movedKey is what it was acquired by, "" if it is the policy's alone.
	moved    *movedClients
	movedKey string

	dynamic bool        // the pool may change
	asked   atomic.Bool // a dynamic pool was handed over since the last look
}

const (
	defaultFailback = 30 * time.Minute
	// mostMoved bounds the memory of moved clients to a few megabytes.
	mostMoved  = 1 << 16
	mostWeight = 1<<16 - 1
)

// The affinities.
const (
	byCookie   = "cookie"
	byClientIP = "client_ip"
	byHeader   = "header"
	byNothing  = "none"
)

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
	if err := p.provision(ctx, host); err != nil {
		// Core's clean-up of a handler takes its upstreams out of the pool that
		// the running configuration uses, although it had not put them in when
		// its policy failed. Without upstreams there is nothing to take out.
		if host != nil {
			host.Upstreams = nil
		}
		return err
	}
	return nil
}

func (p *Policy) provision(ctx caddy.Context, host *reverseproxy.Handler) error {
	if err := p.check(); err != nil {
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
	p.hashed = hashedClientIP
	if p.Affinity == byHeader {
		p.hashed = hashedHeader
	}
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
		cookie := p.Cookie
		if cookie == nil {
			cookie = new(Cookie)
		}
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

	p.roster.Store(new(roster))
	if host != nil {
		p.host = host
		p.dynamic = host.DynamicUpstreamsRaw != nil
		if err := p.checkNodes(host.Upstreams); err != nil {
			return err
		}
		p.proxyTrusts = len(host.TrustedProxies) > 0
		p.onlyPassive = host.CB == nil && host.CBRaw == nil && (host.HealthChecks == nil || host.HealthChecks.Active == nil)
		warnOfRetries(host.LoadBalancing, p.logger)
		p.rekeys, p.ourTransport = rekeys(host.Headers), isOurs(host.Transport)
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
	p.app.adopt(p)
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
	modules := ctx.Modules()
	for i := len(modules) - 1; i >= 0; i-- {
		if handler, ok := modules[i].(*reverseproxy.Handler); ok {
			return handler
		}
	}
	return nil
}

// affinity returns the configured affinity or its default.
func (p *Policy) affinity() string {
	if p.Affinity == "" {
		return byCookie
	}
	return p.Affinity
}

// check refuses settings that cannot be meant.
func (p *Policy) check() error {
	switch p.affinity() {
	case byCookie, byClientIP, byNothing:
		if p.Header != "" {
			return fmt.Errorf("header '%s' needs the affinity 'header', not '%s'", p.Header, p.affinity())
		}
	case byHeader:
		if err := checkHeader(p.Header); err != nil {
			return err
		}
	default:
		return checkAffinity(p.Affinity)
	}
	if p.HealthCheckOff && p.HealthCheckRaw != nil {
		return errors.New("health_check is both off and configured")
	}
	if p.Failback != nil && *p.Failback < 0 {
		return fmt.Errorf("failback must not be negative, got %s", time.Duration(*p.Failback))
	}
	if p.SlowStart < 0 {
		return fmt.Errorf("slow_start must not be negative, got %s", time.Duration(p.SlowStart))
	}
	for _, node := range slices.Sorted(maps.Keys(p.Weights)) {
		if weight := p.Weights[node]; weight < 0 || weight > mostWeight {
			return fmt.Errorf("the weight of '%s' must be from 0 to %d, not %d", node, mostWeight, weight)
		}
	}
	for option, nodes := range map[string][]string{"backup": p.Backup, "drain": p.Drain} {
		for i, node := range nodes {
			if slices.Contains(nodes[:i], node) {
				return fmt.Errorf("%s names '%s' twice", option, node)
			}
		}
	}
	if p.affinity() != byCookie {
		if p.Cookie != nil {
			return fmt.Errorf("the option 'cookie' needs the affinity 'cookie', not '%s'", p.affinity())
		}
		if p.FallbackRaw != nil {
			return fmt.Errorf("the option 'fallback' needs the affinity 'cookie', not '%s'", p.affinity())
		}
	}
	if p.IPv4Prefix != 0 {
		if err := checkPrefix("ipv4_prefix", p.IPv4Prefix, 32); err != nil {
			return err
		}
	}
	if p.IPv6Prefix != 0 {
		if err := checkPrefix("ipv6_prefix", p.IPv6Prefix, 128); err != nil {
			return err
		}
	}
	return nil
}

// checkNodes refuses options for nodes that are no upstreams. Dynamic upstreams
// are not known yet, so that there is only a warning.
func (p *Policy) checkNodes(upstreams reverseproxy.UpstreamPool) error {
	var known []string
	for _, upstream := range upstreams {
		known = append(known, upstream.Dial)
	}
	named := map[string][]string{
		"weight": slices.Sorted(maps.Keys(p.Weights)), "backup": p.Backup, "drain": p.Drain,
	}
	for _, option := range slices.Sorted(maps.Keys(named)) {
		for _, node := range named[option] {
			if slices.Contains(known, node) {
				continue
			}
			if !p.dynamic {
				return fmt.Errorf("%s: '%s' is not an upstream; the upstreams are %s", option, node, strings.Join(known, ", "))
			}
			p.logger.Warn("option for a node that is not a static upstream",
				zap.String("option", option), zap.String("node", node))
		}
	}
	return nil
}

func checkAffinity(name string) error {
	switch name {
	case byCookie, byClientIP, byHeader, byNothing:
		return nil
	}
	return fmt.Errorf("unknown affinity '%s': expected 'cookie', 'client_ip', 'header <field>' or 'none'", name)
}

func checkHeader(field string) error {
	if field == "" {
		return errors.New("the affinity 'header' needs the name of a header field")
	}
	if !httpguts.ValidHeaderFieldName(field) {
		return fmt.Errorf("'%s' is not the name of a header field", field)
	}
	return nil
}

func checkPrefix(option string, bits, most int) error {
	if bits < 1 || bits > most {
		return fmt.Errorf("%s must be a number of bits from 1 to %d, not %d", option, most, bits)
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
