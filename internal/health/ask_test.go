package health

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/service"
)

func TestTheSecondPathIsAskedWhereNginxDoesNotKnowTheFirst(t *testing.T) {
	older, newer := &url.URL{Path: "/older"}, &url.URL{Path: "/newer"}
	away := errors.New("connection refused")
	var moved Moved
	for _, step := range []struct {
		what   string
		paths  []*url.URL
		answer map[string]error
		asked  string
		want   error
	}{
		{"one path", []*url.URL{older}, map[string]error{"/older": ErrNoRoute}, "/older", ErrNoRoute},
		{"the first is known", []*url.URL{older, newer}, map[string]error{}, "/older", nil},
		{"the node is away", []*url.URL{older, newer}, map[string]error{"/older": away}, "/older", away},
		{"neither is known", []*url.URL{older, newer}, map[string]error{"/older": ErrNoRoute, "/newer": ErrNoRoute}, "/older /newer", ErrNoRoute},
		{"the second is known", []*url.URL{older, newer}, map[string]error{"/older": ErrNoRoute}, "/older /newer", nil},
		{"it comes first now", []*url.URL{older, newer}, map[string]error{"/older": ErrNoRoute}, "/newer", nil},
		{"the node is set back", []*url.URL{older, newer}, map[string]error{"/newer": ErrNoRoute}, "/newer /older", nil},
		{"the first comes first again", []*url.URL{older, newer}, map[string]error{}, "/older", nil},
	} {
		var asked []string
		err := moved.Ask("m1:14240", step.paths, func(path *url.URL) error {
			asked = append(asked, path.Path)
			return step.answer[path.Path]
		})
		if got := strings.Join(asked, " "); got != step.asked || !errors.Is(err, step.want) {
			t.Errorf("%s: asked at %q, %v; want %q, %v", step.what, got, err, step.asked, step.want)
		}
	}
}

func TestAnAnswerIsReadUpToItsLimit(t *testing.T) {
	for _, test := range []struct {
		body io.Reader
		want error
	}{
		{strings.NewReader(`{"error":false,"message":"pong"}`), nil},
		{strings.NewReader(strings.Repeat(" ", MostBody) + `{}`), ErrTooLong},
		{strings.NewReader("pong"), ErrBody},
		{iotest.ErrReader(io.ErrUnexpectedEOF), io.ErrUnexpectedEOF},
	} {
		answer := &http.Response{StatusCode: http.StatusOK, Header: http.Header{}, Body: io.NopCloser(test.body)}
		if err := Read(t.Context(), service.GUI, answer, time.Second); !errors.Is(err, test.want) {
			t.Errorf("%v, want %v", err, test.want)
		}
	}
}

// endless is a body without an end, and knows how much of it was read.
type endless struct{ read int }

func (e *endless) Read(p []byte) (int, error) {
	e.read += len(p)
	if e.read > 1<<30 {
		return 0, io.EOF
	}
	return len(p), nil
}

func TestNoMoreOfAnAnswerIsReadThanCounts(t *testing.T) {
	body := new(endless)
	answer := &http.Response{StatusCode: http.StatusOK, Header: http.Header{}, Body: io.NopCloser(body)}
	if err := Read(t.Context(), service.GUI, answer, time.Second); !errors.Is(err, ErrTooLong) || body.read > 2*MostBody {
		t.Errorf("%v, after %d bytes", err, body.read)
	}
}

func TestAFailureIsToldInPlainWords(t *testing.T) {
	over, cancel := context.WithTimeout(t.Context(), 0)
	defer cancel()
	ours := &net.OpError{Op: "read", Net: "tcp", Source: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 5000}, Addr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 2), Port: 14240}, Err: errors.New("connection reset by peer")}
	for _, test := range []struct {
		ctx  context.Context
		err  error
		want string
	}{
		{t.Context(), context.DeadlineExceeded, "no answer within 2s"},
		{over, errors.New("use of closed connection"), "no answer within 2s"},
		{t.Context(), errors.New(`malformed HTTP response "s3cret"`), "the answer is not well-formed HTTP"},
		{t.Context(), errors.New(`bad "quotes"`), "the answer is not well-formed HTTP"},
		{t.Context(), &tls.CertificateVerificationError{Err: x509.HostnameError{Certificate: &x509.Certificate{DNSNames: []string{"a"}}, Host: `"b"`}}, `tls: failed to verify certificate: x509: certificate is valid for a, not "b"`},
		{
			t.Context(), &tls.CertificateVerificationError{Err: x509.HostnameError{Certificate: &x509.Certificate{DNSNames: []string{"a\x1b[2J\r\nb\x9b\u202e"}}, Host: "m1"}},
			"tls: failed to verify certificate: x509: certificate is valid for a\ufffd[2J\ufffd\ufffdb\ufffd\ufffd, not m1",
		},
		{t.Context(), errors.New(strings.Repeat("é", 1000)), strings.Repeat("é", longestText/2) + "…"},
		{t.Context(), errors.New("x" + strings.Repeat("é", 1000)), "x" + strings.Repeat("é", longestText/2-1) + "…"},
		{t.Context(), ours, "read tcp 127.0.0.2:14240: connection reset by peer"},
		{t.Context(), errors.New("connection refused"), "connection refused"},
	} {
		err := Explain(test.ctx, test.err, 2*time.Second)
		if err.Error() != test.want {
			t.Errorf("%q, want %q", err, test.want)
		}
		if errors.Is(test.err, ours) && !errors.Is(err, ours) {
			t.Error("the error is lost")
		}
	}
}

// What a certificate that has expired fails with is the same at each probe.
func TestAnExpiredCertificateReadsAlikeAtAnyTime(t *testing.T) {
	failure := &tls.CertificateVerificationError{Err: x509.CertificateInvalidError{
		Cert: new(x509.Certificate), Reason: x509.Expired, Detail: "current time 2026-11-26T06:56:05Z is after 2021-01-01T00:00:00Z",
	}}
	err := Explain(t.Context(), failure, time.Second)
	if !strings.HasSuffix(err.Error(), ": now is after 2021-01-01T00:00:00Z") || !strings.Contains(Advice("gui", err), "look at its dates") {
		t.Errorf("%v: %s", err, Advice("gui", err))
	}
}
