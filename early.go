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
	if !isEarly(r) || service.Repeatable(r) {
		return nil
	}
	return caddyhttp.Error(http.StatusTooEarly, errEarly)
}

// isEarly reports whether a request came in TLS early data: to us, or to a proxy in
// front of us that says so, as RFC 8470 has it. Such data are the client's for sure
// only once the handshake is complete, for those who replay them cannot complete it.
// Who claims to have sent a request early hurts nobody else, so this is believed of
// anybody; in whatever form, as the RFC wants it.
func isEarly(r *http.Request) bool {
	if r.TLS != nil && !r.TLS.HandshakeComplete {
		return true
	}
	_, said := r.Header["Early-Data"]
	return said
}
