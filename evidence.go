package tigergraph

import (
	"errors"
	"net"
	"net/http"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/health"
	"github.com/caddy-tigergraph/caddy-tigergraph/internal/service"
)

// book takes in what an attempt to have the node answer a request came to: the header
// of an answer, or the error of the proxy's transport. Began is when the attempt did.
// Excused is that the node has no part in the error: the client left or its body
// failed, its header could not be sent, or a limit of ours was reached.
func (p *prober) book(s service.Service, r *http.Request, began time.Time, res *http.Response, err error, excused bool) {
	attempt := health.Attempt{Service: s, Path: r.URL.Path, Excused: excused || r.Context().Err() != nil, Err: err}
	switch {
	case err != nil:
		attempt.Dialling = isDialling(err)
	case res != nil:
		attempt.Status, attempt.Header = res.StatusCode, res.Header
	default:
		return
	}
	p.Witness(s, attempt.Outcome(), began)
}

// isDialling reports whether a transport failed before it had a connection.
func isDialling(err error) bool {
	var dial reverseproxy.DialError
	var operation *net.OpError
	return errors.As(err, &dial) || errors.As(err, &operation) && operation.Op == "dial"
}
