package attempt

import (
	"fmt"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"net/url"
	"sync/atomic"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/http1"
	"github.com/caddy-tigergraph/caddy-tigergraph/internal/once"
)

// mostInformational is how many informational answers may come before the answer.
const mostInformational = 500

// goesWay watches a request on the way of Go's client.
type goesWay struct {
	suspects            *http1.Suspects
	address             string
	short               bool // all that is sent has room at the node
	asked, wrote, heard atomic.Bool
	most                http1.Limits // of the header of an answer, an informational one too
	informational       atomic.Int32
	connection          atomic.Pointer[httptrace.GotConnInfo]
}

// sendGoesWay sends a request by Go's client.
func (s *Sender) sendGoesWay(r *http.Request, a *Attempt) (*http.Response, error) {
	way := &goesWay{suspects: &s.Suspects, address: hostPort(r.URL), short: isShort(r), most: http1.DefaultLimits}
	if a.Probe {
		way.most = http1.ProbeLimits
	}
	s.restoreBody(r)
	if _, is := r.Context().Value(forwardProxyKey{}).(*forwardProxy); !is {
		r = withForwardProxy(r, new(forwardProxy))
	}
	ctx := r.Context()
	r = r.WithContext(httptrace.WithClientTrace(s.Edge.Detached(ctx), &httptrace.ClientTrace{
		GetConn:              way.getConn,
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
	r.Close = r.Close || s.Suspects.Has(way.address)
	res, err := s.Goes.RoundTrip(r)
	if err == nil {
		if err := way.exceeds(res.Header); err != nil {
			_ = res.Body.Close()
			a.Outcome = Garbled
			return nil, err
		}
		if res.StatusCode < http.StatusContinue { // which no server can send on
			_ = res.Body.Close()
			a.Outcome = Garbled
			return nil, fmt.Errorf("net/http: the status %03d is none", res.StatusCode)
		}
		return res, nil
	}
	switch {
	case body.failure() != nil:
		return nil, s.clientError(ctx, body.failure(), a)
	case ctx.Err() != nil:
		a.Outcome = ClientGone
	case way.heard.Load():
		a.Outcome = Garbled
	case way.wrote.Load():
		a.Outcome = Broke
	case way.asked.Load():
		a.Outcome = NeverLeft
		if body.isWhole() {
			a.Waits = r.URL
		}
	default:
		a.Outcome = ClientFault
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

// getConn is called once more where a connection took nothing of a request that must not
// be repeated: Go's client repeats no other.
func (w *goesWay) getConn(string) {
	w.asked.Store(true)
	w.wrote.Store(false)
}

func (w *goesWay) gotConn(info httptrace.GotConnInfo) {
	w.connection.Store(&info)
	if http1.BeginRequest(info.Conn, info.Reused, w.short) {
		w.suspects.Add(w.address)
	}
}

// got1xx cuts off a node that sends nothing else.
func (w *goesWay) got1xx(_ int, header textproto.MIMEHeader) error {
	if w.informational.Add(1) > mostInformational || linesOf(http.Header(header)) > w.most.Lines {
		if info := w.connection.Load(); info != nil {
			_ = info.Conn.Close()
		}
	}
	return nil
}

// exceeds returns an error if the header of an answer is larger than it may be. That of a
// client's answer Go's client bounds by its bytes.
func (w *goesWay) exceeds(header http.Header) error {
	if linesOf(header) > w.most.Lines {
		return fmt.Errorf("net/http: server response headers exceeded %d lines; aborted", w.most.Lines)
	}
	if w.most.Bytes < http1.DefaultLimits.Bytes && bytesOf(header) > w.most.Bytes {
		return fmt.Errorf("net/http: server response headers exceeded %d bytes; aborted", w.most.Bytes)
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

// bytesOf returns how many bytes they have, at least.
func bytesOf(header http.Header) (size int64) {
	for name, values := range header {
		for _, value := range values {
			size += int64(len(name) + len(": ") + len(value) + len("\r\n"))
		}
	}
	return size
}
