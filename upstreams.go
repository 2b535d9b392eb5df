package tigergraph

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"runtime/debug"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
	"go.uber.org/zap"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/address"
)

func init() {
	caddy.RegisterModule(new(Upstreams))
}

// Upstreams gets the nodes from other sources of dynamic upstreams, such as `a` and
// `srv`, and keeps their last good answers: a resolver that fails, knows nothing any
// more or is silent takes no node away. The sources are asked in the background, at
// the rhythm of their `refresh`, and hold up no request; only while a source has
// given no answer yet, a request waits for its first, 3s at most. What fails is
// logged once, until it succeeds again, and asked for again after 5s or, if that is
// shorter, the refresh.
//
// A source whose settings have placeholders of the request is asked with each
// request, as Caddy does.
//
// The `tigergraph` directive puts its `dynamic` sources into it.
type Upstreams struct {
	// The sources, whose nodes are used together, each once. Required.
	SourcesRaw []json.RawMessage `json:"sources,omitempty" caddy:"namespace=http.reverse_proxy.upstreams inline_key=source"`

	// The addresses of nodes that are there whatever the sources say, such as those of a
	// standby. Caddy leaves out what is written beside a dynamic source.
	Nodes []string `json:"nodes,omitempty"`

	sources []*upstreamSource
}

const (
	// firstAnswerTimeout is how long requests wait for the first answer of a source.
	firstAnswerTimeout = 3 * time.Second
	// lookupTimeout is longer, for resolvers ask a second server after a while.
	lookupTimeout  = 10 * time.Second
	lookupRetry    = 5 * time.Second
	defaultRefresh = time.Minute // Caddy's own
)

// upstreamSource is one source as one configuration has it.
type upstreamSource struct {
	reverseproxy.UpstreamSource
	name    string
	refresh time.Duration
	ctx     context.Context
	logger  *zap.Logger
	begun   sync.Once
	key     string   // of the answers in their pool
	answers *answers // nil if each request is asked about by itself
}

// answers are what is known of a source, whatever the configuration is.
type answers struct {
	name string
	// dials are the addresses of the last good answer, nil until there was one.
	dials  atomic.Pointer[[]string]
	failed atomic.Bool // the last look-up
	// first is closed when the first look-up is over, or has taken too long.
	first    chan struct{}
	endFirst sync.Once
}

// answersPool holds the answers by the settings of their source, so that a reload
// while the resolver is away takes no node away either.
var answersPool = caddy.NewUsagePool()

// Destruct implements caddy.Destructor.
func (a *answers) Destruct() error {
	lookupsTotal.DeletePartialMatch(map[string]string{"source": a.name})
	return nil
}

// CaddyModule returns the Caddy module information.
func (*Upstreams) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.reverse_proxy.upstreams.tigergraph",
		New: func() caddy.Module { return new(Upstreams) },
	}
}

// Provision sets up the sources. It asks none of them.
func (u *Upstreams) Provision(ctx caddy.Context) error {
	if len(u.SourcesRaw) == 0 {
		return errors.New("sources: at least one is needed")
	}
	settings := u.SourcesRaw // which loading them takes away
	modules, err := ctx.LoadModule(u, "SourcesRaw")
	if err != nil {
		return fmt.Errorf("sources: %w", err)
	}
	for i, module := range modules.([]any) {
		source, ok := module.(reverseproxy.UpstreamSource)
		if !ok {
			return fmt.Errorf("sources: %T is not a source of upstreams", module)
		}
		s := &upstreamSource{UpstreamSource: source, ctx: ctx, logger: ctx.Logger(), refresh: defaultRefresh}
		var common struct {
			Source  string         `json:"source"`
			Refresh caddy.Duration `json:"refresh"`
		}
		if err := json.Unmarshal(settings[i], &common); err == nil && common.Refresh > 0 {
			s.refresh = time.Duration(common.Refresh)
		}
		s.name = common.Source
		if named, ok := source.(fmt.Stringer); ok {
			s.name += " " + named.String()
		}
		if !strings.Contains(string(settings[i]), "{http.") {
			s.key = string(settings[i])
			pooled, _, _ := answersPool.LoadOrNew(s.key, func() (caddy.Destructor, error) { // which never fails
				return &answers{name: s.name, first: make(chan struct{})}, nil
			})
			s.answers = pooled.(*answers)
		}
		u.sources = append(u.sources, s)
	}
	return nil
}

// Cleanup gives up the answers. Requests that are under way still read them.
func (u *Upstreams) Cleanup() error {
	var errs []error
	for _, s := range u.sources {
		if s.key != "" {
			_, err := answersPool.Delete(s.key)
			s.key = ""
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// begin has the sources asked from now on.
func (u *Upstreams) begin() {
	for _, s := range u.sources {
		s.begin()
	}
}

// startLookups has the sources of dynamic nodes asked before the first request.
func (p *Policy) startLookups() {
	if p.host == nil {
		return
	}
	if sources, ok := p.host.DynamicUpstreams.(*Upstreams); ok {
		sources.begin()
	}
}

// GetUpstreams implements reverseproxy.UpstreamSource. It fails only if no source
// has ever given an answer, and no node is always there.
func (u *Upstreams) GetUpstreams(r *http.Request) ([]*reverseproxy.Upstream, error) {
	var all []*reverseproxy.Upstream
	var errs []error
	add := func(upstream *reverseproxy.Upstream) {
		same := func(other *reverseproxy.Upstream) bool { return other.Dial == upstream.Dial }
		if len(u.sources) == 1 && u.Nodes == nil || !slices.ContainsFunc(all, same) {
			all = append(all, upstream)
		}
	}
	for _, s := range u.sources {
		if s.answers == nil {
			upstreams, err := s.GetUpstreams(r)
			errs = append(errs, err)
			for _, upstream := range upstreams {
				add(upstream)
			}
			continue
		}
		dials, err := s.last(r.Context())
		errs = append(errs, err)
		for _, dial := range dials {
			add(&reverseproxy.Upstream{Dial: dial})
		}
	}
	if len(all) == 0 && u.Nodes == nil {
		return nil, errors.Join(errs...)
	}
	for _, dial := range u.Nodes {
		add(&reverseproxy.Upstream{Dial: dial})
	}
	return all, nil
}

// last returns the last good answer. Only while nobody knows anything yet, it waits.
func (s *upstreamSource) last(ctx context.Context) ([]string, error) {
	s.begin()
	if dials := s.answers.dials.Load(); dials != nil {
		return *dials, nil
	}
	select {
	case <-s.answers.first:
	case <-ctx.Done():
	}
	if dials := s.answers.dials.Load(); dials != nil {
		return *dials, nil
	}
	return nil, fmt.Errorf("the source '%s' has given no nodes yet", s.name)
}

// begin has the source asked in the background, for as long as its configuration is
// the running one.
func (s *upstreamSource) begin() {
	if s.answers == nil {
		return
	}
	s.begun.Do(func() {
		time.AfterFunc(firstAnswerTimeout, s.answers.endWaiting)
		go s.keepAsking()
	})
}

// endWaiting lets requests wait no longer for the first answer.
func (a *answers) endWaiting() { a.endFirst.Do(func() { close(a.first) }) }

func (s *upstreamSource) keepAsking() {
	for {
		// Caddy's sources keep an answer for their refresh: a moment later it is old.
		wait := s.refresh + 50*time.Millisecond
		if !s.ask() {
			wait = min(wait, lookupRetry)
		}
		s.answers.endWaiting()
		select {
		case <-s.ctx.Done():
			return
		case <-time.After(wait):
		}
	}
}

// ask asks the source once, and reports whether it has given nodes.
func (s *upstreamSource) ask() bool {
	ctx, cancel := context.WithTimeout(context.WithValue(s.ctx, caddy.ReplacerCtxKey, caddy.NewReplacer()), lookupTimeout)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://localhost/", http.NoBody)
	if err != nil {
		return false
	}
	upstreams, err := s.nodesFor(r)
	if s.ctx.Err() != nil {
		return true // the configuration has ended, and with it the look-up
	}
	if err == nil && len(upstreams) == 0 {
		err = errors.New("the answer has no nodes")
	}
	if err != nil {
		lookupsTotal.WithLabelValues(s.name, "fail").Inc()
		if !s.answers.failed.Swap(true) {
			s.logger.Warn("asking for nodes failed; the last answer stays until one succeeds",
				zap.String("source", s.name), zap.Bool("has_answer", s.answers.dials.Load() != nil), zap.Error(err))
		}
		return false
	}
	dials := make([]string, len(upstreams))
	for i, upstream := range upstreams {
		dials[i] = upstream.Dial
	}
	s.answers.dials.Store(&dials)
	lookupsTotal.WithLabelValues(s.name, "pass").Inc()
	if s.answers.failed.Swap(false) {
		s.logger.Info("asking for nodes succeeds again", zap.String("source", s.name), zap.Strings("nodes", dials))
	}
	return true
}

// nodesFor asks the source. If it panics, that is a failure as any other: it is asked
// again.
func (s *upstreamSource) nodesFor(r *http.Request) (nodes []*reverseproxy.Upstream, err error) {
	defer func() {
		if panicked := recover(); panicked != nil {
			s.logger.Error("asking for nodes panicked; the last answer stays", zap.String("source", s.name),
				zap.Any("panic", panicked), zap.ByteString("stack", debug.Stack()))
			nodes, err = nil, errors.New("the source panicked")
		}
	}()
	return s.GetUpstreams(r)
}

// UnmarshalCaddyfile sets up the sources. Syntax:
//
//	dynamic tigergraph {
//		<source> [...]
//	}
func (u *Upstreams) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	var several reverseproxy.MultiUpstreams
	if err := several.UnmarshalCaddyfile(d); err != nil {
		return err
	}
	u.SourcesRaw = several.SourcesRaw
	return nil
}

// wrapSources puts the sources of a proxy into one that keeps their answers, and
// completes their ports.
func wrapSources(source json.RawMessage) (*Upstreams, error) {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(source, &fields); err != nil {
		return nil, fmt.Errorf("dynamic: %w", err)
	}
	text := func(field string) (value string) {
		_ = json.Unmarshal(fields[field], &value)
		return value
	}
	wrapped := new(Upstreams)
	switch text("source") {
	case "multi", "tigergraph":
		var several []json.RawMessage
		if err := json.Unmarshal(fields["sources"], &several); fields["sources"] != nil && err != nil {
			return nil, fmt.Errorf("dynamic: %w", err)
		}
		for _, one := range several {
			inner, err := wrapSources(one)
			if err != nil {
				return nil, err
			}
			wrapped.SourcesRaw = append(wrapped.SourcesRaw, inner.SourcesRaw...)
		}
		return wrapped, nil
	case "a":
		if text("port") == "" {
			fields["port"] = json.RawMessage(`"` + address.DefaultPort + `"`)
		}
		completed, err := json.Marshal(fields)
		if err != nil {
			return nil, fmt.Errorf("dynamic: %w", err)
		}
		source = completed
	}
	wrapped.SourcesRaw = []json.RawMessage{source}
	return wrapped, nil
}

// Interface guards
var (
	_ caddy.CleanerUpper          = (*Upstreams)(nil)
	_ caddy.Destructor            = (*answers)(nil)
	_ caddy.Module                = (*Upstreams)(nil)
	_ caddy.Provisioner           = (*Upstreams)(nil)
	_ caddyfile.Unmarshaler       = (*Upstreams)(nil)
	_ reverseproxy.UpstreamSource = (*Upstreams)(nil)
)
