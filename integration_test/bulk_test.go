package integration_test

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"strconv"
	"testing"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/tgnode"
)

const gigabyte = 1 << 30

// pattern is what the bodies are made of. Its length is prime, so that a piece lost
// or repeated anywhere shows.
var pattern = bytes.Repeat([]byte("TigerGraph "), 11)[:113]

// patterned reads as the pattern over and over.
type patterned struct{ offset int64 }

func (p *patterned) Read(b []byte) (int, error) {
	n := copy(b, pattern[p.offset%int64(len(pattern)):])
	for n < len(b) {
		n += copy(b[n:], pattern)
	}
	p.offset += int64(n)
	return n, nil
}

// isPatterned reports whether a body is the pattern over and over, for so many
// bytes.
func isPatterned(body io.Reader, length int64) error {
	var want patterned
	got, expected := make([]byte, 1<<16), make([]byte, 1<<16)
	total := int64(0)
	for {
		n, err := body.Read(got)
		_, _ = want.Read(expected[:n])
		if !bytes.Equal(got[:n], expected[:n]) {
			return fmt.Errorf("something else after %d bytes", total)
		}
		total += int64(n)
		switch {
		case err == io.EOF && total == length:
			return nil
		case err != nil:
			return fmt.Errorf("after %d bytes: %w", total, err)
		}
	}
}

// startBulkNode serves a gigabyte, and takes one.
func startBulkNode(t *testing.T) (address string) {
	t.Helper()
	node := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			if err := isPatterned(r.Body, gigabyte); err != nil {
				http.Error(w, err.Error(), http.StatusBadRequest)
			}
			return
		}
		if r.URL.Path == "/restpp/query/g/known" {
			w.Header().Set("Content-Length", strconv.Itoa(gigabyte))
		}
		_, _ = io.CopyBuffer(struct{ io.Writer }{w}, io.LimitReader(new(patterned), gigabyte), make([]byte, 1<<16))
	}))
	t.Cleanup(node.Close)
	return node.Listener.Addr().String()
}

// peak is the most memory that a process has held so far, in bytes.
func (p *process) peak() int64 {
	p.t.Helper()
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.command.Process.Pid))
	if err != nil {
		p.t.Skip("this needs /proc, from which the memory of a process is read and which CI has: ", err)
	}
	found := regexp.MustCompile(`VmHWM:\s+(\d+) kB`).FindSubmatch(status)
	if found == nil {
		p.t.Fatalf("no VmHWM in %s", status)
	}
	kilobytes, _ := strconv.ParseInt(string(found[1]), 10, 64)
	return kilobytes << 10
}

func TestAGigabytePassesInConstantMemory(t *testing.T) {
	if testing.Short() {
		t.Skip("this moves gigabytes, so it needs a run without -short, which CI's is")
	}
	node, plain, secure := startBulkNode(t), freeAddress(t), freeAddress(t)
	_, port, _ := net.SplitHostPort(secure)
	config, _, err := tgnode.SelfSigned("localhost")
	if err != nil {
		t.Fatal(err)
	}
	certificate, key := writePEM(t, config.Certificates[0])
	edge := startProcess(t, caddyBinary, processOptions(t.TempDir())+"}\n"+
		"http://"+plain+" {\ntigergraph "+node+" {\nhealth_check off\n}\n}\n"+
		"https://localhost:"+port+" {\ntls "+certificate+" "+key+"\ntigergraph "+node+" {\nhealth_check off\n}\n}\n")
	edge.listening(plain)
	edge.listening(secure)
	client := newBrowser(t, "https://localhost:"+port, 2, &tls.Config{InsecureSkipVerify: true}).http
	client.Timeout = 0
	for _, base := range []string{"http://" + plain, "https://localhost:" + port} {
		warm, err := client.Post(base+"/restpp/ddl/g", "text/csv", bytes.NewReader(nil))
		if err != nil {
			t.Fatal(err)
		}
		warm.Body.Close()
		before := edge.peak()
		for _, path := range []string{"known", "unknown"} {
			response, err := client.Get(base + "/restpp/query/g/" + path)
			if err != nil {
				t.Fatal(err)
			}
			if err := isPatterned(response.Body, gigabyte); err != nil {
				t.Errorf("%s: a download of %s length: %v", base, path, err)
			}
			response.Body.Close()
		}
		for _, length := range []int64{gigabyte, -1} {
			request, err := http.NewRequest(http.MethodPost, base+"/restpp/ddl/g", io.LimitReader(new(patterned), gigabyte))
			if err != nil {
				t.Fatal(err)
			}
			request.ContentLength = length
			response, err := client.Do(request)
			if err != nil {
				t.Fatal(err)
			}
			if answer, _ := io.ReadAll(response.Body); response.StatusCode != http.StatusOK {
				t.Errorf("%s: an upload with the length %d: %d %s", base, length, response.StatusCode, answer)
			}
			response.Body.Close()
		}
		if grown := edge.peak() - before; grown > 64<<20 {
			t.Errorf("%s: the memory grew by %d MB", base, grown>>20)
		}
	}
}
