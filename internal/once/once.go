// Package once readies requests so that Go's transport sends them once.
//
// Go's transport repeats requests on its own: one without a body whose method or
// Idempotency-Key promises that this does no harm, if it was sent on a connection
// that had served others and that broke before the first byte of the answer; again
// and again, as long as idle connections are left. TigerGraph keeps no such promise,
// for it drops all data on a GET. But the transport never repeats what has a body it
// cannot get again.
package once

import (
	"errors"
	"io"
	"net/http"
	"strings"
	"sync/atomic"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/service"
)

// ErrMayHaveBeenDone is that a request is not sent again, because it may have been
// carried out.
var ErrMayHaveBeenDone = errors.New("a node may have carried out the request, which is therefore not sent again")

// Ready readies a request so that Go's transport cannot repeat it once it may have
// left, unless it may be repeated. Whoever changes the header afterwards, so that the
// request may look like another one, has to say so by unsettled. It may be called
// again for another attempt.
func Ready(r *http.Request, unsettled bool) {
	switch bodiless := r.Body == nil || r.Body == http.NoBody; {
	case bodiless && !giveBody(r, unsettled):
		return
	case !bodiless && r.ContentLength > 0 && r.ProtoMajor == 1:
		endBody(r)
	}
	// Nothing is lost where a connection turns out to be closed before the request
	// was written to it. The transport reads the body or closes it whenever it
	// writes a header, but for one that waits for a 100 Continue. So let it repeat
	// whatever it likes, which it does with a body that it left alone, and asks
	// GetBody for another one otherwise. A body of unknown length it may still be
	// reading then.
	if unknown := r.ContentLength < 0 && len(r.TransferEncoding) == 0; !unknown && !unsettled && r.Header["Expect"] == nil {
		r.GetBody = refuse
		if r.Header != nil && !isIdempotent(r) {
			r.Header["X-Idempotency-Key"] = nil // which HTTP does not send
		}
	}
}

// Settle finds out whether a read that came over HTTP/3 has a body, where no field
// tells it: nearly all have none. Then it is one without a body to a transport as well,
// which may repeat it.
func Settle(r *http.Request) {
	if r.ProtoMajor < 3 || r.ContentLength >= 0 || IsEmpty(r) || !service.Repeatable(r) {
		return
	}
	var first [1]byte
	switch n, err := r.Body.Read(first[:]); {
	case n > 0:
		r.Body = &begunBody{ReadCloser: r.Body, first: first[:n]}
	case errors.Is(err, io.EOF):
		r.Body, r.ContentLength = http.NoBody, 0
	}
}

// begunBody is a body whose first bytes were read.
type begunBody struct {
	io.ReadCloser
	first []byte
}

func (b *begunBody) Read(p []byte) (int, error) {
	if len(b.first) == 0 {
		return b.ReadCloser.Read(p)
	}
	n := copy(p, b.first)
	b.first = b.first[n:]
	return n, nil
}

func refuse() (io.ReadCloser, error) { return nil, ErrMayHaveBeenDone }

// giveBody gives a request that has none a body with nothing in it, unless the
// transport may repeat it or would not.
func giveBody(r *http.Request, unsettled bool) bool {
	switch r.Method {
	case http.MethodPost, http.MethodPut, http.MethodPatch:
		// These are sent with a length even if it is 0. A length of -1 would be
		// silence, so where the transport has to be kept from repeating it, let it
		// say by an empty chunked body that there is nothing.
		if !unsettled && !isIdempotent(r) {
			return false
		}
	default:
		if !unsettled && service.Repeatable(r) {
			return false
		}
		// Otherwise the transport looks for a body's first byte, in a goroutine,
		// before it finds that a plain request is to be sent.
		r.TransferEncoding = identity
	}
	r.Body, r.ContentLength = emptyBody{}, -1
	return true
}

// isIdempotent reports whether Go's transport takes a request without a body for
// one that it may repeat.
func isIdempotent(r *http.Request) bool {
	switch r.Method {
	case http.MethodGet, http.MethodHead, http.MethodOptions, http.MethodTrace, "":
		return true
	}
	_, keyed := r.Header["Idempotency-Key"]
	_, xKeyed := r.Header["X-Idempotency-Key"]
	return keyed || xKeyed
}

var identity = []string{"identity"}

// emptyBody is a body that holds nothing and yet is one. Because it has WriteTo
// the transport needs no buffer to copy it.
type emptyBody struct{}

func (emptyBody) Read([]byte) (int, error)         { return 0, io.EOF }
func (emptyBody) WriteTo(io.Writer) (int64, error) { return 0, nil }
func (emptyBody) Close() error                     { return nil }

// IsEmpty reports whether a request has no body, or one that Ready gave it.
func IsEmpty(r *http.Request) bool {
	return r.Body == nil || r.Body == http.NoBody || r.Body == (emptyBody{})
}

// endBody lets a request's body end by itself after the bytes that it announced.
// When it has sent them, Go's transport looks whether there are more. But with the
// first byte of the answer Go's server closes the body; an answer that is quicker
// than this look would then break off, as GSQL's, which come line by line.
func endBody(r *http.Request) {
	if _, ends := r.Body.(*endingBody); !ends {
		body := &endingBody{ReadCloser: r.Body}
		body.left.Store(r.ContentLength)
		r.Body = body
	}
}

// endingBody is a body of known length.
type endingBody struct {
	io.ReadCloser
	// left is how much is to come. An attempt that failed may still be reading
	// when the next begins.
	left atomic.Int64
}

func (b *endingBody) Read(p []byte) (int, error) {
	left := b.left.Load()
	if left <= 0 {
		return 0, io.EOF
	}
	n, err := b.ReadCloser.Read(p[:min(int64(len(p)), left)])
	b.left.Add(int64(-n))
	return n, err
}

// Interface guards
var (
	_ io.ReadCloser = emptyBody{}
	_ io.WriterTo   = emptyBody{}
)

// Rekeys reports whether fields that are added to a request may make it look idempotent,
// or different from what it was judged by.
func Rekeys(added ...http.Header) bool {
	for _, fields := range added {
		for field := range fields {
			switch http.CanonicalHeaderKey(field) {
			case "Expect", "Idempotency-Key", "X-Idempotency-Key", "Gsql-Async", "X-Http-Method-Override", "Upgrade":
				return true
			}
			if strings.Contains(field, "{") { // a placeholder
				return true
			}
		}
	}
	return false
}
