package tigergraph

import (
	"context"
	"runtime/debug"
	"slices"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyevents"
	"go.uber.org/zap"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/cookiekey"
	"github.com/caddy-tigergraph/caddy-tigergraph/internal/fleet"
	"github.com/caddy-tigergraph/caddy-tigergraph/internal/statuspage"
)

// App owns what the policies of a configuration share: the fleet of the nodes, the
// life cycle of the probes and the key of the cookies. It needs no
// configuration of its own; a policy that is used brings it along.
//
// It emits the events `node_up` and `node_down`, with the data `node` and
// `service`, when a verdict of the health checks changes.
type App struct {
	ctx      caddy.Context
	logger   *zap.Logger
	events   *caddyevents.App
	key      cookiekey.Key
	operator fleet.Said
	fleet    *fleet.Fleet
	feed     *statuspage.Feed

	// mu is never held where the lock of a policy or of the feed is taken: those
	// who hold one of them ask the app.
	mu       sync.Mutex
	policies []*Policy
	switched string // the cluster that was made known last as the active one
	stop     context.CancelFunc
	released bool
	outbox   *fleet.Outbox
}

// allPolicies returns the policies of the app.
func (a *App) allPolicies() []*Policy {
	a.mu.Lock()
	defer a.mu.Unlock()
	return slices.Clone(a.policies)
}

// recover keeps the process alive when a goroutine of the app panics. It is deferred.
func (a *App) recover(doing string) {
	if panicked := recover(); panicked != nil {
		a.logger.Error(doing+" panicked", zap.Any("error", panicked), zap.ByteString("stack", debug.Stack()))
	}
}

// liveApps are those that have started, the newest last: during a reload two, and
// the older one alone if the reload fails. Metrics and the admin endpoint ask the
// newest, because what Caddy shows may belong to a configuration that failed to
// load.
var liveApps fleet.Started[App]

// usedPolicies are all that may still choose a node: of configurations that are being
// loaded, that run, and that have ended while requests of theirs are under way.
var usedPolicies fleet.Weakly[Policy]

// How often it is looked whether an epoch of the cookies has ended. The wall
// clock may jump, so that no timer can be trusted to fire at the right moment.
const (
	shortestRefresh = 100 * time.Millisecond
	longestRefresh  = 10 * time.Second
)
