// Package attempt sends a request to a node, in the way that is made for it, and says what
// became of that: whose doing its end is, and whether the node may have carried it out.
package attempt

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"time"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/http1"
	"github.com/caddy-tigergraph/caddy-tigergraph/internal/once"
)

// Attempt is what became of a request that was to be sent to a node.
type Attempt struct {
	Node    string // what was or would have been dialled
	Started time.Time
	Outcome Outcome
	Status  int         // of the answer
	Header  http.Header // of the answer, which must not be changed
	Err     error       // if there was no answer
	Waits   *url.URL    // the request's, if it never left, and nothing of its body is lost
	Probe   bool        // not a client's request: a health check's, or a search for an asynchronous query
}

// Outcome says whose doing the end of an attempt is.
type Outcome uint8

// The outcomes.
const (
	Answered    Outcome = iota
	NeverLeft           // there was no connection, or none that took a byte
	Broke               // the connection broke before the first byte of an answer
	Garbled             // what the node sent is no answer, or more than its limits allow
	ClientFault         // the client's body could not be read, or its request not be sent
	ClientGone          // the request was given up
)

// HasLeft reports whether a node may have got what was sent, and have carried it out. What
// a client does not send whole is carried out by nobody.
func (o Outcome) HasLeft() bool { return o != NeverLeft && o != ClientFault }

// Edge is the server that gets the requests, as far as attempts depend on it.
type Edge interface {
	// Keep keeps the body of a request for another attempt, and Kept returns what was
	// kept, nil if nothing was.
	Keep(r *http.Request, body *Kept)
	Kept(r *http.Request) *Kept
	// Detached returns a context that shares nothing that changes with the request.
	Detached(ctx context.Context) context.Context
	// Refusal returns an error that is answered with a status, and IsRefusal reports
	// whether an error is one already.
	Refusal(status int, err error) error
	IsRefusal(err error) bool
	// IsDialling reports whether an error says that there was no connection.
	IsDialling(err error) bool
}

// clientError returns the error for a client whose body could not be read, or who is
// gone, and notes which of the two it is.
func (s *Sender) clientError(ctx context.Context, err error, a *Attempt) error {
	a.Outcome = ClientFault
	var body *http1.ClientBodyError
	if errors.As(err, &body) && body.Timeout() { // which over HTTP/1.1 ends the request as well
		return s.Edge.Refusal(http.StatusRequestTimeout, err)
	}
	if ctx.Err() != nil {
		a.Outcome = ClientGone
		return context.Cause(ctx)
	}
	if s.Edge.IsRefusal(err) { // whoever limits bodies says so
		return err
	}
	return s.Edge.Refusal(http.StatusBadRequest, err)
}

// unrepeatedError is an UnansweredError of a request that must not be repeated.
type unrepeatedError struct{ *http1.UnansweredError }

func (e unrepeatedError) Error() string {
	return once.ErrMayHaveBeenDone.Error() + ": " + e.UnansweredError.Error()
}

func (e unrepeatedError) Unwrap() []error {
	return []error{once.ErrMayHaveBeenDone, e.UnansweredError}
}
