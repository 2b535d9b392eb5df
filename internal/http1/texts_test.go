package http1

import (
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
)

// Whoever looks for the text of an error finds what Go's client says.
func TestErrorsReadLikeGos(t *testing.T) {
	long := "HTTP/1.1 200 OK\r\nX: " + strings.Repeat("x", 2<<10) + "\r\n\r\n"
	for name, answer := range map[string]string{
		"no HTTP":                  "SSH-2.0-OpenSSH_9.9\r\n",
		"no status":                "HTTP/1.1\r\n\r\n",
		"a status that is none":    "HTTP/1.1 abc OK\r\n\r\n",
		"a version that is none":   "HTTX/1.1 200 OK\r\n\r\n",
		"a line without a colon":   "HTTP/1.1 200 OK\r\nnonsense\r\n\r\n",
		"a length that is none":    "HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n",
		"two lengths":              "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
		"a coding that is unknown": "HTTP/1.1 200 OK\r\nTransfer-Encoding: slow\r\n\r\n",
		"a header that is cut off": "HTTP/1.1 200 OK\r\nX: a",
		"a header that is long":    long,
		"nothing":                  "",
	} {
		t.Run(name, func(t *testing.T) {
			s := startServer(t, func(conn net.Conn, _ *http.Request, _ int) bool {
				_, _ = io.WriteString(conn, answer)
				return false
			})
			goes := &http.Transport{MaxResponseHeaderBytes: 1 << 10}
			defer goes.CloseIdleConnections()
			res, err := goes.RoundTrip(s.request(t.Context()))
			if err == nil {
				res.Body.Close()
				t.Fatal("Go's client takes it for an answer")
			}
			terms := never
			terms.Limits = Limits{Bytes: 1 << 10}
			if _, ours := newClient(t).RoundTrip(s.request(t.Context()), terms); ours == nil || !strings.Contains(ours.Error(), err.Error()) {
				t.Errorf("%v, and Go's: %v", ours, err)
			}
		})
	}
}
