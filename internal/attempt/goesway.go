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
	asked, wrote, heard atomic.Bool
	informational       atomic.Int32
	connection          atomic.Pointer[httptrace.GotConnInfo]
}

// sendGoesWay sends a request by Go's client.
func (s *Sender) sendGoesWay(r *http.Request, a *Attempt) (*http.Response, error) {
	way := &goesWay{suspects: &s.Suspects, address: hostPort(r.URL)}
	s.restoreBody(r)
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
		limit := http1.DefaultLimits.Lines
		if a.Probe {
			limit = http1.ProbeLimits.Lines
		}
		if lines := linesOf(res.Header); lines > limit {
			_ = res.Body.Close()
			a.Outcome = Garbled
			return nil, fmt.Errorf("net/http: server response headers exceeded %d lines; aborted", limit)
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
