package tigergraph

import (
	"errors"
	"net/http"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/service"
)

var errEarly = errors.New("the request came in TLS early data, which anybody on the way can send again, and must not be carried out twice")

// refuseEarly returns the answer to a request in early data that must not be
// carried out twice, nil for any other request.
func refuseEarly(r *http.Request) error {
	if !service.IsEarly(r) || service.Repeatable(r) {
		return nil
	}
	return caddyhttp.Error(http.StatusTooEarly, errEarly)
}

// noteSent remembers the request as it is sent. It is not ok if that came in early data,
// and must not be carried out twice.
func (c *call) noteSent() (ok bool) {
	note(c.request, sentKey, c.request)
	note(c.request, graphPlaceholder, (*service.GraphOf)(c.request))
	note(c.request, queryPlaceholder, (*service.QueryOf)(c.request))
	return c.writer == nil || !isWithinAnother(c.writer) || refuseEarly(c.request) == nil
}
