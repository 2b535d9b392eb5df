package tigergraph

import (
	"errors"
	"io"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/affinity"
	"github.com/caddy-tigergraph/caddy-tigergraph/internal/asyncquery"
	"github.com/caddy-tigergraph/caddy-tigergraph/internal/health"
	"github.com/caddy-tigergraph/caddy-tigergraph/internal/once"
	"github.com/caddy-tigergraph/caddy-tigergraph/internal/response"
	"github.com/caddy-tigergraph/caddy-tigergraph/internal/service"
	"github.com/caddy-tigergraph/caddy-tigergraph/internal/upload"
)

func init() {
	caddy.RegisterModule(new(Handler))
}

// Handler is the middleware for the quirks of TigerGraph's HTTP. The `tigergraph`
// directive puts it before `reverse_proxy`; in JSON it goes before the
// `reverse_proxy` handler that has the `tigergraph` policy. It needs no
// configuration.
//
// - `Set-GSQL-Cookie` keeps its exact case on HTTP/1.1. Caddy would send
// `Set-Gsql-Cookie`, and the GSQL client would not find its session.
// - The nodes' cookies get the attribute `Secure` if the client came over TLS, to
// Caddy or to a trusted proxy in front of it that says so. TigerGraph sets it only
// with TLS of its own, and browsers drop `SameSite=None` without it.
// - If no node is left, the answer is 503 with `Retry-After`, provided that nothing
// was done that must not be repeated; else it stays 502 or 504. The policy's
// cookie is kept off error responses.
// - Responses that carry the policy's cookie become `private`, so that no cache
// hands one client's node to others.
// - Which node runs an asynchronous query (`GSQL-ASYNC`) is remembered for 48 hours,
// so that `query_status`, `query_result` and `abortquery` reach it, whoever asks. Up to
// 65536 queries are remembered, over reloads. If that node cannot be used, the
// answer is 503, for the others would say that there is no such query.
// - A second `tigergraph` handler, in `handle_errors`, `handle_response` or `intercept`, answers 502
// if a proxy with our policy or transport may already have had a request carried out that
// must not be carried out twice, and keeps a status of 4xx: that is the client's fault.
// - Informational responses (100, 103) are the node's alone: the site's fields and the
// policy's cookie are those of the final response.
// - The policy's cookie is in no answer of a node whose service is down when it goes out.
// - If the answer to an upload over HTTP/1.1 comes before its end, the rest is read and thrown
// away, up to 1 GiB and for 30 seconds, so that clients which send everything first get it. So
// it is before an error is answered, unless a proxy in an error route may want the body.
// - An answer may pause, and end, as late as the node likes, although Caddy gives up
// writing a minute after the last byte (`write_idle` of the server's time-outs).
// - What must not be carried out twice is answered 425 (Too Early) where it comes in
// TLS early data: Caddy accepts these over HTTP/3, and anybody on the way can send
// them again. So it is where a proxy in front says `Early-Data: 1`.
type Handler struct{}

// retryAfter is how many seconds a client is asked to wait where no node is left:
// as long as a health check does until it looks again.
const retryAfter = "2"

// CaddyModule returns the Caddy module information.
func (*Handler) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.handlers.tigergraph",
		New: func() caddy.Module { return new(Handler) },
	}
}

// ServeHTTP serves the request with what comes next.
func (*Handler) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	ww := &responseWriter{ResponseWriterWrapper: caddyhttp.ResponseWriterWrapper{ResponseWriter: w}, request: r}
	body := upload.Keep(r)
	returned := false
	defer func() {
		_ = ww.Header() // as the final response is to have it, whoever writes that
		if body != nil {
			r.Body = body.ReadCloser
		}
		if !ww.wroteHeader {
			return
		}
		ww.renewWriteDeadline()
		switch {
		case !returned:
			// The answer broke off. A client that had seen no byte of it might
			// send the request once more.
			_ = ww.FlushError()
		case body != nil:
			body.Drain(ww)
		}
	}()
	err := ww.serve(r, next)
	returned = true
	if err != nil && !ww.wroteHeader && body != nil && isLast(r) {
		body.Discard(ww) // for the answer to an error is written after us
	}
	return err
}

// serve has what comes next answer the request, unless that is not to be sent.
func (w *responseWriter) serve(r *http.Request, next caddyhttp.Handler) error {
	if err := refuseEarly(r); err != nil {
		return err
	}
	switch status, failed := mayHaveBeenDone(w.ResponseWriter, r); {
	case status != 0 && failed:
		w.WriteHeader(status) // an error of an error route is answered with the status of the first
		return nil
	case status != 0:
		return caddyhttp.Error(status, once.ErrMayHaveBeenDone)
	case failed:
		response.TakeBackFrom(w, "Retry-After", retryAfter) // which the first has left
	}
	w.before.Note(w.Header())
	mapGraphAndQuery(r)
	forgetLeft(r)
	err := next.ServeHTTP(w, r)
	if err != nil && !w.wroteHeader {
		edge{}.Kept(r).GiveBack(r)
		err = w.answerError(err)
	}
	return err
}

// WriteHeader adjusts the header if it is that of the answer. Others may come
// first, with a status of 1xx; but after 101 there is none.
func (w *responseWriter) WriteHeader(status int) {
	switch {
	case w.wroteHeader:
	case status >= http.StatusOK || status == http.StatusSwitchingProtocols:
		w.wroteHeader = true
		leaveCompany(w.request)
		w.adjust(status)
	default:
		w.writeInformational(status)
		return
	}
	w.ResponseWriter.WriteHeader(status)
}

// knowsRequest implements requestKnower.
func (*responseWriter) knowsRequest() {}

// What makes the server write the header by itself would pass by our WriteHeader.
func (w *responseWriter) writeHeader() {
	if !w.wroteHeader {
		w.WriteHeader(http.StatusOK)
	}
}

// Write writes to the body.
func (w *responseWriter) Write(b []byte) (int, error) {
	w.writeHeader()
	if w.submission != nil {
		w.rememberQuery(b)
	}
	return w.ResponseWriter.Write(b)
}

// rememberQuery looks for the id of an asynchronous query in a part of the answer,
// before the client can ask for it.
func (w *responseWriter) rememberQuery(b []byte) {
	id, done := w.submission.Look(b)
	if done {
		w.submission = nil
	}
	if id == "" {
		return
	}
	policy, _ := choiceFor(w.request)
	if node, chosen := noted(w.request, nodePlaceholder).(string); chosen && policy != nil && policy.app != nil {
		policy.app.fleet.Queries.Remember(id, node)
	}
}

// ReadFrom implements io.ReaderFrom.
func (w *responseWriter) ReadFrom(r io.Reader) (int64, error) {
	w.writeHeader()
	if w.submission != nil {
		return io.Copy(struct{ io.Writer }{w}, r)
	}
	return w.ResponseWriterWrapper.ReadFrom(r)
}

// FlushError is what http.ResponseController looks for.
func (w *responseWriter) FlushError() error {
	w.writeHeader()
	return http.NewResponseController(w.ResponseWriter).Flush()
}

// adjust changes the header of an answer with this status.
func (w *responseWriter) adjust(status int) {
	header := w.Header()
	if status >= http.StatusOK && status < http.StatusMultipleChoices && header["Content-Encoding"] == nil &&
		service.IsAsync(w.request.Header) && asyncquery.IsSubmit(asSent(w.request)) {
		w.submission = new(asyncquery.Response)
	}
	rememberSession(w.request, header)
	if w.request.ProtoMajor == 1 {
		response.Rename(header, "Set-Gsql-Cookie", "Set-GSQL-Cookie")
	}
	if len(header["Set-Cookie"]) == 0 {
		return
	}
	policy, secure := choiceFor(w.request)
	if policy != nil && policy.cookie != nil {
		policy.dropForeignCookies(header, w.request, secure)
	}
	if secure {
		response.Secure(header["Set-Cookie"])
	}
	switch {
	case policy == nil || policy.cookie == nil || !response.Has(header["Set-Cookie"], policy.cookie.Name):
	case status == http.StatusBadGateway || status == http.StatusGatewayTimeout, choseDown(w.request):
		affinity.TakeBack(header, policy.cookie.Name)
	default:
		response.Private(header, w.request.Method)
	}
}

// answerError prepares the answer to a request that no node answered.
func (w *responseWriter) answerError(err error) error {
	if policy, _ := choiceFor(w.request); policy != nil && policy.cookie != nil {
		affinity.TakeBack(w.Header(), policy.cookie.Name)
	}
	sent := asSent(w.request)
	if early := refuseEarly(sent); early != nil {
		return early
	}
	var failure caddyhttp.HandlerError
	if !errors.As(err, &failure) {
		return err
	}
	if noted(w.request, leftKey) != nil {
		return err // asking for another try would be wrong
	}
	switch failure.StatusCode {
	case http.StatusRequestTimeout:
		// Before Go's server answers over HTTP/1.1 it reads the rest of a short body, and
		// would wait for as long as the client sends nothing.
		if w.request.ProtoMajor == 1 {
			_ = http.NewResponseController(w.ResponseWriter).SetReadDeadline(time.Now())
		}
		return err
	case http.StatusServiceUnavailable:
	case http.StatusBadGateway, http.StatusGatewayTimeout:
		// What waits may be done by a proxy in an error route, and the answer is this one still.
		waits := isWaiting(sent) && isLast(w.request)
		if !errors.As(err, new(reverseproxy.DialError)) && !waits && !service.Repeatable(sent) {
			return err
		}
		failure.StatusCode = http.StatusServiceUnavailable
		err = failure
	default:
		return err
	}
	if w.Header().Get("Retry-After") == "" {
		w.Header().Set("Retry-After", retryAfter)
	}
	return err
}

// dropForeignCookies removes cookies of the policy's name that lead to another node
// than the one that was chosen, or to none: a node's own, or those of another edge
// behind this one.
func (p *Policy) dropForeignCookies(header http.Header, r *http.Request, secure bool) {
	if !response.Has(header["Set-Cookie"], p.cookie.Name) {
		return
	}
	chosen, roster := chosenFor(r), p.roster.Load()
	stale := sync.OnceValue(func() []string { return p.staleCookies(r, secure) })
	isStale := func(line string) bool { return slices.Contains(stale(), line) }
	affinity.KeepOne(header, p.cookie.Name, isStale, func(value string) bool {
		if roster.tokens == nil { // no policy could have set one
			return false
		}
		pin, valid := roster.tokens.Lookup(value)
		return valid && slices.Contains(chosen, roster.members[pin.Node])
	})
}

// choseDown reports whether the service that a request was for is down by now on a
// node that was chosen for it. Meanwhile the browser may have been moved, and have
// logged in elsewhere: the cookie of an answer that is late would take it back.
func choseDown(r *http.Request) bool {
	asked := service.Of(asSent(r).URL.Path)
	return slices.ContainsFunc(chosenFor(r), func(m *member) bool {
		return m.prober != nil && m.prober.Verdict(asked) == health.Down
	})
}

// Interface guards
var (
	_ caddy.Module                = (*Handler)(nil)
	_ caddyhttp.MiddlewareHandler = (*Handler)(nil)
	_ http.ResponseWriter         = (*responseWriter)(nil)
	_ io.ReaderFrom               = (*responseWriter)(nil)
)
