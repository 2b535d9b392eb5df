// Package http1 asks servers by HTTP/1.1 what can be asked in one piece, one request
// after another on connections that it keeps.
//
// Go's own client has two goroutines for each connection, because a body may be on
// its way while the answer is. A request whose body is known before the first byte
// is sent needs neither: it is written at once and its answer read where it was made,
// which spares the hand-overs between three goroutines. What is written and read is
// left to Go, by [http.Request.Write] and [http.ReadResponse].
package http1

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptrace"
	"time"

	"golang.org/x/net/http/httpguts"
)

// Client keeps connections to servers. All fields but Dial may be left out. It
// must not be copied once used.
type Client struct {
	// Dial connects to an address. A dial outlives the request that began it: the
	// connection may serve another.
	Dial func(ctx context.Context, address string) (net.Conn, error)
	// MaxIdle is how many idle connections to an address are kept.
	MaxIdle int
	// MaxConns is how many connections there may be to an address; 0 is any number.
	// Requests beyond wait for one that is given back.
	MaxConns int
	// IdleTimeout is how long an idle connection is kept; 0 keeps it until the server
	// closes it.
	IdleTimeout time.Duration
	// Limits are those of answers whose request sets none.
	Limits Limits
	// ReadBuffer is the size of a connection's buffer: 4 KiB if 0.
	ReadBuffer int
	// Suspects may be shared with others that keep connections to the same servers.
	Suspects *Suspects

	pools [pools]pool
}

// Limits bound what comes before the body of an answer, informational answers
// included. What is 0 is as in [DefaultLimits].
type Limits struct {
	Bytes int64
	Lines int
}

var (
	// DefaultLimits are what no server needs more than.
	DefaultLimits = Limits{Bytes: 256 << 10, Lines: 1000}
	// ProbeLimits are enough for the answer to a probe.
	ProbeLimits = Limits{Bytes: 64 << 10, Lines: 100}
)

func (l Limits) or(other Limits) Limits {
	if l.Bytes <= 0 {
		l.Bytes = other.Bytes
	}
	if l.Lines <= 0 {
		l.Lines = other.Lines
	}
	return l
}

// Terms are how a request is to be treated.
type Terms struct {
	// Body is the whole body of the request, whatever its own Body is.
	Body []byte
	// MayRepeat reports whether it does no harm to carry the request out twice.
	MayRepeat func(*http.Request) bool
	// Limits of the answer; those of the client where they are 0.
	Limits Limits
}

// ErrTooLong is that a request's header is longer than what a server is sure to take
// in before it answers. Nothing was sent of it: it needs a client that reads while it
// writes.
var ErrTooLong = errors.New("the request's header is too long")

// surelyTaken fits into the buffers that every system has for a connection, even if
// the server reads nothing.
const surelyTaken = 16 << 10

// UnansweredError is that the connection broke before the first byte of an answer.
type UnansweredError struct {
	Reason error
	// Sent is whether a byte of the request was. Then the server may have carried it
	// out nevertheless.
	Sent bool
}

func (e *UnansweredError) Error() string {
	return "the connection broke before there was an answer: " + e.Reason.Error()
}

// Unwrap returns the reason.
func (e *UnansweredError) Unwrap() error { return e.Reason }

// Timeout implements net.Error, for those who ask no more than the outermost error.
func (e *UnansweredError) Timeout() bool {
	var reason net.Error
	return errors.As(e.Reason, &reason) && reason.Timeout()
}

// Temporary implements net.Error.
func (*UnansweredError) Temporary() bool { return false }

// RequestError is that a request cannot be sent to anybody. Nothing was.
type RequestError struct{ Reason error }

func (e *RequestError) Error() string { return e.Reason.Error() }

// Unwrap returns the reason.
func (e *RequestError) Unwrap() error { return e.Reason }

const defaultBuffer = 4 << 10

// mostUnsent is how many connections are tried that take no byte of a request.
const mostUnsent = 8

// RoundTrip sends a request to the address in its URL and returns the answer. The
// request does not ask to change protocols, nor whether to continue.
//
// A server may close an idle connection just as the request goes out. Then it is
// sent on another one if no byte of it was sent; and otherwise once more, on one that
// is not idle, if it may be repeated.
func (c *Client) RoundTrip(req *http.Request, terms Terms) (*http.Response, error) {
	ctx := req.Context()
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	terms.Limits = terms.Limits.or(c.Limits).or(DefaultLimits)
	trace := httptrace.ContextClientTrace(ctx)
	written := req
	if trace != nil && (trace.WroteRequest != nil || trace.WroteHeaders != nil) {
		// They are told when the request was sent, not when it is in memory.
		written = req.WithContext(context.Background())
	}
	out, err := prepare(written, terms.Body)
	if err != nil {
		return nil, err
	}
	address := req.URL.Host
	if req.URL.Port() == "" {
		address += ":80"
	}
	for unsent, useIdle := 0, true; ; {
		conn, err := c.acquire(ctx, trace, address, useIdle)
		if err != nil {
			out.release()
			return nil, err
		}
		reused := conn.reused
		res, err := conn.exchange(req, trace, out, terms.Limits)
		if err == nil {
			return res, nil
		}
		var unanswered *UnansweredError
		switch {
		case !errors.As(err, &unanswered) || !reused || !useIdle:
			return nil, err
		case !unanswered.Sent && unsent < mostUnsent:
			unsent++
		case !unanswered.Sent, terms.MayRepeat(req):
			useIdle = false
		default:
			return nil, err
		}
		if out, err = prepare(written, terms.Body); err != nil {
			return nil, err
		}
	}
}

// Close closes the connections that are idle, and the others when they become so.
func (c *Client) Close() {
	for i := range c.pools {
		c.pools[i].close()
	}
}

// CloseIdle closes the idle connections to an address.
func (c *Client) CloseIdle(address string) {
	p := c.poolOf(address)
	p.mu.Lock()
	var idle []*connection
	if o := p.of[address]; o != nil {
		idle, o.idle = o.idle, nil
	}
	p.mu.Unlock()
	closeAll(idle)
}

// validate refuses what would make two requests of one, as Go's client does.
func validate(req *http.Request) error {
	if req.Method != "" && !httpguts.ValidHeaderFieldName(req.Method) {
		return fmt.Errorf("net/http: invalid method %q", req.Method)
	}
	for name, values := range req.Header {
		if !httpguts.ValidHeaderFieldName(name) {
			return fmt.Errorf("net/http: invalid header field name %q", name)
		}
		for _, value := range values {
			if !httpguts.ValidHeaderFieldValue(value) {
				return fmt.Errorf("net/http: invalid header field value for %q", name)
			}
		}
	}
	return nil
}
