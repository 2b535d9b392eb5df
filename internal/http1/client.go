// Package http1 asks servers by HTTP/1.1 what can be asked without a body, one
// request after another on connections that it keeps.
//
// Go's own client has two goroutines for each connection, because a body may be on
// its way while the answer is. A request without one needs neither: it is written
// and its answer read where it was made, which spares the hand-overs between three
// goroutines. What is written and read is left to Go, by [http.Request.Write] and
// [http.ReadResponse].
package http1

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"time"

	"golang.org/x/net/http/httpguts"
)

// Client keeps connections to servers. All fields but Dial may be left out. It
// must not be copied once used.
type Client struct {
	Dial func(ctx context.Context, address string) (net.Conn, error)
	// MaxIdle is how many idle connections to an address are kept.
	MaxIdle int
	// IdleTimeout is how long, for ever if 0.
	IdleTimeout time.Duration
	// MaxHeader is how many bytes there may be before the body of an answer: 10 MiB
	// if 0, as in Go's client.
	MaxHeader int64
	// ReadBuffer and WriteBuffer are the sizes of a connection's buffers: 4 KiB if 0.
	ReadBuffer, WriteBuffer int

	idle idle
}

// ErrTooLong is that a request's header is longer than what a server is sure to take
// in before it answers. Nothing was sent of it: it needs a client that reads while it
// writes.
var ErrTooLong = errors.New("the request's header is too long")

// longestHeader fits into the buffers that every system has for a connection, even
// if the server reads nothing.
const longestHeader = 16 << 10

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

const (
	defaultMaxHeader = 10 << 20
	defaultBuffer    = 4 << 10
)

// RoundTrip sends a request to the address in its URL and returns the answer. The
// request has no body, or one that is empty; it does not ask to change protocols,
// nor whether to continue.
//
// A server may close an idle connection just as the request goes out. Then it is
// sent once more, on a new connection: always if none of it was sent, and otherwise
// if mayRepeat says that it does no harm.
func (c *Client) RoundTrip(req *http.Request, mayRepeat func(*http.Request) bool) (*http.Response, error) {
	ctx := req.Context()
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	if err := validate(req); err != nil {
		return nil, err
	}
	address := req.URL.Host
	if req.URL.Port() == "" {
		address += ":80"
	}
	if conn := c.idle.take(address); conn != nil {
		res, err := conn.exchange(req)
		if err == nil {
			return res, nil
		}
		var unanswered *UnansweredError
		if !errors.As(err, &unanswered) || unanswered.Sent && !mayRepeat(req) {
			return nil, err
		}
	}
	dialled, err := c.Dial(ctx, address)
	if err != nil {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return nil, err
	}
	return c.newConnection(dialled, address).exchange(req)
}

// Close closes the connections that are idle, and the others when they become so.
func (c *Client) Close() { c.idle.close() }

// exchange sends a request and reads the answer, up to its body. It leaves the
// connection to the body, or closes it.
func (c *connection) exchange(req *http.Request) (*http.Response, error) {
	ctx := req.Context()
	stop := context.AfterFunc(ctx, c.abort)
	res, err := c.ask(req)
	if err != nil {
		stop()
		c.abort()
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return nil, err
	}
	answer := &body{ReadCloser: res.Body, ctx: ctx, conn: c, stop: stop, last: res.Close || req.Close}
	if res.Body == http.NoBody {
		answer.end(atEnd)
	} else {
		res.Body = answer
	}
	return res, nil
}

// ask writes a request and reads the header of the answer.
func (c *connection) ask(req *http.Request) (*http.Response, error) {
	c.sent, c.heard, c.broken, c.headerLeft = false, false, false, c.client.maxHeader()
	if err := req.Write(c.writer); err != nil {
		return nil, c.failure(err)
	}
	if err := c.writer.Flush(); err != nil {
		return nil, c.failure(err)
	}
	for {
		res, err := http.ReadResponse(c.reader, req)
		if err != nil {
			return nil, c.failure(err)
		}
		switch {
		case res.StatusCode == http.StatusSwitchingProtocols:
			return nil, errors.New("the server changes protocols, which it was not asked to")
		case res.StatusCode < http.StatusContinue:
			return nil, fmt.Errorf("status %d of the answer: expected three digits from 100 on", res.StatusCode)
		case res.StatusCode >= http.StatusOK:
			c.headerLeft = math.MaxInt64
			return res, nil
		}
		trace := httptrace.ContextClientTrace(req.Context())
		if trace == nil || trace.Got1xxResponse == nil {
			continue
		}
		if err := trace.Got1xxResponse(res.StatusCode, textproto.MIMEHeader(res.Header)); err != nil {
			return nil, err
		}
	}
}

// failure is what became of a request, in words.
func (c *connection) failure(err error) error {
	switch {
	case errors.Is(err, errHeaderTooLong):
		return fmt.Errorf("the answer's header has more than %d bytes", c.client.maxHeader())
	case !c.heard && c.broken:
		return &UnansweredError{Reason: err, Sent: c.sent}
	}
	return err
}

func (c *Client) maxHeader() int64 {
	if c.MaxHeader > 0 {
		return c.MaxHeader
	}
	return defaultMaxHeader
}

// validate refuses what would make two requests of one, as Go's client does, and
// what is too long.
func validate(req *http.Request) error {
	if req.Method != "" && !httpguts.ValidHeaderFieldName(req.Method) {
		return fmt.Errorf("method %q is not one word", req.Method)
	}
	length := len(req.Method) + len(req.URL.Path) + len(req.URL.RawQuery)
	for name, values := range req.Header {
		if !httpguts.ValidHeaderFieldName(name) {
			return fmt.Errorf("%q is not the name of a header field", name)
		}
		for _, value := range values {
			if !httpguts.ValidHeaderFieldValue(value) {
				return fmt.Errorf("the value of header field %q has a control character", name)
			}
			length += len(name) + len(value)
		}
	}
	if length > longestHeader {
		return ErrTooLong
	}
	return nil
}
