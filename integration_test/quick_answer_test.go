package integration_test

import (
	"bufio"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/tgnode"
)

// A node that begins to answer the moment it has the last byte of a request may be
// quicker than the edge is to note that this was the last. With another policy one
// stream in ten breaks off here after its first line.
func TestAStreamIsWholeHoweverSoonItBegins(t *testing.T) {
	_, nodes := startCluster(t, 1)
	e := newEdge(t)
	e.load(proxyTo(nodes, "tigergraph"))
	conn, err := net.Dial("tcp", e.address)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(4 * enough))
	reader := bufio.NewReader(conn)
	const command = "lines 3 2ms"
	head := fmt.Sprintf("POST /gsqlserver/gsql/command HTTP/1.1\r\nHost: %s\r\nAuthorization: Basic %s\r\nContent-Length: %d\r\n\r\n",
		e.address, base64.StdEncoding.EncodeToString([]byte("anna:"+tgnode.Password)), len(command))
	for range 300 {
		for _, part := range []string{head, command} { // as Java sends them
			if _, err := io.WriteString(conn, part); err != nil {
				t.Fatal(err)
			}
		}
		response, err := http.ReadResponse(reader, &http.Request{Method: http.MethodPost})
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(response.Body)
		if err != nil || !strings.HasSuffix(string(body), "__GSQL__RETURN__CODE__,0\n") {
			t.Fatalf("%v after %q", err, body)
		}
	}
}
