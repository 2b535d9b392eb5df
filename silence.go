package tigergraph

import (
	"net/http"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/response"
)

// renewWriteDeadline gives what is still to be written of an answer, its end and its
// trailers, as much time as Caddy gives each of its pieces. Caddy sets the deadline
// for writing when it writes, so after a silence it may have passed, and the end
// would be lost: over HTTP/1.1 the last chunk, over HTTP/3 the trailers. The
// operator's time-out for the whole answer (`write`) stands.
func (w *responseWriter) renewWriteDeadline() {
	server, _ := w.request.Context().Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server)
	if server == nil || server.WriteIdleTimeout <= 0 {
		return
	}
	begin, _ := caddyhttp.GetVar(w.request.Context(), "start_time").(time.Time)
	deadline, due := response.WriteDeadline(time.Now(), begin, time.Duration(server.WriteIdleTimeout), time.Duration(server.WriteTimeout))
	if due {
		_ = http.NewResponseController(w.ResponseWriter).SetWriteDeadline(deadline)
	}
}
