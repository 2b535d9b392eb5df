//go:build unix

package tigergraph

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"syscall"
	"testing"
)

// BenchmarkTransport compares the transport with Go's client, without and with a body
// of 1 KB, over loopback connections.
func BenchmarkTransport(b *testing.B) {
	answer := bytes.Repeat([]byte("x"), 200)
	node := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.Copy(io.Discard, r.Body)
		_, _ = w.Write(answer)
	}))
	b.Cleanup(node.Close)
	content := bytes.Repeat([]byte("x"), 1000)
	for _, method := range []string{http.MethodGet, http.MethodPost} {
		ours := newTransport(b, `{}`)
		for name, transport := range map[string]http.RoundTripper{"http": &ours.HTTPTransport, "tigergraph": ours} {
			b.Run(method+"/"+name, func(b *testing.B) {
				b.ReportAllocs()
				before := processorTime(b)
				b.RunParallel(func(pb *testing.PB) {
					for pb.Next() {
						r := liveRequest(b, b.Context(), method, node.URL+"/restpp/query/g/q", nil, 0)
						if method == http.MethodPost {
							r.Body, r.ContentLength = &repeatableUpload{bytes.NewReader(content)}, int64(len(content))
						}
						res, err := transport.RoundTrip(r)
						if err != nil {
							b.Fatal(err)
						}
						_, _ = io.Copy(io.Discard, res.Body)
						res.Body.Close()
					}
				})
				b.ReportMetric(float64(processorTime(b)-before)/float64(b.N), "cpu-ns/op")
			})
		}
	}
}

// processorTime is what the process has used of it: the clock tells more of what else
// runs on the machine.
func processorTime(b *testing.B) int64 {
	b.Helper()
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		b.Fatal(err)
	}
	return usage.Utime.Nano() + usage.Stime.Nano()
}

// repeatableUpload is a body as a server has it: nothing that Go's client knows.
type repeatableUpload struct{ io.Reader }

func (*repeatableUpload) Close() error { return nil }
