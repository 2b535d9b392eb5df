package tigergraph

import (
	"maps"
	"net/http"
	"reflect"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/affinity"
	"github.com/caddy-tigergraph/caddy-tigergraph/internal/response"
)

// Informational responses (100 Continue, 103 Early Hints) share the header with the
// final one: the proxy adds the node's fields to what is there, writes the header, and
// empties it. So the site's fields and our cookie would go out with them, and be
// missing from the final response, or there twice.

// Header returns the header that the next response will have.
func (w *responseWriter) Header() http.Header {
	header := w.ResponseWriter.Header()
	if w.final != nil {
		clear(header)
		maps.Copy(header, w.final)
		w.final = nil
	}
	return header
}

// writeInformational writes an informational response with what the node says in it,
// and puts aside what the final one is to have. The site's other handlers need not
// see it: what they do to the header of a response is meant for the final one.
func (w *responseWriter) writeInformational(status int) {
	header := w.Header()
	policy, secure := choiceFor(w.request)
	final := w.before.Split(header, func(cookie string) bool {
		if policy == nil || policy.cookie == nil {
			return false
		}
		_, named := affinity.SetCookieValue(cookie, policy.cookie.Name)
		return named
	})
	if secure {
		response.Secure(header["Set-Cookie"])
	}
	writer := innermost(w.ResponseWriter)
	if reflect.ValueOf(writer.Header()).Pointer() != reflect.ValueOf(header).Pointer() {
		writer = w.ResponseWriter // somebody in between has a header of their own
	}
	writer.WriteHeader(status)
	w.final = final
}

// innermost returns the server's own writer below those of the site's handlers.
func innermost(w http.ResponseWriter) http.ResponseWriter {
	for {
		outer, wraps := w.(interface{ Unwrap() http.ResponseWriter })
		if !wraps {
			return w
		}
		w = outer.Unwrap()
	}
}
