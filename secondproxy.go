package tigergraph

import (
	"errors"
	"net/http"
	"slices"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/response"
	"github.com/caddy-tigergraph/caddy-tigergraph/internal/service"
)

// A site may have a second proxy behind the first: in an error route, or in a route
// for some of the first one's answers (`handle_response`, that of `intercept` too). It
// gets the same request once more.

const (
	// withinKey is the placeholder that keeps the routes within which a handler of ours has
	// begun, after a server that checks who may come in.
	withinKey = "tigergraph.within"
	// responseRoutesKey is the key under which a proxy tells the routes for its answers
	// what it has got.
	responseRoutesKey caddy.CtxKey = "reverse_proxy_handle_response_context"
)

// mayHaveBeenDone returns the status to answer where a proxy before this one may have had
// a request carried out that must not be carried out twice, or where the client is to
// blame that it had not: 0 if the request may go on. It says whether an error led here.
func mayHaveBeenDone(w http.ResponseWriter, r *http.Request) (status int, failed bool) {
	failure, failed := r.Context().Value(caddyhttp.ErrorCtxKey).(error)
	fault, is := errors.AsType[caddyhttp.HandlerError](failure)
	switch policy, _ := choiceFor(r); {
	case policy == nil && (service.Repeatable(r) || noted(r, leftKey) == nil):
		return 0, failed
	case policy != nil && is && fault.StatusCode/100 == 4 && !service.Repeatable(r):
		return fault.StatusCode, true
	case failed, isWithinAnother(w):
	case r.Context().Value(responseRoutesKey) != noted(r, withinKey) && !isAgain(r): // asked a node who may come in
		return 0, false
	default: // `intercept` leaves the header of the answer that it keeps to itself
		response.Forget(w)
	}
	if noted(r, leftKey) == nil {
		return 0, failed
	}
	return http.StatusBadGateway, failed
}

// isLast reports whether nobody will read the body of a request that was answered with an
// error, because no error route of the server gives it to a proxy.
func isLast(r *http.Request) bool {
	server, _ := r.Context().Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server)
	return server == nil || server.Errors == nil || r.Context().Value(caddyhttp.ErrorCtxKey) != nil || !reachesProxy(server.Errors.Routes)
}

func reachesProxy(routes caddyhttp.RouteList) bool {
	return slices.ContainsFunc(routes, func(route caddyhttp.Route) bool {
		return slices.ContainsFunc(route.Handlers, func(handler caddyhttp.MiddlewareHandler) bool {
			switch handler := handler.(type) {
			case *caddyhttp.Subroute:
				return reachesProxy(handler.Routes)
			case *reverseproxy.Handler, *caddyhttp.Invoke:
				return true
			}
			return false
		})
	})
}

// isWithinAnother reports whether another handler of ours is waiting for this one.
func isWithinAnother(w http.ResponseWriter) bool { return response.Within[*responseWriter](w) }

// forgetLeft has what another proxy sent, as to a server that checks who may come in, not
// be taken for this request.
func forgetLeft(r *http.Request) {
	if routes := r.Context().Value(responseRoutesKey); routes != nil {
		note(r, leftKey, nil)
		note(r, withinKey, routes)
	}
}
