package tigergraph

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyevents"
	"go.uber.org/zap"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/affinity"
	"github.com/caddy-tigergraph/caddy-tigergraph/internal/asyncquery"
	"github.com/caddy-tigergraph/caddy-tigergraph/internal/history"
	"github.com/caddy-tigergraph/caddy-tigergraph/internal/statuspage"
)

func init() {
	caddy.RegisterModule(new(App))
}

// How often it is looked whether an epoch of the cookies has ended. The wall
// clock may jump, so that no timer can be trusted to fire at the right moment.
const (
	shortestRefresh = 100 * time.Millisecond
	longestRefresh  = 10 * time.Second
)

const (
	// TigerGraph keeps the results of asynchronous queries for so long
	// (RESTPP.AsyncQuery.ResultFileMaxDurationDay).
	keepQueries = 48 * time.Hour
	// mostQueries bounds the memory of them to some tens of megabytes.
	mostQueries = 1 << 16
)

const (
	// keepSessions is how long a GSQL session is remembered after its last use, as
	// long as TigerGraph's own sessions last.
	keepSessions = 24 * time.Hour
	mostSessions = 1 << 16
)

// memoryPool holds what is remembered of queries and sessions, so that it survives
// reloads.
var memoryPool = caddy.NewUsagePool()

// memories are what is remembered of which node knows what.
type memories struct {
	queries  *asyncquery.Memory
	searches asyncquery.Searches
	sessions *affinity.Sessions
}

// Destruct implements caddy.Destructor.
func (*memories) Destruct() error { return nil }

// App owns what the policies of a configuration share: the state of the nodes,
// the life cycle of the probes and the key of the cookies. It needs no
// configuration of its own; a policy that is used brings it along.
//
// It emits the events `node_up` and `node_down`, with the data `node` and
// `service`, when a verdict of the health checks changes.
type App struct {
	ctx      caddy.Context
	logger   *zap.Logger
	events   *caddyevents.App
	key      generatedKey
	operator operatorWord
	memories *memories
	feed     *statuspage.Feed

	// mu is never held where the lock of a policy or of the feed is taken: those
	// who hold one of them ask the app.
	mu       sync.Mutex
	nodes    map[string]*node
	uses     map[string]int // how many members of policies a node is
	policies []*Policy
	switched string // the cluster that was made known last as the active one
	stop     context.CancelFunc
	released bool // no node may be acquired any more
	outbox   *outbox
}

// liveApps are those that have started, the newest last: during a reload two, and
// the older one alone if the reload fails. Metrics and the admin endpoint ask the
// newest, because what Caddy shows may belong to a configuration that failed to
// load.
var liveApps appList

type appList struct {
	mu   sync.Mutex
	apps []*App
}

func (l *appList) add(a *App) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.apps = append(l.apps, a)
}

func (l *appList) remove(a *App) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.apps = slices.DeleteFunc(l.apps, func(live *App) bool { return live == a })
}

// newest returns nil if none runs.
func (l *appList) newest() *App {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.apps) == 0 {
		return nil
	}
	return l.apps[len(l.apps)-1]
}

// CaddyModule returns the Caddy module information.
func (*App) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "tigergraph",
		New: func() caddy.Module { return new(App) },
	}
}

// Provision sets up the app.
func (a *App) Provision(ctx caddy.Context) error {
	a.ctx = ctx
	a.logger = ctx.Logger()
	a.feed = statuspage.NewFeed(a.snapshot, func(err error) { a.logger.Error("status cannot be shown", zap.Error(err)) })
	a.key.storage, a.operator.storage = ctx.Storage(), ctx.Storage()
	if running := liveApps.newest(); running != nil {
		a.operator.word = running.operator.known()
	}
	a.nodes, a.uses = make(map[string]*node), make(map[string]int)
	pooled, _, _ := memoryPool.LoadOrNew("memories", func() (caddy.Destructor, error) { // which never fails
		return &memories{
			queries:  asyncquery.NewMemory(keepQueries, mostQueries),
			sessions: affinity.NewSessions(keepSessions, mostSessions),
		}, nil
	})
	a.memories = pooled.(*memories)
	events, err := ctx.App("events")
	if err != nil {
		return fmt.Errorf("getting the events app: %w", err)
	}
	a.events = events.(*caddyevents.App)
	a.outbox = newOutbox(a.emit, a.logger)
	if err := a.events.On("started", startHandler{a}); err != nil {
		return fmt.Errorf("subscribing to the event 'started': %w", err)
	}
	if err := a.events.On("stopping", stopHandler{a}); err != nil {
		return fmt.Errorf("subscribing to the event 'stopping': %w", err)
	}
	if registry := ctx.GetMetricsRegistry(); registry != nil {
		return registerMetrics(registry)
	}
	return nil
}

// Start readies the policies' cookies, keeps them up to date, and lets the probes
// begin.
func (a *App) Start() error {
	policies := a.allPolicies()
	for _, policy := range policies {
		if err := policy.readyCookies(); err != nil {
			return err
		}
	}
	a.readOperator()
	for _, policy := range policies {
		policy.startProbes()
		policy.startLookups()
	}
	ctx, cancel := context.WithCancel(a.ctx)
	a.mu.Lock()
	a.stop = cancel
	a.mu.Unlock()
	go a.refresh(ctx)
	go a.followOperator(ctx)
	liveApps.add(a)
	return nil
}

// Stop ends what Start began. Requests outlive it, so nothing is released that
// choosing a node reads.
func (a *App) Stop() error {
	liveApps.remove(a)
	a.feed.End()
	a.mu.Lock()
	stop := a.stop
	a.mu.Unlock()
	if stop != nil {
		stop()
	}
	for _, policy := range a.allPolicies() {
		policy.stopProbes()
	}
	left := a.outbox.end()
	if newest := liveApps.newest(); newest != nil {
		newest.outbox.add(left...)
	}
	return nil
}

// refresh renews the tokens of every policy when their epoch ends, and forgets
// nodes that are gone.
func (a *App) refresh(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-time.After(max(a.refreshOnce(time.Now()), shortestRefresh)):
		}
	}
}

// refreshOnce returns how long to wait before the next time.
func (a *App) refreshOnce(now time.Time) (wait time.Duration) {
	wait = longestRefresh
	defer a.recover("refreshing the nodes")
	a.memories.queries.Tidy()
	a.memories.sessions.Tidy()
	for _, n := range a.allNodes() {
		n.requests.noteTraffic(now)
	}
	for _, policy := range a.allPolicies() {
		wait = min(wait, policy.renewTokens(now))
		policy.forget(now)
		if policy.moved != nil {
			policy.moved.Tidy()
		}
	}
	return wait
}

// recover keeps the process alive when a goroutine of the app panics. It is deferred.
func (a *App) recover(doing string) {
	if panicked := recover(); panicked != nil {
		a.logger.Error(doing+" panicked", zap.Any("error", panicked), zap.ByteString("stack", debug.Stack()))
	}
}

// adopt makes a policy one of the app's.
func (a *App) adopt(policy *Policy) {
	for _, other := range a.allPolicies() {
		policy.warnOfSharedCookie(other)
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	a.policies = append(a.policies, policy)
}

// transitions are the last changes of nodes, whatever the configuration was.
var transitions = history.New(200)

// stopHandler ends what would hold up the stop of the configuration: the server
// waits for the streams of the status page.
type stopHandler struct{ app *App }

// Handle implements caddyevents.Handler.
func (h stopHandler) Handle(context.Context, caddy.Event) error {
	h.app.feed.End()
	return nil
}

// startHandler lets the events go out. Apps start in random order, so a first probe
// may end before the events app has started.
type startHandler struct{ app *App }

// Handle implements caddyevents.Handler.
func (h startHandler) Handle(context.Context, caddy.Event) error {
	h.app.outbox.open()
	return nil
}

// allPolicies returns the policies of the app.
func (a *App) allPolicies() []*Policy {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Clone(a.policies)
}

// allNodes returns the nodes of the app.
func (a *App) allNodes() []*node {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Collect(maps.Values(a.nodes))
}

// node returns the node with this address for a member of a policy.
func (a *App) node(address string) *node {
	a.mu.Lock()
	defer a.mu.Unlock()
	if !a.released {
		a.uses[address]++
	}
	return a.acquire(address)
}

// leave gives up a node that was in a dynamic pool, unless another member is the same
// node.
func (a *App) leave(n *node) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.released {
		return nil
	}
	if a.uses[n.address]--; a.uses[n.address] > 0 {
		return nil
	}
	delete(a.uses, n.address)
	if a.nodes[n.address] != n {
		return nil
	}
	delete(a.nodes, n.address)
	if _, err := nodes.Delete(n.address); err != nil {
		return fmt.Errorf("giving up %s: %w", n.address, err)
	}
	return nil
}

// acquire returns the node with this address. The caller holds mu.
func (a *App) acquire(address string) *node {
	if known, ok := a.nodes[address]; ok {
		return known
	}
	if a.released {
		n := &node{address: address, requests: newRequestCounters(address)}
		n.requests.leave()
		return n
	}
	pooled, _, _ := nodes.LoadOrNew(address, func() (caddy.Destructor, error) { // which never fails
		displacedTotal.WithLabelValues(address) // increase() sees nothing of a series that begins with what it counts
		return &node{address: address, requests: newRequestCounters(address)}, nil
	})
	a.nodes[address] = pooled.(*node)
	a.nodes[address].follow(a.operator.known(), time.Now())
	return a.nodes[address]
}

// Cleanup gives up the nodes. What they are can still be read.
func (a *App) Cleanup() error {
	if a.feed != nil {
		a.feed.End()
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.released || a.memories == nil {
		return nil
	}
	a.released = true
	var errs []error
	if _, err := memoryPool.Delete("memories"); err != nil {
		errs = append(errs, fmt.Errorf("giving up the memory of queries and sessions: %w", err))
	}
	for address := range a.nodes {
		if _, err := nodes.Delete(address); err != nil {
			errs = append(errs, fmt.Errorf("giving up %s: %w", address, err))
		}
	}
	return errors.Join(errs...)
}

// Interface guards
var (
	_ caddy.App          = (*App)(nil)
	_ caddy.CleanerUpper = (*App)(nil)
	_ caddy.Module       = (*App)(nil)
	_ caddy.Provisioner  = (*App)(nil)

	_ caddyevents.Handler = startHandler{}
	_ caddyevents.Handler = stopHandler{}
)
