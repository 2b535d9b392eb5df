package tigergraph

import (
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/health"
	"github.com/caddy-tigergraph/caddy-tigergraph/internal/service"
	"github.com/caddy-tigergraph/caddy-tigergraph/internal/statuspage"
)

func init() {
	caddy.RegisterModule(new(Status))
	httpcaddyfile.RegisterHandlerDirective("tigergraph_status", parseStatus)
	// Before `tigergraph` and `reverse_proxy`, which answer everything.
	httpcaddyfile.RegisterDirectiveOrder("tigergraph_status", httpcaddyfile.After, "metrics")
}

// Status is a page that shows what the edge thinks of its nodes: which services
// are up and since when, how long their probes take, what is draining, where new
// clients are sent, and what has changed lately. It needs no configuration, and
// changes nothing.
//
// The page is one file under whatever path it is served. It is kept up to date by
// server-sent events, or else by asking again and again. The same is sent as JSON
// to those who prefer that by their Accept header, or ask with `?format=json`.
//
// It names the nodes and says what is wrong with them, so keep it from the public,
// as with `basic_auth`.
type Status struct {
	app *App
}

// CaddyModule returns the Caddy module information.
func (*Status) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.handlers.tigergraph_status",
		New: func() caddy.Module { return new(Status) },
	}
}

// Provision sets up the page.
func (s *Status) Provision(ctx caddy.Context) error {
	app, err := ctx.App("tigergraph")
	if err != nil {
		return fmt.Errorf("getting the tigergraph app: %w", err)
	}
	s.app = app.(*App)
	return nil
}

// parseStatus sets up the page. Syntax:
//
//	tigergraph_status [<matcher>]
func parseStatus(h httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
	h.Next() // the directive's name
	if h.NextArg() {
		return nil, h.ArgErr()
	}
	if h.NextBlock(0) {
		return nil, h.Errf("unrecognized option '%s'", h.Val())
	}
	return new(Status), nil
}

// ServeHTTP serves the page, or what it shows, under any path.
func (s *Status) ServeHTTP(w http.ResponseWriter, r *http.Request, _ caddyhttp.Handler) error {
	err := statuspage.Serve(w, r, s.app.feed)
	if unread := (statuspage.SnapshotError{}); errors.As(err, &unread) {
		return caddyhttp.Error(http.StatusInternalServerError, unread.Err)
	}
	return err
}

// snapshot returns all that the page shows.
func (a *App) snapshot(now time.Time) *statuspage.Snapshot {
	step := health.LatencyStepAt(now)
	s := &statuspage.Snapshot{
		Time:               now.UTC().Round(0),
		Version:            pluginVersion,
		CaddyVersion:       caddyVersion,
		Started:            *statuspage.Moment(started),
		UptimeSeconds:      int64(now.Sub(started).Seconds()),
		LatencyStep:        step,
		LatencyStepSeconds: int(health.LatencyStep.Seconds()),
		Services:           make(map[string]statuspage.ServiceState, service.Count),
		Nodes:              []statuspage.Node{},
	}
	type shareKey struct {
		*member
		service.Service
	}
	shares := make(map[shareKey]float64)
	for of := range service.Count {
		state, outlooks := a.serviceState(of)
		for _, outlook := range outlooks {
			for i, share := range outlook.Shares {
				shares[shareKey{outlook.members[i], of}] += share
			}
		}
		s.Services[of.String()] = state
	}
	for _, observed := range a.observe() {
		node := statuspage.Node{NodeStatus: observed.nodeStatus, Services: make(map[string]statuspage.Service, service.Count)}
		if node.DrainUntil != nil {
			left := int64(max(node.DrainUntil.Sub(now), 0).Seconds())
			node.DrainSecondsLeft = &left
		}
		for _, use := range observed.uses {
			switch {
			case use.retiring:
				node.DrainedBy = "configuration"
			case use.IsDrained() && node.DrainedBy == "":
				node.DrainedBy = "call"
			}
		}
		for of := range service.Count {
			shown := statuspage.Service{ServiceStatus: observed.Services[of.String()]}
			for _, use := range observed.uses {
				// Sites that use a node differently count alike.
				shown.Share += shares[shareKey{use.member, of}] / float64(len(observed.uses))
			}
			if prober := observed.uses[0].prober; prober != nil && prober.Checks(of) {
				shown.Probes = statuspage.ProbesOf(prober, of, step)
			}
			node.Services[of.String()] = shown
		}
		s.Nodes = append(s.Nodes, node)
	}
	if clusters := a.clusterStatuses(); len(clusters) > 1 {
		s.Clusters = clusters
	}
	// At last, so that no verdict is shown without the change that led to it.
	s.History, s.HistorySeen = a.fleet.History.Newest()
	return s
}

// serviceState returns how a service fares as a whole, and its outlook by each policy.
func (a *App) serviceState(of service.Service) (state statuspage.ServiceState, outlooks []outlook) {
	for _, policy := range a.allPolicies() {
		outlook := policy.outlook(of)
		state.FailOpen = state.FailOpen || outlook.Best.IsOpen()
		state.Unavailable = state.Unavailable || outlook.isUnavailable()
		outlooks = append(outlooks, outlook)
	}
	return state, outlooks
}

// serviceStates returns how each service fares as a whole, by its name.
func (a *App) serviceStates() map[string]statuspage.ServiceState {
	states := make(map[string]statuspage.ServiceState, service.Count)
	for of := range service.Count {
		states[of.String()], _ = a.serviceState(of)
	}
	return states
}

// started is when the process began, as good as.
var started = time.Now()

// The versions of the plugin and of Caddy.
var (
	pluginVersion   = statuspage.VersionOf("github.com/caddy-tigergraph/caddy-tigergraph")
	caddyVersion, _ = caddy.Version()
)

// Interface guards
var (
	_ caddy.Module                = (*Status)(nil)
	_ caddy.Provisioner           = (*Status)(nil)
	_ caddyhttp.MiddlewareHandler = (*Status)(nil)
)
