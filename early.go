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
