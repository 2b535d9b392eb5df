package integration_test

import (
	"bufio"
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/tgnode"
)

var earlyUploads = flag.Int("early-uploads", 400, "how many uploads TestTheEdgeSurvivesUploadsThatAreAnsweredEarly sends")

// A node's nginx answers an upload that is too large for it when it has read the
// header, and closes the connection. Go's transport may then still read the client's
// body when the handler has returned, and below v2.11.7 Caddy set a deadline for that
// read on an HTTP/2 stream that was gone: a nil pointer, in a goroutine that nobody
// can recover, which ended the process.
func TestTheEdgeSurvivesUploadsThatAreAnsweredEarly(t *testing.T) {
	node, answered := startRefusingNode(t)
	address := freeAddress(t)
	_, port, _ := net.SplitHostPort(address)
	config, pool, err := tgnode.SelfSigned("localhost")
	if err != nil {
		t.Fatal(err)
	}
	certificate, key := writePEM(t, config.Certificates[0])
	p := startProcess(t, caddyBinary, processOptions(t.TempDir())+fmt.Sprintf(`}
https://localhost:%s {
	tls %q %q
	tigergraph %s {
		health_check off
		fail_duration 0
	}
}
`, port, certificate, key, node))
	p.listening(address)

	transport := &http.Transport{ForceAttemptHTTP2: true}
	transport.TLSClientConfig = config.Clone()
	transport.TLSClientConfig.RootCAs = pool
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport, Timeout: enough}

	// Some are sent as they come, some with their length.
	var sent, refused atomic.Int64
	var clients sync.WaitGroup
	for range 8 {
		clients.Go(func() {
			for {
				number := sent.Add(1)
				if number > int64(*earlyUploads) {
					return
				}
				body := bytes.NewReader(make([]byte, 200_000))
				var upload io.Reader = body
				if number%2 == 0 {
					upload = io.MultiReader(body)
				}
				request, err := http.NewRequest(http.MethodPost, "https://"+net.JoinHostPort("localhost", port)+"/restpp/ddl/g?tag=load", upload)
				if err != nil {
					t.Error(err)
					return
				}
				response, err := client.Do(request)
				select {
				case <-p.ended:
					return // what is left would only say so as well
				default:
				}
				if err != nil {
					continue // an answer may be lost when a connection breaks; the edge may not
				}
				_, _ = io.Copy(io.Discard, response.Body) // its end may be lost as well
				_ = response.Body.Close()
				if response.StatusCode == http.StatusRequestEntityTooLarge {
					refused.Add(1)
				}
			}
		})
	}
	clients.Wait()
	select {
	case <-p.ended:
		_, cause, _ := strings.Cut(p.output.String(), "\npanic: ")
		t.Fatalf("after %d uploads the edge has ended: %.2000s", sent.Load(), cause)
	default:
	}
	if answered.Load() < int64(*earlyUploads)/2 || refused.Load() == 0 {
		t.Errorf("the node refused %d uploads, and the clients learned of %d", answered.Load(), refused.Load())
	}
	// It still serves.
	response, err := client.Get("https://" + net.JoinHostPort("localhost", port) + "/restpp/echo")
	if err != nil {
		t.Fatal(err)
	}
	_ = response.Body.Close()
	t.Logf("%d uploads: the node refused %d, the clients learned of %d", *earlyUploads, answered.Load(), refused.Load())
}

// startRefusingNode starts a node that reads the header of a request and nothing of
// its body, answers 413 and closes. It counts what it has answered.
func startRefusingNode(t *testing.T) (address string, answered *atomic.Int64) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	answered = new(atomic.Int64)
	var connections sync.WaitGroup
	connections.Go(func() {
		for {
			conn, err := listener.Accept()
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if err != nil {
				continue
			}
			connections.Go(func() {
				defer conn.Close()
				for lines := bufio.NewReader(conn); ; {
					line, err := lines.ReadString('\n')
					if err != nil {
						return // a connection that was never used
					}
					if strings.TrimSpace(line) == "" {
						break
					}
				}
				_, _ = io.WriteString(conn, "HTTP/1.1 413 Request Entity Too Large\r\nContent-Length: 9\r\nConnection: close\r\n\r\ntoo large") // the edge may be gone
				answered.Add(1)
			})
		}
	})
	t.Cleanup(func() {
		_ = listener.Close()
		connections.Wait()
	})
	return listener.Addr().String(), answered
}
