package tigergraph

import (
	"context"
	"errors"
	"maps"
	"net/http"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/attempt"
	"github.com/caddy-tigergraph/caddy-tigergraph/internal/once"
	"github.com/caddy-tigergraph/caddy-tigergraph/internal/service"
)

// RoundTrip sends a request to a node.
func (t *Transport) RoundTrip(r *http.Request) (*http.Response, error) {
	vars, _ := r.Context().Value(caddyhttp.VarsCtxKey).(map[string]any)
	address, known := vars[caddyhttp.ClientIPVarKey].(string)
	t.adjust(r, address, known)
	t.SetScheme(r)
	repeatable := service.Repeatable(r)
	if !repeatable && isAgain(r) {
		return once.Refusal(r), nil // an error would be held against the node
	}
	a := attempt.Attempt{Probe: !known}
	if t.observe != nil {
		a.Started = time.Now()
	}
	res, err := t.sender.Send(r, &a)
	if !repeatable && a.Outcome.HasLeft() {
		note(r, leftKey, r)
	}
	if err != nil && !repeatable {
		note(r, waitKey, a.Waits)
		if a.Waits != nil {
			note(r, sentKey, r) // which there may be no second choice to do
		}
	}
	if t.observe == nil {
		return res, err
	}
	if node, known := reverseproxy.GetDialInfo(r.Context()); known {
		a.Node = node.Address
	} else {
		a.Node = r.URL.Host
	}
	if err == nil {
		a.Status, a.Header = res.StatusCode, res.Header
	}
	a.Err = err
	t.observe(r, a)
	return res, err
}

// isAgain reports whether a request that must not be carried out twice may have been
// carried out by the doing of another proxy than the one that is about to send it.
func isAgain(r *http.Request) bool {
	left, _ := noted(r, leftKey).(*http.Request)
	return left != nil && once.IsAgain(r, left, r.Context().Value(caddyhttp.ErrorCtxKey) != nil)
}

// edge is Caddy's server, as far as attempts depend on it.
type edge struct{}

// bodyKey is the placeholder that keeps a body for another attempt. It is none of the
// request's variables: another proxy's transport may still be dialling, and reads them
// meanwhile, while placeholders have a lock.
const bodyKey = "tigergraph.body"

// Keep implements attempt.Edge.
func (edge) Keep(r *http.Request, body *attempt.Kept) { note(r, bodyKey, body) }

// Kept implements attempt.Edge.
func (edge) Kept(r *http.Request) *attempt.Kept {
	kept, _ := noted(r, bodyKey).(*attempt.Kept)
	return kept
}

// Detached implements attempt.Edge. Go's client may go on dialling when it has found
// another connection, and reads the request's variables for that, while whoever serves the
// request goes on to write them: it gets a copy.
func (edge) Detached(ctx context.Context) context.Context {
	vars, _ := ctx.Value(caddyhttp.VarsCtxKey).(map[string]any)
	if vars == nil {
		return ctx
	}
	return context.WithValue(ctx, caddyhttp.VarsCtxKey, maps.Clone(vars))
}

// Refusal implements attempt.Edge.
func (edge) Refusal(status int, err error) error { return caddyhttp.Error(status, err) }

// IsRefusal implements attempt.Edge.
func (edge) IsRefusal(err error) bool { return errors.As(err, new(caddyhttp.HandlerError)) }

// IsDialling implements attempt.Edge.
func (edge) IsDialling(err error) bool { return errors.As(err, new(reverseproxy.DialError)) }
