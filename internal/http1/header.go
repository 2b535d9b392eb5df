package http1

import (
	"bytes"
	"fmt"
)

// header watches the bytes before the body of an answer, and limits them.
//
// What was read before the latest piece belongs to the header as a whole, since
// nobody would ask for more of it otherwise. Of the latest piece a part may be body.
type header struct {
	limits Limits
	over   bool
	long   error   // that it exceeds a limit
	left   int64   // how many bytes may still come
	lines  int     // how many came
	last   [2]byte // the last bytes that came
}

func (h *header) begin(limits Limits) { *h = header{limits: limits, left: limits.Bytes} }

func (h *header) end() { h.over = true }

// room returns as much of a buffer as may be filled.
func (h *header) room(p []byte) ([]byte, error) {
	switch {
	case h.over:
		return p, nil
	case h.lines > h.limits.Lines:
		h.exceedLines()
	case h.left <= 0:
		h.long = fmt.Errorf("net/http: server response headers exceeded %d bytes; aborted", h.limits.Bytes)
	}
	return p[:min(int64(len(p)), h.left)], h.long
}

func (h *header) exceedLines() {
	h.long = fmt.Errorf("net/http: server response headers exceeded %d lines; aborted", h.limits.Lines)
}

// take notes what was read.
func (h *header) take(p []byte) error {
	if h.over || len(p) == 0 {
		return nil
	}
	h.left -= int64(len(p))
	h.count(p)
	if len(p) == 1 {
		h.last = [2]byte{h.last[1], p[0]}
	} else {
		h.last = [2]byte(p[len(p)-2:])
	}
	return h.long
}

// informational notes that the header so far was that of an informational answer, so
// that what is buffered belongs to another one.
func (h *header) informational(buffered []byte) error {
	h.lines -= bytes.Count(buffered, newline)
	h.last = [2]byte{}
	h.count(buffered)
	return h.long
}

// count counts the lines of a piece.
func (h *header) count(p []byte) {
	lines := bytes.Count(p, newline)
	if h.lines+lines > h.limits.Lines && h.linesUntilEnd(p) > h.limits.Lines {
		h.exceedLines()
	}
	h.lines += lines
}

var newline = []byte{'\n'}

// linesUntilEnd returns how many lines there are with those of a piece up to the
// first that is empty.
func (h *header) linesUntilEnd(p []byte) int {
	lines := h.lines
	before, beforeThat := h.last[1], h.last[0]
	for _, b := range p {
		if b == '\n' {
			lines++
			if before == '\n' || before == '\r' && beforeThat == '\n' {
				return lines
			}
		}
		before, beforeThat = b, before
	}
	return lines
}
