package http1

import (
	"errors"
	"io"
	"net"
	"net/http"
)

// MostBody is the longest body of a request that is read before it is sent.
const MostBody = 64 << 10

// ClientBodyError is that the body of a request could not be read from whoever sent
// it, so that no server is to blame.
type ClientBodyError struct{ Reason error }

func (e *ClientBodyError) Error() string {
	return "reading the client's body: " + e.Reason.Error()
}

// Unwrap returns the reason.
func (e *ClientBodyError) Unwrap() error { return e.Reason }

// Timeout reports whether the client took too long.
func (e *ClientBodyError) Timeout() bool {
	var reason net.Error
	return errors.As(e.Reason, &reason) && reason.Timeout()
}

// firstRoom is how much memory a body gets before its first byte is there: who
// announces much and sends nothing costs little.
const firstRoom = 4 << 10

// ReadBody reads a body of a known length to its end, and closes it unless that fails.
func ReadBody(body io.ReadCloser, length int64) ([]byte, error) {
	content := make([]byte, min(length, firstRoom))
	for n := 0; ; {
		read, err := io.ReadFull(body, content[n:])
		n += read
		if err != nil {
			// To close it is to wait for the rest of it, which may never come. The server
			// does so when it has answered.
			if errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return nil, &ClientBodyError{err}
		}
		if int64(n) == length {
			break
		}
		more := make([]byte, min(length, 4*int64(n)))
		copy(more, content)
		content = more
	}
	// A server hears that its client leaves only once it has seen the end.
	if surplus, _ := body.Read(make([]byte, 1)); surplus > 0 {
		_ = body.Close()
		return nil, &ClientBodyError{http.ErrContentLength}
	}
	_ = body.Close()
	return content, nil
}
