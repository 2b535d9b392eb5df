package upload_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/upload"
)

func TestOnlyLongUploadsOverHTTP1AreKept(t *testing.T) {
	for _, test := range []struct {
		name   string
		major  int
		length int64
		body   io.Reader
		want   bool
	}{
		{"no body", 1, 0, nil, false},
		{"a short body", 1, 256 << 10, strings.NewReader("x"), false},
		{"a long body", 1, 256<<10 + 1, strings.NewReader("x"), true},
		{"a body of unknown length", 1, -1, strings.NewReader("x"), true},
		{"over HTTP/2", 2, -1, strings.NewReader("x"), false},
	} {
		r := httptest.NewRequest(http.MethodPost, "/", test.body)
		r.ProtoMajor, r.ContentLength = test.major, test.length
		before := r.Body
		if kept := upload.Keep(r); (kept != nil) != test.want || (r.Body != before) != test.want {
			t.Errorf("%s: kept %t", test.name, kept != nil)
		}
	}
}

// A client that sends everything before it looks at the answer gets it, although nobody
// wanted what it sent.
func TestTheAnswerToAnUploadThatNobodyReadsReachesTheClient(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body := upload.Keep(r)
		_ = r.Body.Close() // as the proxy does
		if _, err := r.Body.Read(make([]byte, 1)); err == nil {
			t.Error("a closed body is read")
		}
		w.WriteHeader(http.StatusRequestEntityTooLarge)
		body.Drain(w)
		r.Body = body.ReadCloser
	}))
	t.Cleanup(server.Close)
	conn, err := net.Dial("tcp", server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(30 * time.Second))
	const length = 16 << 20
	_, _ = fmt.Fprintf(conn, "POST / HTTP/1.1\r\nHost: edge\r\nContent-Length: %d\r\n\r\n", length)
	if sent, err := io.Copy(conn, io.LimitReader(zeros{}, length)); err != nil {
		t.Fatalf("after %d bytes: %v", sent, err)
	}
	answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil || answer.StatusCode != http.StatusRequestEntityTooLarge {
		t.Errorf("%v, %v", answer, err)
	}
}

// Where somebody else writes the answer, what is left is read before. Nothing is where
// the client waits until it is asked.
func TestTheRestOfAnUploadIsDiscardedUnlessTheClientWaits(t *testing.T) {
	for _, test := range []struct {
		expect string
		left   int
	}{{"", 0}, {"100-continue", 1 << 20}} {
		body := strings.NewReader(strings.Repeat("x", 1<<20))
		r := httptest.NewRequest(http.MethodPost, "/", body)
		if test.expect != "" {
			r.Header.Set("Expect", test.expect)
		}
		w := deadlines{httptest.NewRecorder()}
		kept := upload.Keep(r)
		if kept.Discard(w); body.Len() != test.left || w.Flushed {
			t.Errorf("expecting %q: %d bytes are left, flushed %t", test.expect, body.Len(), w.Flushed)
		}
	}
}

// deadlines is a recorder that lets reading have a deadline.
type deadlines struct{ *httptest.ResponseRecorder }

func (deadlines) SetReadDeadline(time.Time) error { return nil }

// zeros never end.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) { return len(p), nil }
