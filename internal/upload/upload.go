// Package upload reads the rest of an upload whose answer came before its end, so that
// clients which send everything first get that answer.
package upload

import (
	"errors"
	"io"
	"net/http"
	"sync/atomic"
	"time"
)

const (
	// fewBytes is how much of a request's body Go's server reads by itself when the
	// answer comes first.
	fewBytes = 256 << 10
	// drainMost is how much is read of the rest of an upload that is already answered,
	// drainFor how long it is read, and drainPause how long the client may pause.
	drainMost  = 1 << 30
	drainFor   = 30 * time.Second
	drainPause = 5 * time.Second
)

// Upload is a request's body of HTTP/1.1 that may not be read to its end. A client
// that sends everything before it looks at the answer, as most libraries do, gets none
// if the connection is closed in the middle, but an error: so the rest is read, and
// thrown away.
type Upload struct {
	io.ReadCloser
	begun, ended, closed atomic.Bool
	// waits is whether the client sends nothing until it is asked to.
	waits bool
}

// Keep puts an upload in place of a request's body, nil if it is not worth it.
func Keep(r *http.Request) *Upload {
	if r.ProtoMajor != 1 || r.Body == nil || r.Body == http.NoBody || r.ContentLength >= 0 && r.ContentLength <= fewBytes {
		return nil
	}
	body := &Upload{ReadCloser: r.Body, waits: r.Header["Expect"] != nil}
	r.Body = body
	return body
}

// Read reads from the client.
func (u *Upload) Read(p []byte) (int, error) {
	if u.closed.Load() {
		return 0, http.ErrBodyReadAfterClose
	}
	u.begun.Store(true)
	n, err := u.ReadCloser.Read(p)
	if err != nil {
		u.ended.Store(true)
	}
	return n, err
}

// Close ends reading for the proxy. The server closes the body itself.
func (u *Upload) Close() error {
	u.closed.Store(true)
	return nil
}

// Drain reads what is left once the answer is written.
func (u *Upload) Drain(w http.ResponseWriter) {
	if u.ended.Load() {
		return
	}
	u.closed.Store(true)
	if http.NewResponseController(w).Flush() == nil {
		u.readRest(w)
	}
}

// Discard reads what is left before the answer is written, which somebody else does. A
// client that waits until it is asked to send has sent nothing, and is not asked: nor does
// the server try to read some bytes before it answers, if the connection ends with that.
func (u *Upload) Discard(w http.ResponseWriter) {
	if u.ended.Load() {
		return
	}
	u.closed.Store(true)
	if u.waits && !u.begun.Load() {
		w.Header().Set("Connection", "close")
		return
	}
	u.readRest(w)
}

func (u *Upload) readRest(w http.ResponseWriter) {
	controller := http.NewResponseController(w)
	end, buffer := time.Now().Add(drainFor), make([]byte, 32<<10)
	for left := drainMost; left > 0; {
		now := time.Now()
		if !now.Before(end) {
			return
		}
		deadline := now.Add(drainPause)
		if deadline.After(end) {
			deadline = end
		}
		if controller.SetReadDeadline(deadline) != nil {
			return
		}
		n, err := u.ReadCloser.Read(buffer)
		if errors.Is(err, io.EOF) {
			_ = controller.SetReadDeadline(time.Time{}) // the server reads on, and would take the client for gone
		}
		if err != nil {
			return
		}
		left -= n
	}
}

// Interface guards
var _ io.ReadCloser = (*Upload)(nil)
