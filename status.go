package tigergraph

import (
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
	header := w.Header()
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		header.Set("Allow", "GET, HEAD")
		http.Error(w, "the status page can only be read: use GET or HEAD", http.StatusMethodNotAllowed)
		return nil
	}
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set("Cache-Control", "no-store")
	format := statuspage.Accepted(r.Header["Accept"])
	if name := r.URL.Query().Get("format"); name != "" {
		var known bool
		if format, known = statuspage.ParseFormat(name); !known {
			http.Error(w, "format must be html, json or events", http.StatusBadRequest)
			return nil
		}
	} else {
		header.Set("Vary", "Accept")
	}
	switch format {
	case statuspage.JSON:
		return s.serveJSON(w)
	case statuspage.Events:
		return s.serveEvents(w, r)
	default:
		header.Set("Content-Type", "text/html; charset=utf-8")
		header.Set("Content-Security-Policy", statuspage.Policy)
		header.Set("Referrer-Policy", "no-referrer")
		_, err := w.Write(statuspage.Page)
		return err
	}
}

func (s *Status) serveJSON(w http.ResponseWriter) error {
	content, err := s.app.feed.Snapshot()
	if err != nil {
		return caddyhttp.Error(http.StatusInternalServerError, err)
	}
	w.Header().Set("Content-Type", "application/json")
	_, err = w.Write(content)
	return err
}

// writeTimeout is how long a reader of a stream may keep it waiting.
const writeTimeout = 10 * time.Second

// serveEvents sends what changes until the client leaves or the configuration is
// replaced.
func (s *Status) serveEvents(w http.ResponseWriter, r *http.Request) error {
	header := w.Header()
	if r.Method == http.MethodHead {
		header.Set("Content-Type", "text/event-stream")
		return nil
	}
	subscription, err := s.app.feed.Subscribe()
	if err != nil {
		header.Set("Retry-After", "1")
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return nil
	}
	defer subscription.Close()
	header.Set("Content-Type", "text/event-stream")
	header.Set("Cache-Control", "no-store, no-transform")
	header.Set("X-Accel-Buffering", "no") // for an nginx in front
	controller := http.NewResponseController(w)
	defer func() { _ = controller.SetWriteDeadline(time.Time{}) }() // the connection may be used again
	for {
		select {
		case <-r.Context().Done():
			return nil
		case event, more := <-subscription.Events():
			if !more {
				return nil
			}
			// Not every writer has a deadline; a client that left shows all the same.
			_ = controller.SetWriteDeadline(time.Now().Add(writeTimeout))
			if _, err := w.Write(event); err != nil {
				return nil //nolint:nilerr // the client has left
			}
			if err := controller.Flush(); err != nil {
				return nil //nolint:nilerr // the client has left
			}
		}
	}
}

// snapshot returns all that the page shows.
func (a *App) snapshot(now time.Time) *statuspage.Snapshot {
	step := health.LatencyStepAt(now)
	s := &statuspage.Snapshot{
		Time:               now.UTC().Round(0),
		Version:            pluginVersion,
		CaddyVersion:       caddyVersion,
		Started:            *moment(started),
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
				shown.Probes = latency(prober, of, step)
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

// serviceStates returns that of all services, by their names.
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
