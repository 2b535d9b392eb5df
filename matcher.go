package tigergraph

import (
	"errors"
	"fmt"
	"net/http"
	"slices"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/service"
)

func init() {
	caddy.RegisterModule(MatchRepeatable{})
	caddy.RegisterModule(MatchService{})
}

// MatchRepeatable matches requests that may be sent to a node although another
// node, or the same, may have carried them out already. It is made for the
// `lb_retry_match` of `reverse_proxy`; the `tigergraph` directive sets it there.
//
// In TigerGraph a GET can drop all data, so these are only requests that are known
// to do nothing but read, and to say the same on every node: static files,
// `/api/ping`, the metrics, RESTPP's vertices and edges, and GSQL's schema, lists
// and versions, all by GET or HEAD, without a body, an upgrade, `GSQL-ASYNC`,
// `X-HTTP-Method-Override` or an `action=` in the query, and with a path that
// cannot be taken for another one. An installed query is none of them: it may
// write.
//
// It matches any other request, too, while it never left the edge: where the
// `tigergraph` transport has just failed to agree with a node on encryption.
type MatchRepeatable struct{}

// CaddyModule returns the Caddy module information.
func (MatchRepeatable) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.matchers.tigergraph_repeatable",
		New: func() caddy.Module { return new(MatchRepeatable) },
	}
}

// UnmarshalCaddyfile sets up the matcher from Caddyfile tokens. Syntax:
//
//	tigergraph_repeatable
func (*MatchRepeatable) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	for d.Next() {
		if d.NextArg() {
			return d.Errf("unexpected argument '%s' after 'tigergraph_repeatable'", d.Val())
		}
		if d.NextBlock(d.Nesting()) {
			return d.Err("tigergraph_repeatable takes no options")
		}
	}
	return nil
}

// MatchWithError reports whether the request may be sent once more. It never fails.
func (MatchRepeatable) MatchWithError(r *http.Request) (bool, error) {
	return service.Repeatable(r) || isWaiting(r), nil
}

// MatchService matches requests by the TigerGraph service that they are for:
// `gui`, `gsql` or `restpp`. Paths are cleaned and decoded first, as the nginx in
// each node does it.
//
// Service | Paths
// --------|------
// `restpp` | `/restpp` and below
// `gsql` | `/gsqlserver`, `/gsql/v1`, `/gsql/scim` and below
// `gui` | everything else: GraphStudio, Admin Portal, Insights, the web shell
type MatchService []string

// CaddyModule returns the Caddy module information.
func (MatchService) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.matchers.tigergraph_service",
		New: func() caddy.Module { return new(MatchService) },
	}
}

// UnmarshalCaddyfile sets up the matcher from Caddyfile tokens. Syntax:
//
//	tigergraph_service gui|gsql|restpp ...
func (m *MatchService) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	for d.Next() {
		*m = append(*m, d.RemainingArgs()...)
		if d.NextBlock(d.Nesting()) {
			return d.Err("tigergraph_service takes no options")
		}
		if err := m.Validate(); err != nil {
			return d.WrapErr(err)
		}
	}
	return nil
}

// Validate refuses services that do not exist.
func (m MatchService) Validate() error {
	if len(m) == 0 {
		return errors.New("tigergraph_service needs a service: 'gui', 'gsql' or 'restpp'")
	}
	for i, name := range m {
		if _, known := service.Parse(name); !known {
			return fmt.Errorf("tigergraph_service: unknown service '%s': expected 'gui', 'gsql' or 'restpp'", name)
		}
		if slices.Contains(m[:i], name) {
			return fmt.Errorf("tigergraph_service: '%s' is already specified", name)
		}
	}
	return nil
}

// MatchWithError reports whether the request is for one of the services. It never
// fails.
func (m MatchService) MatchWithError(r *http.Request) (bool, error) {
	return slices.Contains(m, service.Of(r.URL.Path).String()), nil
}

// Interface guards
var (
	_ caddy.Module                      = MatchRepeatable{}
	_ caddyfile.Unmarshaler             = (*MatchRepeatable)(nil)
	_ caddyhttp.RequestMatcherWithError = MatchRepeatable{}

	_ caddy.Module                      = MatchService{}
	_ caddy.Validator                   = MatchService{}
	_ caddyfile.Unmarshaler             = (*MatchService)(nil)
	_ caddyhttp.RequestMatcherWithError = MatchService{}
)
