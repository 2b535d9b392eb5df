package integration_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/tgnode"
)

// sendFirst uploads 16 MiB over HTTP/1.1, all of it before it looks at the answer, as most
// libraries do.
func (e *edge) sendFirst(t *testing.T, fields string) *http.Response {
	t.Helper()
	const length = 16 << 20
	conn, err := net.Dial("tcp", e.address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(2 * enough))
	_, _ = fmt.Fprintf(conn, "POST /restpp/ddl/social HTTP/1.1\r\nHost: %s\r\nContent-Length: %d\r\n%s\r\n", e.address, length, fields)
	piece := []byte(strings.Repeat("1,2,3,4,5,6,7,8\n", 4<<10))
	for sent := 0; sent < length; sent += len(piece) {
		if _, err := conn.Write(piece); err != nil {
			t.Fatalf("after %d bytes: %v", sent, err)
		}
	}
	answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, answer.Body); err != nil {
		t.Fatal(err)
	}
	return answer
}

func TestAnUploadThatTheEdgeRefusesIsAnswered(t *testing.T) {
	_, gone := startCluster(t, 2)
	_, resetting := startCluster(t, 1)
	_, second := startCluster(t, 1)
	for _, node := range gone {
		node.Stop()
	}
	resetting[0].SetFault(tgnode.All, tgnode.Fault{Mode: tgnode.ResetEarly})
	nobody := cluster(gone, "health_check off")
	for _, test := range []struct {
		name, site, fields string
		status             int
	}{
		{"no node is left", nobody, "", http.StatusServiceUnavailable},
		{"no node is left, with a page", nobody + "\nhandle_errors {\nrespond \"no node is left\" {err.status_code}\n}", "", http.StatusServiceUnavailable},
		{"no node is left anywhere", nobody + "\nhandle_errors {\n" + nobody + "\n}", "", http.StatusServiceUnavailable},
		{
			"it may have been done",
			cluster(resetting, "health_check off") + "\nhandle_errors {\n" + cluster(second, "health_check off") + "\n}", "", http.StatusBadGateway,
		},
		{"it came early", nobody, "Early-Data: 1\r\n", http.StatusTooEarly},
	} {
		t.Run(test.name, func(t *testing.T) {
			e := newEdge(t)
			e.load(test.site)
			a := e.sendFirst(t, test.fields)
			if a.StatusCode != test.status || (a.Header.Get("Retry-After") != "") != (test.status == http.StatusServiceUnavailable) {
				t.Errorf("%d %v", a.StatusCode, a.Header)
			}
		})
	}
}

// What no node of the first has got is not thrown away before the second has had it.
func TestASecondProxyGetsAnUploadThatNeverLeft(t *testing.T) {
	_, first := startCluster(t, 2)
	secondCluster, second := startCluster(t, 1)
	for _, node := range first {
		node.Stop()
	}
	e := newEdge(t)
	e.load(cluster(first, "health_check off") + "\nhandle_errors {\n" + cluster(second, "health_check off") + "\n}")
	if a := e.sendFirst(t, ""); a.StatusCode != http.StatusOK || secondCluster.Ledger().Total() != 1 {
		t.Errorf("%d, done %d times", a.StatusCode, secondCluster.Ledger().Total())
	}
}

// A client that waits until it is asked is not made to send what nobody wants.
func TestAnUploadThatIsRefusedIsNotAskedFor(t *testing.T) {
	_, nodes := startCluster(t, 1)
	nodes[0].Stop()
	e := newEdge(t)
	e.load(cluster(nodes, "health_check off"))
	answer := e.raw("POST /restpp/ddl/social HTTP/1.1\r\nHost: "+e.address+"\r\nExpect: 100-continue\r\nContent-Length: 16777216\r\n\r\n", "\r\n\r\n")
	if !strings.HasPrefix(answer, "HTTP/1.1 503 ") {
		t.Errorf("%q", answer)
	}
}

// A client whose body cannot be taken is to blame for it behind a first proxy, too.
func TestAClientsFaultIsNoFailureOfAProxy(t *testing.T) {
	_, first := startCluster(t, 1)
	secondCluster, second := startCluster(t, 1)
	for name, behind := range anyProxies {
		t.Run(name, func(t *testing.T) {
			e := newEdge(t)
			e.load("request_body {\nmax_size 1KiB\n}\n" + cluster(first, "health_check off") + "\nhandle_errors {\n" + behind(second, "") + "\n}")
			if a := e.newBrowser(2).do(http.MethodPost, "/restpp/ddl/social", make([]byte, 10<<10)); a.StatusCode != http.StatusRequestEntityTooLarge {
				t.Errorf("a body that is too long: %d", a.StatusCode)
			}
			conn, err := net.Dial("tcp", e.address)
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			_ = conn.SetDeadline(time.Now().Add(enough))
			_, _ = fmt.Fprintf(conn, "POST /restpp/ddl/social HTTP/1.1\r\nHost: %s\r\nTransfer-Encoding: chunked\r\n\r\nno length\r\n", e.address)
			if a, err := http.ReadResponse(bufio.NewReader(conn), nil); err != nil || a.StatusCode != http.StatusBadRequest {
				t.Errorf("a body that is none: %v, %v", a, err)
			}
		})
	}
	if done := secondCluster.Ledger().Total(); done != 0 {
		t.Errorf("done %d times by the second", done)
	}
}
