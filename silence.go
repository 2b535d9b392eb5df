package tigergraph

import (
	"net/http"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
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
	begin, known := caddyhttp.GetVar(w.request.Context(), "start_time").(time.Time)
	idle, now := time.Duration(server.WriteIdleTimeout), time.Now()
	if known && now.Sub(begin) < idle/2 {
		return // as most are, whose deadline is far
	}
	deadline := now.Add(idle)
	if whole := time.Duration(server.WriteTimeout); known && whole > 0 && begin.Add(whole).Before(deadline) {
		deadline = begin.Add(whole)
	}
	_ = http.NewResponseController(w.ResponseWriter).SetWriteDeadline(deadline)
}
