package integration_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/tgnode"
)

// uploads are where clients send something to each service.
var uploads = []string{"/api/up", "/restpp/ddl/social", "/gsqlserver/gsql/file"}

// never is a path that no service answers under a node with hangingPaths.
const never = "never"

// hangingPaths makes a node answer nothing under these paths of each service.
func hangingPaths(node *tgnode.Node) {
	for service, folder := range map[tgnode.Service]string{tgnode.GUI: "/api/", tgnode.RESTPP: "/restpp/", tgnode.GSQL: "/gsqlserver/"} {
		node.SetFault(service, tgnode.Fault{Mode: tgnode.Hang, Path: folder + never})
	}
}

// mostOfABody is what a site with misdeedOptions takes.
const mostOfABody = 1 << 10

// misdeedOptions are options of a site and of its proxy that some misdeeds need.
const (
	misdeedGlobals = "servers {\ntimeouts {\nread_body_idle 700ms\n}\n}\n"
	misdeedSite    = "request_body {\nmax_size 1KiB\n}\n"
	misdeedProxy   = "header_up X-User {http.request.uri.query.user}\n"
)

// offender is a client that does what no client should, over one version of HTTP.
type offender struct {
	protocol string
	address  string
	http     *http.Client
	trusting *tls.Config
}

// offend sends a request, and leaves after a moment if nobody does before. What it
// comes to is nobody's concern.
func (o *offender) offend(ctx context.Context, method, target string, body io.Reader, length int64) {
	request, err := http.NewRequestWithContext(ctx, method, "https://"+o.address+target, body)
	if err != nil {
		return
	}
	request.ContentLength = length
	response, err := o.http.Do(request)
	if err != nil {
		return
	}
	_, _ = io.Copy(io.Discard, response.Body)
	_ = response.Body.Close()
}

// stalled is a body that has no end.
type stalled struct{ ctx context.Context }

func (s stalled) Read([]byte) (int, error) {
	<-s.ctx.Done()
	return 0, s.ctx.Err()
}

// misdeeds are what clients do wrong, each done once, with a path of uploads.
var misdeeds = []struct {
	name   string
	commit func(ctx context.Context, o *offender, path string)
}{
	{"malformed", func(ctx context.Context, o *offender, path string) { o.malform(ctx, path) }},
	{"truncated", func(ctx context.Context, o *offender, path string) {
		for _, length := range []int64{-1, mostOfABody} {
			o.offend(ctx, http.MethodPost, path, io.MultiReader(strings.NewReader("1,2"), iotest.ErrReader(errors.New("cut off"))), length)
		}
	}},
	{"too large", func(ctx context.Context, o *offender, path string) {
		for _, length := range []int64{-1, 10 * mostOfABody} {
			o.offend(ctx, http.MethodPost, path, io.MultiReader(bytes.NewReader(make([]byte, 10*mostOfABody))), length)
		}
	}},
	{"given up", func(ctx context.Context, o *offender, path string) {
		folder := path[:strings.IndexByte(path[1:], '/')+2]
		ctx, leave := context.WithTimeout(ctx, 20*time.Millisecond)
		defer leave()
		o.offend(ctx, http.MethodGet, folder+never, nil, 0)
		o.offend(ctx, http.MethodPost, folder+never, strings.NewReader("1,2"), 3)
	}},
	{"left in the middle", func(ctx context.Context, o *offender, path string) {
		ctx, leave := context.WithTimeout(ctx, 20*time.Millisecond)
		defer leave()
		o.offend(ctx, http.MethodPost, path, io.MultiReader(strings.NewReader("1,2"), stalled{ctx}), -1)
	}},
	{"stalled", func(ctx context.Context, o *offender, path string) {
		// Longer than the edge or the client waits: Go's client waits for the body's end,
		// if nothing of the request has left.
		ctx, leave := context.WithTimeout(ctx, 2*time.Second)
		defer leave()
		o.offend(ctx, http.MethodPost, path, io.MultiReader(strings.NewReader("1,2"), stalled{ctx}), mostOfABody)
	}},
	{"a header that cannot be sent", func(ctx context.Context, o *offender, path string) {
		for _, method := range []string{http.MethodGet, http.MethodPost} {
			o.offend(ctx, method, path+"?user="+url.QueryEscape("anna\r\nX-Admin: 1"), nil, 0)
		}
	}},
}

// offenders returns a client that does wrong for each version of HTTP.
func offenders(e *edge) (list []*offender) {
	_, port, _ := net.SplitHostPort(e.address)
	for protocol, client := range fronts(e) {
		client.Timeout = time.Second
		client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
		list = append(list, &offender{
			protocol: strings.ReplaceAll(protocol, "/", ""), address: net.JoinHostPort("localhost", port), http: client,
			trusting: &tls.Config{InsecureSkipVerify: true, ServerName: "localhost"},
		})
	}
	return list
}

// malform sends a body that is not as the protocol says it must be.
func (o *offender) malform(ctx context.Context, path string) {
	ctx, leave := context.WithTimeout(ctx, time.Second)
	defer leave()
	switch o.protocol {
	case "HTTP1.1":
		o.malformOne(ctx, path)
	case "HTTP2.0":
		o.malformTwo(ctx, path)
	default: // its client does not mind that it sends fewer bytes than it said
		o.offend(ctx, http.MethodPost, path, strings.NewReader("1,2"), 100)
	}
}

// dial returns a connection that ends with the context.
func (o *offender) dial(ctx context.Context, protocol string) net.Conn {
	config := o.trusting.Clone()
	config.NextProtos = []string{protocol}
	conn, err := (&tls.Dialer{Config: config}).DialContext(ctx, "tcp", o.address)
	if err != nil {
		return nil
	}
	if deadline, ok := ctx.Deadline(); ok {
		_ = conn.SetDeadline(deadline)
	}
	return conn
}

// malformOne sends a chunk whose length is no number.
func (o *offender) malformOne(ctx context.Context, path string) {
	conn := o.dial(ctx, "http/1.1")
	if conn == nil {
		return
	}
	defer conn.Close()
	fmt.Fprintf(conn, "POST %s HTTP/1.1\r\nHost: %s\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\n", path, o.address)
	_, _ = io.Copy(io.Discard, conn)
}

// malformTwo sends fewer bytes than it said.
func (o *offender) malformTwo(ctx context.Context, path string) {
	conn := o.dial(ctx, "h2")
	if conn == nil {
		return
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, http2.ClientPreface); err != nil {
		return
	}
	framer := http2.NewFramer(conn, conn)
	var block bytes.Buffer
	encoder := hpack.NewEncoder(&block)
	for _, field := range [][2]string{{":method", "POST"}, {":scheme", "https"}, {":authority", o.address}, {":path", path}, {"content-length", "100"}} {
		_ = encoder.WriteField(hpack.HeaderField{Name: field[0], Value: field[1]}) // into memory
	}
	_ = framer.WriteSettings()
	_ = framer.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block.Bytes(), EndHeaders: true})
	if framer.WriteData(1, true, []byte("1,2")) != nil {
		return
	}
	for {
		frame, err := framer.ReadFrame()
		if err != nil {
			return
		}
		if header := frame.Header(); header.StreamID == 1 && (header.Type == http2.FrameRSTStream || header.Flags.Has(http2.FlagDataEndStream)) {
			return
		}
	}
}

// whileItGoesOn does something wrong fifteen times, and then all the time while it
// asks as an innocent.
func whileItGoesOn(t *testing.T, commit func(ctx context.Context, turn int), ask func(turn int)) {
	t.Helper()
	const first, hands, questions = 15, 3, 30
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	done := make(chan struct{}, 1)
	ended := make(chan struct{})
	for hand := range hands {
		go func() {
			defer func() { ended <- struct{}{} }()
			for turn := hand; ctx.Err() == nil; turn += hands {
				moment, leave := context.WithTimeout(ctx, time.Second)
				commit(moment, turn)
				leave()
				select {
				case done <- struct{}{}:
				case <-ctx.Done():
				}
			}
		}()
	}
	defer func() {
		stop()
		for range hands {
			<-ended
		}
	}()
	for range first {
		<-done
	}
	for turn := range questions {
		ask(turn)
		if turn%3 == 0 {
			<-done // it has not come to an end
		}
		if t.Failed() {
			return
		}
	}
}
