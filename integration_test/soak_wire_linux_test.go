package integration_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"
	"golang.org/x/net/http2"
)

// soakWire is a client's connection to an edge. It sends nothing twice: that is what
// transports do, and not the connections that they hold.
type soakWire interface {
	// send sends a request and returns its answer, whose body is to be read.
	send(ctx context.Context, request soakMessage) (*http.Response, error)
	// isOpen reports whether another request can be sent.
	isOpen() bool
	close()
}

// soakMessage is a request as it is sent.
type soakMessage struct {
	method, path string
	fields       []string // names and values
	body         []byte
	// pause, if there is one, is called between pieces of the body. It returns false when
	// the rest is to be sent at once.
	pause func() bool
}

// dialEdge connects to an edge by this version of HTTP.
func dialEdge(version int, e *soakEdge) (soakWire, error) {
	ctx, cancel := context.WithTimeout(context.Background(), soakPatience)
	defer cancel()
	config := &tls.Config{InsecureSkipVerify: true, ServerName: "localhost"}
	switch version {
	case 2:
		config.NextProtos = []string{"h2"}
		conn, err := (&tls.Dialer{Config: config}).DialContext(ctx, "tcp", e.secure)
		if err != nil {
			return nil, err
		}
		wire, err := (&http2.Transport{DisableCompression: true}).NewClientConn(conn) //nolint:staticcheck // net/http's has no connection that is given to it
		if err != nil {
			_ = conn.Close()
			return nil, err
		}
		return &h2Wire{wire, e.secure}, nil
	case 3:
		config.NextProtos = []string{http3.NextProtoH3}
		conn, err := quic.DialAddr(ctx, e.secure, config, &quic.Config{MaxIdleTimeout: 10 * time.Second, KeepAlivePeriod: 2 * time.Second})
		if err != nil {
			return nil, err
		}
		return &h3Wire{(&http3.Transport{DisableCompression: true}).NewClientConn(conn), e, e.starts.Load()}, nil
	}
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", e.plain)
	if err != nil {
		return nil, err
	}
	return &h1Wire{conn: conn, reader: bufio.NewReader(conn), host: e.plain}, nil
}

// h1Wire is a connection that speaks HTTP/1.1.
type h1Wire struct {
	conn   net.Conn
	reader *bufio.Reader
	host   string
	done   bool // for what was sent last there is no next
}

func (w *h1Wire) send(ctx context.Context, m soakMessage) (*http.Response, error) {
	deadline, _ := ctx.Deadline()
	_ = w.conn.SetDeadline(deadline) // fails only if closed
	var head strings.Builder
	fmt.Fprintf(&head, "%s %s HTTP/1.1\r\nHost: %s\r\n", m.method, m.path, w.host)
	for i := 0; i < len(m.fields); i += 2 {
		fmt.Fprintf(&head, "%s: %s\r\n", m.fields[i], m.fields[i+1])
	}
	if m.method != http.MethodGet {
		fmt.Fprintf(&head, "Content-Length: %d\r\n", len(m.body))
	}
	head.WriteString("\r\n")
	// Even where it cannot be written to the end there may be an answer.
	_, writeErr := io.WriteString(w.conn, head.String())
	if writeErr == nil {
		_, writeErr = io.Copy(w.conn, m.reader())
	}
	response, err := http.ReadResponse(w.reader, &http.Request{Method: m.method})
	for err == nil && response.StatusCode < 200 {
		response, err = http.ReadResponse(w.reader, &http.Request{Method: m.method})
	}
	if err != nil {
		if writeErr != nil {
			err = fmt.Errorf("%w, %w", err, writeErr)
		}
		return nil, err
	}
	w.done = writeErr != nil || response.Close
	return response, nil
}

// isOpen reports whether the other side has left a connection open on which nothing is
// awaited.
func (w *h1Wire) isOpen() bool {
	raw, err := w.conn.(*net.TCPConn).SyscallConn()
	if err != nil || w.done {
		return false
	}
	open := false
	_ = raw.Control(func(fd uintptr) {
		_, _, err := syscall.Recvfrom(int(fd), make([]byte, 1), syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		open = errors.Is(err, syscall.EAGAIN)
	})
	return open
}

func (w *h1Wire) close() { _ = w.conn.Close() }

// h2Wire is a connection that speaks HTTP/2.
type h2Wire struct {
	conn *http2.ClientConn //nolint:staticcheck // as above
	host string
}

func (w *h2Wire) send(ctx context.Context, m soakMessage) (*http.Response, error) {
	request, err := m.request(ctx, w.host)
	if err != nil {
		return nil, err
	}
	return w.conn.RoundTrip(request)
}

func (w *h2Wire) isOpen() bool { return w.conn.CanTakeNewRequest() }
func (w *h2Wire) close()       { _ = w.conn.Close() }

// h3Wire is a connection that speaks HTTP/3.
type h3Wire struct {
	conn   *http3.ClientConn
	edge   *soakEdge
	starts int64 // of the edge, when it was made
}

func (w *h3Wire) send(ctx context.Context, m soakMessage) (*http.Response, error) {
	request, err := m.request(ctx, w.edge.secure)
	if err != nil {
		return nil, err
	}
	return w.conn.RoundTrip(request)
}

// isOpen looks also whether the edge was restarted: of a process that was killed QUIC
// tells a client nothing, where TCP resets its connection.
func (w *h3Wire) isOpen() bool {
	return w.conn.Context().Err() == nil && w.starts == w.edge.starts.Load()
}

func (w *h3Wire) close() {
	_ = w.conn.CloseWithError(quic.ApplicationErrorCode(http3.ErrCodeNoError), "")
}

// request returns the message for a connection of HTTP/2 or 3.
func (m *soakMessage) request(ctx context.Context, host string) (*http.Request, error) {
	_, port, _ := net.SplitHostPort(host)
	request, err := http.NewRequestWithContext(ctx, m.method, "https://localhost:"+port+m.path, http.NoBody)
	if err != nil {
		return nil, err
	}
	for i := 0; i < len(m.fields); i += 2 {
		request.Header.Add(m.fields[i], m.fields[i+1])
	}
	if len(m.body) > 0 {
		request.Body, request.ContentLength = io.NopCloser(m.reader()), int64(len(m.body))
	}
	return request, nil
}

// reader returns the body, with the pauses in it.
func (m *soakMessage) reader() io.Reader {
	if m.pause == nil {
		return bytes.NewReader(m.body)
	}
	return &slowBody{rest: m.body, pause: m.pause}
}

// slowBody is a body that is sent in pieces.
type slowBody struct {
	rest  []byte
	piece int // what is left of the one that is being sent
	pause func() bool
}

func (b *slowBody) Read(p []byte) (int, error) {
	if len(b.rest) == 0 {
		return 0, io.EOF
	}
	const size = 300_000
	if b.piece == 0 {
		b.piece = size
	} else if b.piece < 0 {
		b.piece = size
		if !b.pause() {
			b.piece = len(b.rest)
		}
	}
	n := copy(p, b.rest[:min(len(b.rest), b.piece)])
	b.rest = b.rest[n:]
	if b.piece -= n; b.piece == 0 {
		b.piece = -1
	}
	return n, nil
}
