package tigergraph

import (
	"encoding/json"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"
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
// `{http.tigergraph.graph}` | The graph of a RESTPP request, empty where there is none
// `{http.tigergraph.query}` | The installed query of a RESTPP request, empty where there is none
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
	// once. Up to 65536 such clients are remembered, of all policies together, the least
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

	// Whether requests fail with 503 when every node is down, out by Caddy's passive
	// checks, or takes no new clients. Default: false: then they are sent all the same,
	// because checks must never empty a pool that works.
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
	// rewrites is whether the proxy has settings of its own for the method or the path.
	rewrites bool
	// ourTransport is whether the transport of the proxy readies requests itself.
	ourTransport bool

	site site
	pool string // names the nodes

	cookie *affinity.Form // nil if the affinity is not by cookie
	keys   [][]byte       // guarded by mu until the roster holds tokens

	mu     sync.Mutex // serializes changes of the roster
	roster atomic.Pointer[roster]

	checker        HealthChecker // nil if the nodes' health is not checked
	proberSettings proberSettings
	transport      http.RoundTripper // at provisioning: nil if it is the default one
	startChecking  [service.Count]bool
	keepTimer      *time.Timer // ends the drain of a cluster; guarded by mu
	owner          *probeOwner // nil unless the probes run; guarded by mu
	released       bool        // no prober may be acquired any more; guarded by mu
	followed       int64       // the version of the operator's word that is in force; guarded by mu
	warnedOpen     [service.Count]atomic.Bool

	// moved is where clients are that were moved; nil if they go back at once.
	moved *affinity.MovedClients

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

// Standby is another cluster than that of the nodes written plainly.
type Standby struct {
	// What the cluster is called. Required.
	Name string `json:"name"`

	// The addresses of its nodes. Required.
	Nodes []string `json:"nodes"`
}

// site is where a policy stands.
type site struct {
	name string
	// hosts are those of its site, none if it may be any.
	hosts []string
}

// probeOwner is a policy that has started. It lends the probers what belongs to its
// configuration: a survivor must not use what an old one has cleaned up.
type probeOwner struct {
	app       *App
	checker   HealthChecker
	transport http.RoundTripper
}

// stopKeeping forgets when the drain of a cluster ends. The caller holds mu.
func (p *Policy) stopKeeping() {
	if p.keepTimer != nil {
		p.keepTimer.Stop()
		p.keepTimer = nil
	}
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

// Interface guards
var (
	_ caddy.Module          = (*Policy)(nil)
	_ caddy.Provisioner     = (*Policy)(nil)
	_ caddy.CleanerUpper    = (*Policy)(nil)
	_ caddyfile.Unmarshaler = (*Policy)(nil)
	_ reverseproxy.Selector = (*Policy)(nil)
)
