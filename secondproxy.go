package tigergraph

import (
	"errors"
	"net/http"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/http1"
	"github.com/caddy-tigergraph/caddy-tigergraph/internal/response"
	"github.com/caddy-tigergraph/caddy-tigergraph/internal/service"
)

// A site may have a second proxy behind the first: in an error route, or in a route
// for some of the first one's answers (`handle_response`, that of `intercept` too). It
// gets the same request once more.

// mayHaveBeenDone reports whether a proxy before this one may have had a request
// carried out that must not be carried out twice. It is told from the error that led
// here; where none did, the first one's answer has.
func mayHaveBeenDone(w http.ResponseWriter, r *http.Request) (mayBe, failed bool) {
	failure, failed := r.Context().Value(caddyhttp.ErrorCtxKey).(error)
	switch policy, _ := choiceFor(r); {
	case policy == nil:
		return false, failed
	case failed, isWithinAnother(w):
	case r.Context().Value(responseRoutesKey) != noted(r, withinKey): // asked a node who may come in
		return false, false
	default: // `intercept` leaves the header of the answer that it keeps to itself
		response.Forget(w.Header())
	}
	return (!service.Repeatable(r) || !service.Repeatable(asSent(r))) && (!failed || !isUnsent(r, failure)), failed
}

// isWithinAnother reports whether another handler of ours is waiting for this one.
func isWithinAnother(w http.ResponseWriter) bool { return response.Within[*responseWriter](w) }

// responseRoutesKey is the key under which a proxy tells the routes for its answers
// what it has got.
const responseRoutesKey caddy.CtxKey = "reverse_proxy_handle_response_context"

// statusPlaceholder is set by a proxy when it has got an answer.
const statusPlaceholder = "http.reverse_proxy.status_code"

// forgetAnswers has what another proxy was answered, as by a server that checks who may
// come in, not be taken for an answer to this one.
func forgetAnswers(r *http.Request) {
	if r.Context().Value(responseRoutesKey) == nil {
		return
	}
	if replacer, ok := r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer); ok {
		replacer.Delete(statusPlaceholder)
		replacer.Set(withinKey, r.Context().Value(responseRoutesKey))
	}
}

// withinKey is the placeholder that keeps the routes within which a handler of ours has
// begun, after a server that checks who may come in.
const withinKey = "tigergraph.within"

// wasAnswered reports whether a proxy behind this handler has got an answer.
func wasAnswered(r *http.Request) bool { return noted(r, statusPlaceholder) != nil }

// answeredError is what a route for a node's answers has made of one.
type answeredError struct{ error }

func (e answeredError) Unwrap() error { return e.error }

// isUnsent reports whether an error of the proxy says that no byte of the request
// reached any node. It is the error of the last attempt, but a request that must not
// be carried out twice has no attempt after one that might have been.
func isUnsent(r *http.Request, err error) bool {
	var dial reverseproxy.DialError
	var unanswered *http1.UnansweredError
	var unsendable *http1.RequestError
	var answered answeredError
	switch {
	case errors.As(err, &answered):
		return false
	case errors.As(err, &dial), errors.As(err, &unsendable):
		return true
	case errors.As(err, &unanswered):
		return !unanswered.Sent
	}
	// Without an attempt there is no node to ask; after one the proxy says 502, but a
	// route for the node's answers may say 503 as well.
	var failure caddyhttp.HandlerError
	return errors.As(err, &failure) && failure.StatusCode == http.StatusServiceUnavailable && len(chosenFor(r)) == 0
}
