package tigergraph

import (
	"context"
	"fmt"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyevents"
	"go.uber.org/zap"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/fleet"
	"github.com/caddy-tigergraph/caddy-tigergraph/internal/statuspage"
)

func init() {
	caddy.RegisterModule(new(App))
}

// fleets holds the fleet that the configurations before and after a reload share.
var fleets = caddy.NewUsagePool()

// sharedFleet is the fleet in the pool.
type sharedFleet struct{ *fleet.Fleet }

// Destruct implements caddy.Destructor.
func (sharedFleet) Destruct() error { return nil }

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
	a.key.Storage = ctx.Storage()
	a.operator.Storage, a.operator.Key = wordStorage{ctx.Storage()}, wordPath
	if running := liveApps.Newest(); running != nil {
		a.operator.Learn(running.operator.Known())
	}
	a.readOperator()
	pooled, _, _ := fleets.LoadOrNew("fleet", func() (caddy.Destructor, error) { // which never fails
		return sharedFleet{fleet.New(fleetSeries{})}, nil
	})
	a.fleet = pooled.(sharedFleet).Fleet
	events, err := ctx.App("events")
	if err != nil {
		return fmt.Errorf("getting the events app: %w", err)
	}
	a.events = events.(*caddyevents.App)
	a.outbox = fleet.NewOutbox(subscribers{a})
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
	a.startOperator()
	for _, policy := range policies {
		policy.succeed(liveApps.Newest())
		policy.startProbes()
		policy.startLookups()
	}
	ctx, cancel := context.WithCancel(a.ctx)
	a.mu.Lock()
	a.stop = cancel
	a.mu.Unlock()
	go a.refresh(ctx)
	go a.followOperator(ctx)
	liveApps.Add(a)
	return nil
}

// Stop ends what Start began. Requests outlive it, so nothing is released that
// choosing a node reads.
func (a *App) Stop() error {
	liveApps.Remove(a)
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
	left := a.outbox.End()
	if newest := liveApps.Newest(); newest != nil {
		newest.outbox.Add(left...)
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

// refreshOnce renews tokens and forgets nodes that are gone, once. It returns how long
// to wait before the next time.
func (a *App) refreshOnce(now time.Time) (wait time.Duration) {
	wait = longestRefresh
	defer a.recover("refreshing the nodes")
	a.fleet.Tidy()
	for _, n := range a.fleet.Nodes() {
		n.Attached.(*requestCounters).noteTraffic(now)
	}
	for _, policy := range a.allPolicies() {
		wait = min(wait, policy.renewTokens(now))
		policy.forget(now)
	}
	return wait
}

// adopt makes a policy one of the app's.
func (a *App) adopt(policy *Policy) {
	for _, other := range a.allPolicies() {
		policy.warnOfSharedCookie(other)
	}
	a.mu.Lock()
	a.policies = append(a.policies, policy)
	a.mu.Unlock()
	usedPolicies.Add(policy)
	if running := liveApps.Newest(); running != nil { // and may have been told more meanwhile
		policy.useClusters(running.operator.Known(), time.Now())
	}
}

// stopHandler ends what would hold up the stop of the configuration: the server
// waits for the streams of the status page.
type stopHandler struct{ app *App }

// Handle implements caddyevents.Handler.
func (h stopHandler) Handle(context.Context, caddy.Event) error {
	h.app.feed.End()
	return nil
}

// startHandler lets the events go out, and the operator's word be true of all. Apps start
// in random order: a first probe may end before the events app has started, and another
// app may still fail, so that the configuration before goes on by its own storage's word.
type startHandler struct{ app *App }

// Handle implements caddyevents.Handler.
func (h startHandler) Handle(context.Context, caddy.Event) error {
	h.app.outbox.Open()
	h.app.applyWord(h.app.operator.Known())
	return nil
}

// Cleanup gives up the fleet. What is known of its nodes can still be read.
func (a *App) Cleanup() error {
	if a.feed != nil {
		a.feed.End()
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.released || a.fleet == nil {
		return nil
	}
	a.released = true
	if _, err := fleets.Delete("fleet"); err != nil {
		return fmt.Errorf("giving up the fleet: %w", err)
	}
	return nil
}

// subscribers are those of Caddy's events app.
type subscribers struct{ app *App }

// Emit implements fleet.Subscribers.
func (s subscribers) Emit(event fleet.Event) { s.app.events.Emit(s.app.ctx, event.Name, event.Data()) }

// Panicked implements fleet.Subscribers.
func (s subscribers) Panicked(event fleet.Event, value any, stack []byte) {
	s.app.logger.Error("subscriber of an event panicked", zap.String("event", event.Name), zap.String("node", event.Node),
		zap.Any("error", value), zap.ByteString("stack", stack))
}

// Lost implements fleet.Subscribers.
func (s subscribers) Lost(event fleet.Event) {
	s.app.logger.Error("event is lost: its subscribers are too slow",
		zap.String("event", event.Name), zap.String("node", event.Node), zap.String("service", event.Service))
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
