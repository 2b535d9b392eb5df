package attempt

import (
	"context"
	"errors"
	"net/http"
	"net/url"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/http1"
	"github.com/caddy-tigergraph/caddy-tigergraph/internal/once"
	"github.com/caddy-tigergraph/caddy-tigergraph/internal/service"
)

// Sender sends requests to nodes.
type Sender struct {
	Edge Edge
	// Own is the client for short requests, nil where only Go's client does what is set.
	Own *http1.Client
	// Goes is Go's client.
	Goes http.RoundTripper
	// Proxy says which network proxy a request goes through. Both clients ask it, by way
	// of AskOnce.
	Proxy func(*http.Request) (*url.URL, error)
	// Suspects are the nodes that say what they were not asked.
	Suspects http1.Suspects
}

// Send sends a request in the way that is made for it, and notes what became of it.
func (s *Sender) Send(r *http.Request, a *Attempt) (*http.Response, error) {
	once.Settle(r)
	if s.Own == nil || r.URL.Scheme != "http" || !isShort(r) {
		return s.sendGoesWay(r, a)
	}
	proxy, proxyErr := s.Proxy(r)
	if proxy != nil || proxyErr != nil {
		return s.sendGoesWay(withForwardProxy(r, &forwardProxy{true, proxy, proxyErr}), a)
	}
	body, err := s.readBody(r)
	if err != nil {
		return nil, s.clientError(r.Context(), err, a)
	}
	terms := http1.Terms{Body: body, MayRepeat: service.Repeatable}
	if a.Probe {
		terms.Limits = http1.ProbeLimits
	}
	res, err := s.Own.RoundTrip(r, terms)
	if err == nil {
		return res, nil
	}
	if errors.Is(err, http1.ErrTooLong) {
		if body != nil {
			r.Body = &wholeBody{body: body}
		}
		return s.sendGoesWay(withForwardProxy(r, &forwardProxy{asked: true}), a)
	}
	var unanswered *http1.UnansweredError
	var unsendable *http1.RequestError
	switch {
	case r.Context().Err() != nil:
		a.Outcome = ClientGone
	case errors.As(err, &unanswered) && unanswered.Sent:
		a.Outcome = Broke
		if !service.Repeatable(r) {
			err = unrepeatedError{unanswered}
		}
	case unanswered != nil, s.Edge.IsDialling(err):
		a.Outcome, a.Waits = NeverLeft, r.URL
	case errors.As(err, &unsendable):
		a.Outcome = ClientFault
	default:
		a.Outcome = Garbled
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

// forwardProxy is which network proxy a request goes through, once that was asked.
type forwardProxy struct {
	asked bool
	url   *url.URL
	err   error
}

type forwardProxyKey struct{}

// withForwardProxy has AskOnce remember what is said to a request.
func withForwardProxy(r *http.Request, said *forwardProxy) *http.Request {
	return r.WithContext(context.WithValue(r.Context(), forwardProxyKey{}, said))
}

// AskOnce returns a function that asks which network proxy a request goes through,
// unless that was asked for the request before: Go's client asks each time that it tries
// again.
func AskOnce(ask func(*http.Request) (*url.URL, error)) func(*http.Request) (*url.URL, error) {
	return func(r *http.Request) (*url.URL, error) {
		said, is := r.Context().Value(forwardProxyKey{}).(*forwardProxy)
		if !is {
			return ask(r)
		}
		if !said.asked {
			said.asked = true
			said.url, said.err = ask(r)
		}
		return said.url, said.err
	}
}
