package http1

import (
	"bytes"
	"net/http"
	"sync"
)

// outgoing is a request as it is written, header and body in one piece.
type outgoing struct {
	piece   bytes.Buffer
	request http.Request
	body    wholeBody
}

var outgoings = sync.Pool{New: func() any { return new(outgoing) }}

// longestPiece is the longest that is kept for the next request.
const longestPiece = 128 << 10

// prepare writes a request with a body to memory. Who gets the result has to release
// it.
func prepare(req *http.Request, body []byte) (*outgoing, error) {
	if err := validate(req); err != nil {
		return nil, &RequestError{err}
	}
	out := outgoings.Get().(*outgoing)
	err := out.write(req, body)
	out.request = http.Request{}
	out.body.Reset(nil)
	if err != nil {
		out.release()
		return nil, err
	}
	return out, nil
}

func (o *outgoing) write(req *http.Request, body []byte) error {
	o.piece.Reset()
	o.request = *req
	o.request.Body, o.request.ContentLength, o.request.TransferEncoding = http.NoBody, 0, nil
	if len(body) > 0 {
		o.body.Reset(body)
		o.request.Body, o.request.ContentLength = &o.body, int64(len(body))
		o.piece.Grow(len(body) + 1024)
	}
	if err := o.request.Write(&o.piece); err != nil {
		return &RequestError{err}
	}
	if o.piece.Len()-len(body) > surelyTaken {
		return ErrTooLong
	}
	return nil
}

func (o *outgoing) release() {
	if o.piece.Cap() <= longestPiece {
		outgoings.Put(o)
	}
}

// wholeBody is a body that is in memory.
type wholeBody struct{ bytes.Reader }

// Close implements io.Closer.
func (*wholeBody) Close() error { return nil }
