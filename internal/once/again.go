package once

import (
	"context"
	"net/http"
	"net/http/httptrace"
	"sync/atomic"
)

// IsAgain reports whether a proxy would have a request, which must not be repeated, carried
// out once more that another proxy has sent as left. Where that has failed, it is the same
// in any form. Where it has not, what it sent may have been something else, as a question
// who may come in.
func IsAgain(r, left *http.Request, failed bool) bool {
	isOwn := left.URL == r.URL // which the attempts of one proxy share
	return !isOwn && (failed || left.Method == r.Method && left.URL.Path == r.URL.Path)
}

// Refusal is the answer to what is not sent again.
func Refusal(r *http.Request) *http.Response {
	return &http.Response{
		Status: "502 " + http.StatusText(http.StatusBadGateway), StatusCode: http.StatusBadGateway,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: make(http.Header), Body: http.NoBody, Request: r,
	}
}

// watch watches the attempts to send a request by Go's transport.
type watch struct {
	attempt atomic.Int64 // the present one, from 1
	left    atomic.Int64 // the one that has left, 0 for none
}

type watchKey struct{}

// Watch has it kept when the header of a request goes out by Go's transport: as what was
// sent, or nil if it turns out that nothing was. It is called before each attempt.
func Watch(r *http.Request, keep func(sent *http.Request, left any)) {
	if w, is := r.Context().Value(watchKey{}).(*watch); is {
		w.attempt.Add(1)
		return
	}
	w, sent := new(watch), r.WithContext(r.Context())
	w.attempt.Store(1)
	ctx := httptrace.WithClientTrace(r.Context(), &httptrace.ClientTrace{
		GetConn: func(string) {
			// The transport takes another connection only if the one before took nothing.
			if w.left.CompareAndSwap(w.attempt.Load(), 0) {
				keep(sent, nil)
			}
		},
		WroteHeaders: func() {
			if w.left.CompareAndSwap(0, w.attempt.Load()) {
				keep(sent, sent)
			}
		},
	})
	*r = *r.WithContext(context.WithValue(ctx, watchKey{}, w))
}
