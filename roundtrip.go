package tigergraph

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"net/url"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/http1"
	"github.com/caddy-tigergraph/caddy-tigergraph/internal/once"
	"github.com/caddy-tigergraph/caddy-tigergraph/internal/service"
)

// attempt is what became of a request that was to be sent to a node.
type attempt struct {
	node    string // what was or would have been dialled
	started time.Time
	outcome outcome
	status  int         // of the answer
	header  http.Header // of the answer, which must not be changed
	err     error       // if there was no answer
	probe   bool        // nobody's request, but a health check's
}

// outcome says whose doing the end of an attempt is.
type outcome uint8

const (
	answered    outcome = iota
	neverLeft           // there was no connection, or none that took a byte
	broke               // the connection broke before the first byte of an answer
	garbled             // what the node sent is no answer, or more than its limits allow
	clientFault         // the client's body could not be read, or its request not be sent
	clientGone          // the request was given up
)

// RoundTrip sends a request to a node.
func (t *Transport) RoundTrip(r *http.Request) (*http.Response, error) {
	vars, _ := r.Context().Value(caddyhttp.VarsCtxKey).(map[string]any)
	address, known := vars[caddyhttp.ClientIPVarKey].(string)
	t.adjust(r, address, known)
	t.SetScheme(r)
	a := attempt{probe: !known}
	if t.observe != nil {
		a.started = time.Now()
	}
	res, err := t.send(r, &a)
	if t.observe == nil {
		return res, err
	}
	if node, known := reverseproxy.GetDialInfo(r.Context()); known {
		a.node = node.Address
	} else {
		a.node = r.URL.Host
	}
	if err == nil {
		a.status, a.header = res.StatusCode, res.Header
	}
	a.err = err
	t.observe(r, a)
	return res, err
}

// send sends a request in the way that is made for it.
func (t *Transport) send(r *http.Request, a *attempt) (*http.Response, error) {
	once.Settle(r)
	if t.own == nil || r.URL.Scheme != "http" || !isShort(r) {
		return t.sendGoesWay(r, a)
	}
	if proxy, err := t.Transport.Proxy(r); proxy != nil || err != nil {
		return t.sendGoesWay(r.WithContext(context.WithValue(r.Context(), forwardProxyKey{}, forwardProxy{proxy, err})), a)
	}
	body, err := readBody(r)
	if err != nil {
		return nil, clientError(r.Context(), err, a)
	}
	terms := http1.Terms{Body: body, MayRepeat: service.Repeatable}
	if a.probe {
		terms.Limits = http1.ProbeLimits
	}
	res, err := t.own.RoundTrip(r, terms)
	if err == nil {
		return res, nil
	}
	if errors.Is(err, http1.ErrTooLong) {
		if body != nil {
			r.Body = &wholeBody{body: body}
		}
		return t.sendGoesWay(r, a)
	}
	var unanswered *http1.UnansweredError
	var unsendable *http1.RequestError
	var dial reverseproxy.DialError
	switch {
	case r.Context().Err() != nil:
		a.outcome = clientGone
	case errors.As(err, &unanswered) && unanswered.Sent:
		a.outcome = broke
		if !service.Repeatable(r) {
			err = unrepeatedError{unanswered}
		}
	case unanswered != nil, errors.As(err, &dial):
		a.outcome = neverLeft
	case errors.As(err, &unsendable):
		a.outcome = clientFault
	default:
		a.outcome = garbled
	}
	return nil, err
}

// isShort reports whether a request has no body, or one that is short enough to be
// read before it is sent, and asks for nothing that takes over its connection.
func isShort(r *http.Request) bool {
	if !once.IsEmpty(r) && (r.ContentLength <= 0 || r.ContentLength > http1.MostBody || len(r.TransferEncoding) > 0) {
		return false
	}
	return r.Header["Upgrade"] == nil && r.Header["Expect"] == nil && r.Method != http.MethodConnect && len(r.Trailer) == 0
}

// bodyKey is the placeholder that keeps a body for another attempt. It is none of the
// request's variables: another proxy's transport may still be dialling, and reads them
// meanwhile, while placeholders have a lock.
const bodyKey = "tigergraph.body"

// keptBody is a body that was read.
type keptBody struct{ content []byte }

// String is what a log or an answer has where somebody writes the placeholder.
func (*keptBody) String() string { return "" }

// readBody reads the body of a request to its end. It does so once: a proxy that tries
// again, or a second one behind the first, finds nothing left to read, and has what was.
func readBody(r *http.Request) ([]byte, error) {
	if once.IsEmpty(r) {
		return nil, nil
	}
	content, err := http1.ReadBody(r.Body, r.ContentLength)
	if err != nil {
		if kept := keptBodyOf(r); kept != nil {
			return kept.content, nil
		}
		return nil, err
	}
	if replacer, is := r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer); is {
		replacer.Set(bodyKey, &keptBody{content})
	}
	return content, nil
}

// keptBodyOf returns what was read of the body of a request, nil if nothing was.
func keptBodyOf(r *http.Request) *keptBody {
	replacer, is := r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
	if !is {
		return nil
	}
	value, _ := replacer.Get(bodyKey)
	if kept, is := value.(*keptBody); is && int64(len(kept.content)) == r.ContentLength {
		return kept
	}
	return nil
}

// giveBackBody lets another proxy read the body of a request again, where one has read
// it and sent it to nobody.
func giveBackBody(r *http.Request) {
	if kept := keptBodyOf(r); kept != nil {
		r.Body = &wholeBody{kept.content}
	}
}

// restoreBody does so for a request of which nothing is left to read.
func restoreBody(r *http.Request) {
	if r.ContentLength <= 0 || r.ContentLength > http1.MostBody || once.IsEmpty(r) {
		return
	}
	kept := keptBodyOf(r)
	if kept == nil {
		return
	}
	first := make([]byte, 1)
	if n, _ := r.Body.Read(first); n == 0 {
		r.Body = &wholeBody{kept.content}
		return
	}
	r.Body = struct {
		io.Reader
		io.Closer
	}{io.MultiReader(bytes.NewReader(first), r.Body), r.Body}
}

// clientError returns the error for a client whose body could not be read, or who is
// gone, and notes which of the two it is.
func clientError(ctx context.Context, err error, a *attempt) error {
	a.outcome = clientFault
	var body *http1.ClientBodyError
	if errors.As(err, &body) && body.Timeout() { // which over HTTP/1.1 ends the request as well
		return caddyhttp.Error(http.StatusRequestTimeout, err)
	}
	if ctx.Err() != nil {
		a.outcome = clientGone
		return context.Cause(ctx)
	}
	if _, known := errors.AsType[caddyhttp.HandlerError](err); known { // whoever limits bodies says so
		return err
	}
	return caddyhttp.Error(http.StatusBadRequest, err)
}

// wholeBody is a body that is in memory, and that may be sent once. It is not one of
// those that Go's client knows and would send again.
type wholeBody struct{ body []byte }

func (b *wholeBody) Read(p []byte) (int, error) {
	if len(b.body) == 0 {
		return 0, io.EOF
	}
	n := copy(p, b.body)
	b.body = b.body[n:]
	return n, nil
}

func (*wholeBody) Close() error { return nil }

// unrepeatedError is an UnansweredError of a request that must not be repeated.
type unrepeatedError struct{ *http1.UnansweredError }

func (e unrepeatedError) Error() string {
	return once.ErrMayHaveBeenDone.Error() + ": " + e.UnansweredError.Error()
}

func (e unrepeatedError) Unwrap() []error {
	return []error{once.ErrMayHaveBeenDone, e.UnansweredError}
}

// forwardProxy is what the network proxy said to a request.
type forwardProxy struct {
	url *url.URL
	err error
}

type forwardProxyKey struct{}

// askOnce returns a function that asks which network proxy a request goes through,
// unless that was asked for the request before.
func askOnce(ask func(*http.Request) (*url.URL, error)) func(*http.Request) (*url.URL, error) {
	return func(r *http.Request) (*url.URL, error) {
		if said, is := r.Context().Value(forwardProxyKey{}).(forwardProxy); is {
			return said.url, said.err
		}
		return ask(r)
	}
}

// withOwnVariables returns a context with a copy of the request's variables. Go's client
// may go on dialling when it has found another connection, and reads them for that,
// while whoever serves the request goes on to write them.
func withOwnVariables(ctx context.Context) context.Context {
	vars, _ := ctx.Value(caddyhttp.VarsCtxKey).(map[string]any)
	if vars == nil {
		return ctx
	}
	return context.WithValue(ctx, caddyhttp.VarsCtxKey, maps.Clone(vars))
}

// mostInformational is how many informational answers may come before the answer.
const mostInformational = 500

// goesWay watches a request on the way of Go's client.
type goesWay struct {
	suspects            *http1.Suspects
	address             string
	asked, wrote, heard atomic.Bool
	informational       atomic.Int32
	connection          atomic.Pointer[httptrace.GotConnInfo]
}

// sendGoesWay sends a request by Go's client.
func (t *Transport) sendGoesWay(r *http.Request, a *attempt) (*http.Response, error) {
	way := &goesWay{suspects: &t.suspects, address: hostPort(r.URL)}
	restoreBody(r)
	ctx := r.Context()
	r = r.WithContext(httptrace.WithClientTrace(withOwnVariables(ctx), &httptrace.ClientTrace{
		GetConn:              func(string) { way.asked.Store(true) },
		GotConn:              way.gotConn,
		WroteHeaders:         func() { way.wrote.Store(true) },
		GotFirstResponseByte: func() { way.heard.Store(true) },
		Got1xxResponse:       way.got1xx,
	}))
	var body *watchedBody
	if !once.IsEmpty(r) {
		body = &watchedBody{ReadCloser: r.Body}
		r.Body = body
	}
	once.Ready(r, false)
	r.Close = r.Close || t.suspects.Has(way.address)
	res, err := t.HTTPTransport.RoundTrip(r)
	if err == nil {
		limit := http1.DefaultLimits.Lines
		if a.probe {
			limit = http1.ProbeLimits.Lines
		}
		if lines := linesOf(res.Header); lines > limit {
			_ = res.Body.Close()
			a.outcome = garbled
			return nil, fmt.Errorf("net/http: server response headers exceeded %d lines; aborted", limit)
		}
		if res.StatusCode < http.StatusContinue { // which no server can send on
			_ = res.Body.Close()
			a.outcome = garbled
			return nil, fmt.Errorf("net/http: the status %03d is none", res.StatusCode)
		}
		return res, nil
	}
	switch {
	case body.failure() != nil:
		return nil, clientError(ctx, body.failure(), a)
	case ctx.Err() != nil:
		a.outcome = clientGone
	case way.heard.Load():
		a.outcome = garbled
	case way.wrote.Load():
		a.outcome = broke
	case way.asked.Load():
		a.outcome = neverLeft
	default:
		a.outcome = clientFault
	}
	return nil, err
}

// hostPort is what our own client calls the address of a node.
func hostPort(u *url.URL) string {
	if u.Port() == "" {
		return u.Host + ":80"
	}
	return u.Host
}

func (w *goesWay) gotConn(info httptrace.GotConnInfo) {
	w.connection.Store(&info)
	if info.Reused && http1.BeginRequest(info.Conn) {
		w.suspects.Add(w.address)
	}
}

// got1xx cuts off a node that sends nothing else.
func (w *goesWay) got1xx(int, textproto.MIMEHeader) error {
	if w.informational.Add(1) > mostInformational {
		if info := w.connection.Load(); info != nil {
			_ = info.Conn.Close()
		}
	}
	return nil
}

// linesOf returns how many lines an answer has before its body, at least.
func linesOf(header http.Header) int {
	lines := 2 // the first and the empty one
	for _, values := range header {
		lines += len(values)
	}
	return lines
}

// watchedBody is a client's body, and knows whether reading it failed.
type watchedBody struct {
	io.ReadCloser
	closed atomic.Bool
	failed atomic.Pointer[http1.ClientBodyError]
}

func (b *watchedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if err != nil && !errors.Is(err, io.EOF) && !b.closed.Load() {
		b.failed.CompareAndSwap(nil, &http1.ClientBodyError{Reason: err})
	}
	return n, err
}

// Close may be called while another goroutine reads, which has that fail.
func (b *watchedBody) Close() error {
	b.closed.Store(true)
	return b.ReadCloser.Close()
}

// failure returns why the body could not be read, nil if it could.
func (b *watchedBody) failure() error {
	if b == nil {
		return nil
	}
	if failed := b.failed.Load(); failed != nil {
		return failed
	}
	return nil
}
