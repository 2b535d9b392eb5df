package tigergraph

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
	"go.uber.org/zap"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/lookup"
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

// upstreamSource is one source as one configuration has it.
type upstreamSource struct {
	reverseproxy.UpstreamSource
	name   string
	ctx    context.Context
	logger *zap.Logger
	key    string         // of the answers in their pool
	kept   *lookup.Source // nil if each request is asked about by itself
}

// answersPool holds the answers by the settings of their source, so that a reload
// while the resolver is away takes no node away either.
var answersPool = caddy.NewUsagePool()

// pooledAnswers are those of a source in the pool.
type pooledAnswers struct{ *lookup.Answers }

// Destruct implements caddy.Destructor.
func (a pooledAnswers) Destruct() error {
	lookupsTotal.DeletePartialMatch(map[string]string{"source": a.Name})
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
func (u *Upstreams) Provision(ctx caddy.Context) (err error) {
	defer spareUpstreams(ctx, &err)
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
		s := &upstreamSource{UpstreamSource: source, ctx: ctx, logger: ctx.Logger()}
		var common struct {
			Source  string         `json:"source"`
			Refresh caddy.Duration `json:"refresh"`
		}
		refresh := lookup.DefaultRefresh
		if err := json.Unmarshal(settings[i], &common); err == nil && common.Refresh > 0 {
			refresh = time.Duration(common.Refresh)
		}
		s.name = common.Source
		if named, ok := source.(fmt.Stringer); ok {
			s.name += " " + named.String()
		}
		if !strings.Contains(string(settings[i]), "{http.") {
			s.key = string(settings[i])
			pooled, _, _ := answersPool.LoadOrNew(s.key, func() (caddy.Destructor, error) { // which never fails
				return pooledAnswers{lookup.NewAnswers(s.name)}, nil
			})
			s.kept = lookup.NewSource(pooled.(pooledAnswers).Answers, refresh, s.ask, s)
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
		if s.kept != nil {
			s.kept.Begin(s.ctx)
		}
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

// known returns the nodes of the last answers. It is not ok where a source has given none,
// or is asked by requests alone.
func (u *Upstreams) known() (dials []string, ok bool) {
	for _, s := range u.sources {
		if s.kept == nil || s.kept.Known() == nil {
			return nil, false
		}
		dials = append(dials, s.kept.Known()...)
	}
	return append(dials, u.Nodes...), true
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
		if s.kept == nil {
			upstreams, err := s.GetUpstreams(r)
			errs = append(errs, err)
			for _, upstream := range upstreams {
				add(upstream)
			}
			continue
		}
		s.kept.Begin(s.ctx)
		dials, err := s.kept.Last(r.Context())
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

// ask asks the source as Caddy does for a request.
func (s *upstreamSource) ask(ctx context.Context) (dials []string, err error) {
	ctx = context.WithValue(ctx, caddy.ReplacerCtxKey, caddy.NewReplacer())
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://localhost/", http.NoBody)
	if err != nil {
		return nil, err
	}
	upstreams, err := s.GetUpstreams(r)
	for _, upstream := range upstreams {
		dials = append(dials, upstream.Dial)
	}
	return dials, err
}

// Answered implements lookup.Observer.
func (s *upstreamSource) Answered(nodes []string, again bool) {
	lookupsTotal.WithLabelValues(s.name, "pass").Inc()
	if again {
		s.logger.Info("asking for nodes succeeds again", zap.String("source", s.name), zap.Strings("nodes", nodes))
	}
}

// Failed implements lookup.Observer.
func (s *upstreamSource) Failed(reason error, first, known bool) {
	lookupsTotal.WithLabelValues(s.name, "fail").Inc()
	if first {
		s.logger.Warn("asking for nodes failed; the last answer stays until one succeeds",
			zap.String("source", s.name), zap.Bool("has_answer", known), zap.Error(reason))
	}
}

// Panicked implements lookup.Observer.
func (s *upstreamSource) Panicked(value any, stack []byte) {
	s.logger.Error("asking for nodes panicked; the last answer stays", zap.String("source", s.name),
		zap.Any("panic", value), zap.ByteString("stack", stack))
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

// Interface guards
var (
	_ caddy.CleanerUpper          = (*Upstreams)(nil)
	_ caddy.Destructor            = pooledAnswers{}
	_ caddy.Module                = (*Upstreams)(nil)
	_ caddy.Provisioner           = (*Upstreams)(nil)
	_ caddyfile.Unmarshaler       = (*Upstreams)(nil)
	_ lookup.Observer             = (*upstreamSource)(nil)
	_ reverseproxy.UpstreamSource = (*Upstreams)(nil)
)
