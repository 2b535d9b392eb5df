package attempt

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"sync/atomic"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/http1"
	"github.com/caddy-tigergraph/caddy-tigergraph/internal/once"
)

// Kept is a body that was read.
type Kept struct{ content []byte }

// String is what a log or an answer has where somebody writes the placeholder.
func (*Kept) String() string { return "" }

// readBody reads the body of a request to its end. It does so once: a proxy that tries
// again, or a second one behind the first, finds nothing left to read, and has what was.
func (s *Sender) readBody(r *http.Request) ([]byte, error) {
	if once.IsEmpty(r) {
		return nil, nil
	}
	content, err := http1.ReadBody(r.Body, r.ContentLength)
	if err != nil {
		if kept := s.kept(r); kept != nil {
			return kept.content, nil
		}
		return nil, err
	}
	s.Edge.Keep(r, &Kept{content})
	return content, nil
}

// kept returns what was read of the body of a request, nil if nothing was.
func (s *Sender) kept(r *http.Request) *Kept {
	if kept := s.Edge.Kept(r); kept.isOf(r) {
		return kept
	}
	return nil
}

// isOf reports whether the body is that of a request.
func (k *Kept) isOf(r *http.Request) bool {
	return k != nil && int64(len(k.content)) == r.ContentLength
}

// GiveBack lets another proxy read the body of a request again, where one has read it and
// sent it to nobody.
func (k *Kept) GiveBack(r *http.Request) {
	if k.isOf(r) {
		r.Body = &wholeBody{k.content}
	}
}

// restoreBody lets the body of a request be read again that was kept, if nothing is left
// to read of it.
func (s *Sender) restoreBody(r *http.Request) {
	if r.ContentLength <= 0 || r.ContentLength > http1.MostBody || once.IsEmpty(r) {
		return
	}
	kept := s.kept(r)
	if kept == nil {
		return
	}
	first := make([]byte, 1)
	if n, _ := r.Body.Read(first); n == 0 {
		r.Body = &wholeBody{kept.content}
		return
	}
	r.Body = struct {
		io.Reader
		io.Closer
	}{io.MultiReader(bytes.NewReader(first), r.Body), r.Body}
}

// wholeBody is a body that is in memory, and that may be sent once. It is not one of
// those that Go's client knows and would send again.
type wholeBody struct{ body []byte }

func (b *wholeBody) Read(p []byte) (int, error) {
	if len(b.body) == 0 {
		return 0, io.EOF
	}
	n := copy(p, b.body)
	b.body = b.body[n:]
	return n, nil
}

func (*wholeBody) Close() error { return nil }

// watchedBody is a client's body, and knows whether it was begun, and whether reading it
// failed.
type watchedBody struct {
	io.ReadCloser
	begun  atomic.Bool
	closed atomic.Bool
	failed atomic.Pointer[http1.ClientBodyError]
}

func (b *watchedBody) Read(p []byte) (int, error) {
	b.begun.Store(true)
	n, err := b.ReadCloser.Read(p)
	if err != nil && !errors.Is(err, io.EOF) && !b.closed.Load() {
		b.failed.CompareAndSwap(nil, &http1.ClientBodyError{Reason: err})
	}
	return n, err
}

// Close may be called while another goroutine reads, which has that fail.
func (b *watchedBody) Close() error {
	b.closed.Store(true)
	return b.ReadCloser.Close()
}

// failure returns why the body could not be read, nil if it could.
func (b *watchedBody) failure() error {
	if b == nil {
		return nil
	}
	if failed := b.failed.Load(); failed != nil {
		return failed
	}
	return nil
}

// isWhole reports whether another attempt finds the body as this one did.
func (b *watchedBody) isWhole() bool {
	if b == nil || !b.begun.Load() {
		return true
	}
	_, kept := b.ReadCloser.(*wholeBody)
	return kept
}
