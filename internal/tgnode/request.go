package tgnode

import (
	"bufio"
	"errors"
	"io"
	"net/http/httputil"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"
)

// Field is a header field, its name in the case it has on the wire.
type Field struct{ Name, Value string }

// Request is a request as it arrived at a node's nginx.
type Request struct {
	Time     time.Time
	Service  Service
	Method   string
	Target   string // not decoded
	Protocol string
	Fields   []Field // in their order
	Peer     string
	// Connection numbers the node's connections, Sequence the requests of one;
	// both count from 1.
	Connection int64
	Sequence   int
}

// Values returns the values of a field, whatever the case of its name.
func (r Request) Values(name string) []string {
	var values []string
	for _, f := range r.Fields {
		if strings.EqualFold(f.Name, name) {
			values = append(values, f.Value)
		}
	}
	return values
}

const (
	maxLine     = 8 << 10  // nginx's large_client_header_buffers
	maxHead     = 32 << 10 // four of them
	bodyKept    = 64 << 10 // what a service looks at; the rest is only counted
	discardSize = 256 << 10
)

// httpError is a request that nginx refuses.
type httpError struct {
	status int
	detail string
}

func (e *httpError) Error() string { return strconv.Itoa(e.status) + " " + e.detail }

var (
	errBadRequest     = &httpError{status: 400}
	errHeaderTooLarge = &httpError{400, "Request Header Or Cookie Too Large"}
	errPlainHTTP      = &httpError{400, "The plain HTTP request was sent to HTTPS port"}
	errBodyTooLarge   = &httpError{status: 413}
	errURITooLarge    = &httpError{status: 414}
	errNotImplemented = &httpError{status: 501}
)

// request is the request that a connection works on; it is reused.
type request struct {
	method, target, protocol string
	fields                   []Field
	path                     string // decoded and cleaned
	query                    string

	keepAlive      bool
	expectContinue bool
	upgrade        string
	chunked        bool
	contentLength  int64

	service   Service
	backend   *Node // whose service it is
	kind      Kind
	tunnelled bool // came through the GUI to another service

	authorized bool // by the GUI
	user       string

	body      []byte // the first bytes
	bodyBytes int64
}

// header returns the first value of a field, whatever the case of its name.
func (r *request) header(name string) string {
	for i := range r.fields {
		if len(r.fields[i].Name) == len(name) && strings.EqualFold(r.fields[i].Name, name) {
			return r.fields[i].Value
		}
	}
	return ""
}

// values parses the query; a broken pair is left out.
func (r *request) values() url.Values {
	values, _ := url.ParseQuery(r.query)
	return values
}

// parameter returns a query parameter without parsing all others.
func (r *request) parameter(name string) string {
	for rest := r.query; rest != ""; {
		var pair string
		pair, rest, _ = strings.Cut(rest, "&")
		if key, value, _ := strings.Cut(pair, "="); key == name {
			if decoded, err := url.QueryUnescape(value); err == nil {
				return decoded
			}
			return value
		}
	}
	return ""
}

func (r *request) marker() string {
	return orDefault(r.parameter("marker"), orDefault(r.header("X-Marker"), r.header("X-Request-Id")))
}

// readHead reads the head of a request: the request line and the header, up to
// and without the empty line.
func readHead(r *bufio.Reader, buffer []byte) ([]byte, error) {
	for {
		line, err := r.ReadSlice('\n')
		switch {
		case errors.Is(err, bufio.ErrBufferFull) && len(buffer) == 0:
			return buffer, errURITooLarge
		case errors.Is(err, bufio.ErrBufferFull) || len(buffer)+len(line) > maxHead:
			return buffer, errHeaderTooLarge
		case err != nil:
			return buffer, err
		}
		if len(line) == 1 || len(line) == 2 && line[0] == '\r' {
			if len(buffer) == 0 {
				continue // empty lines before a request are permitted
			}
			return buffer, nil
		}
		buffer = append(buffer, line...)
	}
}

// parse fills the request from its head, of which it keeps parts.
func (r *request) parse(head string) error {
	*r = request{fields: r.fields[:0], body: r.body[:0]}
	line, head, _ := strings.Cut(head, "\n")
	var ok bool
	r.method, line, ok = strings.Cut(strings.TrimSuffix(line, "\r"), " ")
	if !ok || r.method == "" {
		return errBadRequest
	}
	last := strings.LastIndexByte(line, ' ')
	if last < 1 {
		return errBadRequest
	}
	r.target, r.protocol = line[:last], line[last+1:]
	if r.protocol != "HTTP/1.1" && r.protocol != "HTTP/1.0" {
		return errBadRequest
	}
	r.keepAlive = r.protocol == "HTTP/1.1"
	hosts, lengths := 0, 0
	for head != "" {
		line, head, _ = strings.Cut(head, "\n")
		name, value, ok := strings.Cut(strings.TrimSuffix(line, "\r"), ":")
		if !ok || name == "" {
			return errBadRequest
		}
		value = strings.Trim(value, " \t")
		r.fields = append(r.fields, Field{name, value})
		switch len(name) { // spares most fields the comparison
		case len("Host"):
			if strings.EqualFold(name, "Host") {
				hosts++
			}
		case len("Expect"):
			if strings.EqualFold(name, "Expect") {
				r.expectContinue = strings.EqualFold(value, "100-continue")
			}
		case len("Upgrade"):
			if strings.EqualFold(name, "Upgrade") {
				r.upgrade = value
			}
		case len("Connection"):
			if strings.EqualFold(name, "Connection") {
				if strings.EqualFold(value, "close") {
					r.keepAlive = false
				} else if strings.EqualFold(value, "keep-alive") {
					r.keepAlive = true
				}
			}
		case len("Content-Length"):
			if strings.EqualFold(name, "Content-Length") {
				n, err := strconv.ParseUint(value, 10, 63)
				if err != nil {
					return errBadRequest
				}
				r.contentLength = int64(n)
				lengths++
			}
		case len("Transfer-Encoding"):
			if strings.EqualFold(name, "Transfer-Encoding") {
				if !strings.EqualFold(value, "chunked") {
					return errNotImplemented
				}
				r.chunked = true
			}
		}
	}
	if hosts > 1 || hosts == 0 && r.protocol == "HTTP/1.1" || lengths > 1 || r.chunked && lengths > 0 {
		return errBadRequest
	}
	return r.parseTarget()
}

func (r *request) parseTarget() error {
	target := r.target
	if !strings.HasPrefix(target, "/") { // absolute form
		_, rest, ok := strings.Cut(target, "://")
		if !ok {
			return errBadRequest
		}
		slash := strings.IndexByte(rest, '/')
		if slash < 0 {
			target = "/"
		} else {
			target = rest[slash:]
		}
	}
	target, _, _ = strings.Cut(target, "#")
	target, r.query, _ = strings.Cut(target, "?")
	path, ok := cleanPath(target)
	if !ok {
		return errBadRequest
	}
	r.path = path
	return nil
}

// cleanPath does what nginx does before it looks for a location: it decodes
// %xx, merges slashes and resolves dots. It fails if the path leaves the root.
func cleanPath(raw string) (string, bool) {
	if !strings.Contains(raw, "%") && !strings.Contains(raw, "//") && !strings.Contains(raw, "/.") {
		return raw, true
	}
	decoded, err := url.PathUnescape(raw)
	if err != nil || strings.IndexByte(decoded, 0) >= 0 {
		return "", false
	}
	var kept []string
	segments := strings.Split(decoded[1:], "/")
	for _, segment := range segments {
		switch segment {
		case "", ".":
		case "..":
			if len(kept) == 0 {
				return "", false
			}
			kept = kept[:len(kept)-1]
		default:
			kept = append(kept, segment)
		}
	}
	path := "/" + strings.Join(kept, "/")
	switch segments[len(segments)-1] {
	case "", ".", "..":
		if path != "/" {
			path += "/"
		}
	}
	return path, true
}

var discardBuffers = sync.Pool{New: func() any { return new([discardSize]byte) }}

// readBody reads all of the body before a service sees the request, as nginx
// does, and keeps its beginning.
func (r *request) readBody(from *bufio.Reader, limit int64) error {
	body := io.Reader(&io.LimitedReader{R: from, N: r.contentLength})
	if r.chunked {
		body = httputil.NewChunkedReader(from)
	}
	buffer := discardBuffers.Get().(*[discardSize]byte)
	defer discardBuffers.Put(buffer)
	for {
		n, err := body.Read(buffer[:])
		if room := bodyKept - len(r.body); room > 0 {
			r.body = append(r.body, buffer[:min(n, room)]...)
		}
		r.bodyBytes += int64(n)
		if r.bodyBytes > limit {
			return errBodyTooLarge
		}
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
	}
	if !r.chunked {
		if r.bodyBytes < r.contentLength {
			return io.ErrUnexpectedEOF
		}
		return nil
	}
	for { // trailers, up to an empty line
		line, err := from.ReadSlice('\n')
		if err != nil {
			return err
		}
		if len(line) <= len("\r\n") {
			return nil
		}
	}
}
