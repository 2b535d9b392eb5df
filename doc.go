// Package tigergraph makes Caddy the edge in front of a TigerGraph cluster:
// sessions stay on their node and move when it dies, health checks know what each
// of TigerGraph's services answers, and failover neither loses a request nor has
// one carried out twice.
//
// In a Caddyfile it takes one line:
//
//	graph.example.com {
//		tigergraph m1 m2 m3
//	}
//
// This package is the side that knows Caddy: it parses, provisions, asks and
// applies. What decides is plain Go in the packages under internal, which know
// nothing of Caddy and are tested without it.
//
// # The way of a request
//
//	client
//	  |  ^
//	  v  |
//	Handler          what is special about TigerGraph's HTTP
//	  |  ^
//	  v  |
//	reverse_proxy -- which node? --> Policy <-- drains, active clusters -- Admin
//	  |  ^                             ^
//	  v  |                             | verdicts
//	Transport ------ evidence -----> prober
//	  |  ^                             |
//	  v  |                             |
//	node <---------- probes -----------+
//
// The proxy is Caddy's own, and asks the policy before each attempt to send the request.
// Policy.Select answers nearly every request from one look: the client's own node
// can take it. Only if not, the standings of all nodes are gathered, and the package
// internal/balance decides. A second call for the same request means that the first
// node failed; what the policy has to know by then is remembered beside the request.
// The path of a request takes no lock and parses nothing that was known at
// provisioning.
//
// # The modules
//
//   - [App], tigergraph: the fleet of the nodes and the life cycle of the probes.
//   - [Policy], http.reverse_proxy.selection_policies.tigergraph: chooses the node.
//   - [Services], tigergraph.health_checks.services: asks a node's services whether
//     they live. Another [HealthChecker] may take its place.
//   - [Handler], http.handlers.tigergraph: adjusts answers and errors.
//   - [Transport], http.reverse_proxy.transport.tigergraph: the way to the nodes.
//   - [Upstreams], http.reverse_proxy.upstreams.tigergraph: keeps the last good answer
//     of dynamic sources.
//   - [MatchService] and [MatchRepeatable], http.matchers.tigergraph_service and
//     http.matchers.tigergraph_repeatable: match requests by their service, and those
//     that may be sent twice.
//   - [Status], http.handlers.tigergraph_status: the status page.
//   - [Admin], admin.api.tigergraph: calls on Caddy's admin endpoint. The command
//     `caddy tigergraph` makes them.
//   - caddy.adapters.tigergraph: the image's Caddyfile, set up by the
//     environment.
//
// # The words
//
//   - upstream: an address that Caddy's reverse_proxy knows.
//   - node: the TigerGraph machine at such an address, shared by all sites that use it.
//     A member is the node as one policy sees it.
//   - cluster: nodes that belong together and hold the same data. One cluster of a
//     policy is active, the others are its standbys.
//   - service: what a node offers by path: gui, gsql or restpp. Health is known for
//     each service by itself.
//   - verdict: what the health checks say of a service: up, down, unknown or off.
//   - evidence: what live requests met at a service. It can bring a probe forward and
//     count for a verdict.
//   - standing: all that counts of a node for one request at one moment.
//   - candidate: a node that may get a request, of the best tier that has any.
//   - affinity: what keeps a client on its node: a cookie, its address, a header, or
//     nothing.
//   - home: the node that hashing names for a client while all is well.
//   - pin: the node that a client's cookie names.
//   - spread: the way of requests that belong to no node; the one with the fewest
//     requests in flight for its weight gets them.
//   - drain: a node takes no new clients and keeps those it has.
//
// # What survives a reload
//
// Caddy replaces the whole configuration at a reload. The new one takes over, by the
// address of a node or by the settings that matter:
//
//   - what the operator said: drains and the active clusters, which are in Caddy's
//     storage as well and so survive a restart;
//   - verdicts, evidence and latencies, as long as a service is checked in the same
//     way; the rhythm of the probes may change;
//   - which node runs an asynchronous query or knows a GSQL session, and where clients
//     without a cookie were moved;
//   - the last good answers of dynamic sources;
//   - the history of changes and all metrics of nodes that are still used;
//   - the key of the cookies, which is in the storage too.
//
// Most of it is one value, a Fleet of internal/fleet, which goes with the last
// configuration that uses it. What the operator said is handed from one App to the
// next; the answers of dynamic sources have a pool of their own; metrics belong to the
// process. A node that no
// configuration uses any more goes with its prober and its series. Requests outlive
// their configuration, so what they read stays readable after Cleanup.
//
// # The order of locks
//
// Whoever holds a lock takes only locks that stand below it:
//
//  1. saying in operator.go, which lets one command at a time change what the operator
//     said, and with it the lock in Caddy's storage; Feed.mu of the status page;
//     Company.mu in internal/affinity, which is held while a fallback policy is asked; watch.reporting in
//     internal/health, under which the observer of a prober is told.
//  2. Policy.mu, which serializes changes of a roster.
//  3. App.mu, which guards the policies; Fleet.mu in internal/fleet, under which its
//     observer is told what comes and goes.
//  4. Node.mu and Said.mu in internal/fleet.
//  5. Prober.mu and then watch.mu in internal/health.
//  6. Those that are held for a moment and take no other: history, outbox, live apps,
//     companies, counters of metrics, the key of the cookies.
//
// Caddy's usage pools have locks of their own. They are called with App.mu held, and
// so nothing that they make or destroy may take it.
package tigergraph
