package http1

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"sync/atomic"
	"time"
)

// graceForAnswer is how long an answer is looked for on a connection that took only
// a part of the request: servers refuse what is too large for them and close.
const graceForAnswer = time.Second

// sending is a request that is written while its answer is read.
type sending struct {
	answered atomic.Bool // a header of an answer was read
	done     chan struct{}
	n        int // how much was written, once done
	err      error
}

// exchange sends a request and reads the answer, up to its body. It leaves the
// connection to the body, or closes it. It releases what it sends.
func (c *connection) exchange(req *http.Request, trace *httptrace.ClientTrace, out *outgoing, limits Limits) (*http.Response, error) {
	ctx := req.Context()
	stop := context.AfterFunc(ctx, c.abort)
	c.sent, c.heard, c.broken, c.sending = false, false, false, nil
	c.header.begin(limits)
	res, err := c.ask(req, trace, out)
	if err != nil {
		stop()
		c.abort()
		if c.sending != nil {
			<-c.sending.done
			if unanswered, is := errors.AsType[*UnansweredError](err); is {
				unanswered.Sent = c.sending.n > 0
			}
		}
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return nil, err
	}
	answer := &body{ReadCloser: res.Body, ctx: ctx, conn: c, stop: stop, last: res.Close || req.Close || c.broken}
	if res.Body == http.NoBody {
		answer.end(atEnd)
	} else {
		res.Body = answer
	}
	return res, nil
}

// ask writes a request and reads the header of the answer.
func (c *connection) ask(req *http.Request, trace *httptrace.ClientTrace, out *outgoing) (*http.Response, error) {
	err := c.send(out)
	if trace != nil && trace.WroteHeaders != nil && err == nil {
		trace.WroteHeaders()
	}
	if trace != nil && trace.WroteRequest != nil {
		trace.WroteRequest(httptrace.WroteRequestInfo{Err: err})
	}
	if err != nil && !c.sent {
		return nil, &UnansweredError{Reason: err}
	}
	for {
		res, readErr := c.readHeader(req, trace)
		switch {
		case readErr != nil && err != nil && !c.heard:
			return nil, &UnansweredError{Reason: err, Sent: true}
		case readErr != nil:
			return nil, c.failure(readErr)
		case res.StatusCode == http.StatusSwitchingProtocols:
			return nil, errors.New("the server changes protocols, which it was not asked to")
		case res.StatusCode < http.StatusContinue:
			return nil, fmt.Errorf("status %d of the answer: expected three digits from 100 on", res.StatusCode)
		case res.StatusCode >= http.StatusOK:
			c.header.end()
			if c.sending != nil {
				c.sending.answered.Store(true)
			}
			if c.sending != nil || c.broken {
				_ = c.SetReadDeadline(time.Time{})
			}
			return res, nil
		}
		// What comes next is a header as well, and may be here already.
		buffered, _ := c.reader.Peek(c.reader.Buffered())
		if err := c.header.informational(buffered); err != nil {
			return nil, err
		}
		if trace == nil || trace.Got1xxResponse == nil {
			continue
		}
		if err := trace.Got1xxResponse(res.StatusCode, textproto.MIMEHeader(res.Header)); err != nil {
			return nil, err
		}
	}
}

func (c *connection) readHeader(req *http.Request, trace *httptrace.ClientTrace) (*http.Response, error) {
	if trace != nil && trace.GotFirstResponseByte != nil && !c.heard {
		if _, err := c.reader.Peek(1); err == nil {
			trace.GotFirstResponseByte()
		}
	}
	return http.ReadResponse(c.reader, req)
}

// send writes a request. What is sure to find room is written here; what is longer
// while the answer is read, which a server may give before it has read all.
func (c *connection) send(out *outgoing) error {
	piece := out.piece.Bytes()
	if len(piece) <= surelyTaken {
		n, err := c.Write(piece)
		out.release()
		c.sent = n > 0
		c.broken = err != nil
		if c.broken && c.sent {
			_ = c.SetReadDeadline(time.Now().Add(graceForAnswer))
		}
		return err
	}
	s := &sending{done: make(chan struct{})}
	c.sending = s
	go func() {
		defer close(s.done)
		defer out.release()
		if s.n, s.err = c.Write(piece); s.n > 0 && s.err != nil && !s.answered.Load() {
			_ = c.SetReadDeadline(time.Now().Add(graceForAnswer))
		}
	}()
	return nil
}

// isSent reports whether the whole request was written. The server has read it when
// it answers, if it reads it at all; it only remains to hear of it.
func (c *connection) isSent() bool {
	if c.sending == nil {
		return true
	}
	select {
	case <-c.sending.done:
		return c.sending.err == nil
	default:
	}
	late := time.NewTimer(50 * time.Millisecond)
	defer late.Stop()
	select {
	case <-c.sending.done:
		return c.sending.err == nil
	case <-late.C:
		return false
	}
}

// failure is what became of a request, in the words of Go's client.
func (c *connection) failure(err error) error {
	if c.header.long != nil {
		err = c.header.long
	} else if !c.heard && c.broken {
		return &UnansweredError{Reason: err, Sent: c.sent}
	}
	return fmt.Errorf("net/http: HTTP/1.x transport connection broken: %w", err)
}
