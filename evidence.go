package tigergraph

import (
	"errors"
	"net"
	"net/http"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/attempt"
	"github.com/caddy-tigergraph/caddy-tigergraph/internal/fleet"
	"github.com/caddy-tigergraph/caddy-tigergraph/internal/health"
	"github.com/caddy-tigergraph/caddy-tigergraph/internal/response"
	"github.com/caddy-tigergraph/caddy-tigergraph/internal/service"
)

// book takes in what an attempt to have the node answer a request came to. The node
// has no part in it if the client left or its body failed, if its header could not be
// sent, or if a limit of ours was reached.
func book(p *fleet.Prober, s service.Service, r *http.Request, a attempt.Attempt) {
	met := health.Attempt{
		Service: s, Path: r.URL.Path, Err: a.Err, Status: a.Status, Header: a.Header,
		Excused: a.Outcome == attempt.ClientFault || a.Outcome == attempt.ClientGone || r.Context().Err() != nil,
	}
	if a.Err != nil {
		met.Dialling = isDialling(a.Err)
	}
	p.Witness(s, met.Outcome(), a.Started)
}

// isDialling reports whether a transport failed before it had a connection.
func isDialling(err error) bool {
	var dial reverseproxy.DialError
	var operation *net.OpError
	return errors.As(err, &dial) || errors.As(err, &operation) && operation.Op == "dial"
}

// observe takes in what became of an attempt to have a node answer a request: for the
// verdicts of its health, and for the metrics. It is called when the header of the
// answer is there, before the client gets it.
func (p *Policy) observe(r *http.Request, a attempt.Attempt) {
	if a.Probe {
		return
	}
	m := p.chosenBy(r)
	if m == nil {
		return
	}
	s := service.Of(r.URL.Path)
	if m.prober != nil {
		book(m.prober, s, r, a)
	}
	switch {
	case a.Err == nil:
		m.requests.countAnswer(s, a.Status, time.Since(a.Started))
	case a.Outcome == attempt.ClientGone || a.Outcome == attempt.ClientFault || r.Context().Err() != nil:
		m.requests.count(s, response.Canceled)
	default:
		m.requests.count(s, response.Failed)
	}
}
