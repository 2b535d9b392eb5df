// Package tigergraph makes Caddy the edge in front of a TigerGraph cluster:
// sessions stay on their node, and move when it dies.
package tigergraph

import (
	"context"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"
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

// App owns what the policies of a configuration share: the state of the nodes
// and the key of the cookies. It needs no configuration of its own; a policy
// that is used brings it along.
type App struct {
	ctx    caddy.Context
	logger *zap.Logger
	key    generatedKey

	mu       sync.Mutex
	nodes    map[string]*node
	policies []*Policy
	stop     context.CancelFunc
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
	a.key.storage = ctx.Storage()
	a.nodes = make(map[string]*node)
	return nil
}

// Start readies the policies' cookies and keeps them up to date.
func (a *App) Start() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, policy := range a.policies {
		if err := policy.start(); err != nil {
			return err
		}
	}
	ctx, cancel := context.WithCancel(a.ctx)
	a.stop = cancel
	go a.refresh(ctx)
	return nil
}

// Stop ends what Start began. Requests outlive it, so nothing is released that
// choosing a node reads.
func (a *App) Stop() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.stop != nil {
		a.stop()
	}
	return nil
}

// refresh renews the tokens of every policy when their epoch ends.
func (a *App) refresh(ctx context.Context) {
	for {
		now := time.Now()
		wait := longestRefresh
		a.mu.Lock()
		for _, policy := range a.policies {
			wait = min(wait, policy.refresh(now))
		}
		a.mu.Unlock()
		select {
		case <-ctx.Done():
			return
		case <-time.After(max(wait, shortestRefresh)):
		}
	}
}

// adopt makes a policy one of the app's.
func (a *App) adopt(policy *Policy) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.policies = append(a.policies, policy)
}

// node returns the node with this address.
func (a *App) node(address string) *node {
	a.mu.Lock()
	defer a.mu.Unlock()
	if known, ok := a.nodes[address]; ok {
		return known
	}
	created := &node{address: address}
	a.nodes[address] = created
	return created
}

// Interface guards
var (
	_ caddy.App         = (*App)(nil)
	_ caddy.Module      = (*App)(nil)
	_ caddy.Provisioner = (*App)(nil)
)
