package tigergraph

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
)

// Whatever a node answers to a probe is a result, which tells nobody what the node
// said.
func FuzzProbe(f *testing.F) {
	const secret = "s3cr3t-of-the-node"
	for _, seed := range []string{
		"HTTP/1.1 200 OK\r\nContent-Length: 33\r\n\r\n" + `{"error":false,"message":"pong"}` + "\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n12\r\n" + secret + "\r\n0\r\n\r\n",
		"HTTP/1.1 " + secret + " OK\r\n\r\n", secret + "\r\n\r\n", "HTTP/1.1 200 OK\r\n" + secret + "\r\n\r\n", "HTTP/1.1 200 OK\r\n" + secret + ": a\r\n b\r\n\r\n",
		"HTTP/1.1 200 OK\r\nContent-Length: " + secret + "\r\n\r\n", "HTTP/1.1 200 OK\r\nTransfer-Encoding: " + secret + "\r\n\r\n",
		"HTTP/1.1 302 Found\r\nLocation: http://" + secret + "/\r\n\r\n", "HTTP/1.1 101 Switching Protocols\r\nUpgrade: " + secret + "\r\n\r\n" + secret,
		"HTTP/1.1 103 Early Hints\r\nLink: " + secret + "\r\n\r\nHTTP/1.1 502 Bad Gateway\r\n\r\n" + secret, "HTTP/1.0 200 OK\r\n\r\n" + secret, "HTTP/2.0 200 OK\r\n\r\n", "",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: a\r\n\r\n" + secret + "\r\n", "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n" + secret, "HTTP/1.1 304 Not Modified\r\n\r\n", "HTTP/1.1 999 x\r\n\r\n",
	} {
		f.Add([]byte(seed))
	}
	services := new(Services)
	if err := services.Provision(caddy.Context{}); err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, answer []byte) {
		transport := &http.Transport{DisableKeepAlives: true, DialContext: func(context.Context, string, string) (net.Conn, error) {
			edge, node := net.Pipe()
			go func() {
				defer node.Close()
				if _, err := http.ReadRequest(bufio.NewReader(node)); err == nil {
					_, _ = node.Write(answer)
				}
			}()
			return edge, nil
		}}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		for _, name := range []string{"gui", "restpp", "gsql"} {
			err := services.Probe(ctx, transport, reverseproxy.DialInfo{Network: "tcp", Address: "m1:14240", Host: "m1", Port: "14240"}, name)
			if err == nil {
				if name == "gui" && !bytes.Contains(answer, []byte("pong")) && !bytes.Contains(answer, []byte("chunked")) {
					t.Errorf("%q passed", answer)
				}
				continue
			}
			if text := err.Error(); strings.Contains(text, secret) || !utf8.ValidString(text) || len(text) > 500 || strings.ContainsAny(text, "\r\n\x00") {
				t.Errorf("%q is told by %q", answer, text)
			}
			if errors.Is(err, context.DeadlineExceeded) || strings.Contains(err.Error(), "no answer within") {
				t.Errorf("%q was waited for", answer)
			}
		}
	})
}
