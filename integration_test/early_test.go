package integration_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/tgnode"
)

// relay is somebody on the way between a client and the edge, over UDP, who keeps
// what the clients send.
type relay struct {
	net.PacketConn
	edge net.Addr

	mu        sync.Mutex
	datagrams [][]byte // of the client that sent last, since recording began
	// held: what the edge sends is kept from the client, whose handshake therefore
	// cannot come to its end.
	held bool
}

// startRelay starts a relay to an edge.
func startRelay(t *testing.T, edge string) *relay {
	t.Helper()
	address, err := net.ResolveUDPAddr("udp4", edge)
	if err != nil {
		t.Fatal(err)
	}
	front, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	r := &relay{PacketConn: front, edge: address}
	var group sync.WaitGroup
	var backs []net.PacketConn
	group.Go(func() {
		byClient := make(map[string]net.PacketConn)
		buffer := make([]byte, 1<<16)
		for {
			n, client, err := front.ReadFrom(buffer)
			if err != nil {
				for _, back := range backs {
					back.Close()
				}
				return
			}
			back := byClient[client.String()]
			if back == nil {
				if back, err = net.ListenPacket("udp4", "127.0.0.1:0"); err != nil {
					t.Error(err)
					return
				}
				byClient[client.String()], backs = back, append(backs, back)
				group.Go(func() { r.answer(back, client) })
			}
			r.mu.Lock()
			r.datagrams = append(r.datagrams, bytes.Clone(buffer[:n]))
			r.mu.Unlock()
			_, _ = back.WriteTo(buffer[:n], address)
		}
	})
	t.Cleanup(func() {
		front.Close()
		group.Wait()
	})
	return r
}

// answer passes on what the edge sends to a client.
func (r *relay) answer(back net.PacketConn, client net.Addr) {
	buffer := make([]byte, 1<<16)
	for {
		n, _, err := back.ReadFrom(buffer)
		if err != nil {
			return
		}
		r.mu.Lock()
		held := r.held
		r.mu.Unlock()
		if !held {
			_, _ = r.WriteTo(buffer[:n], client)
		}
	}
}

// hold begins a new recording, and keeps the edge's answers from its clients, or no
// more.
func (r *relay) hold(held bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.held = held
	if held {
		r.datagrams = nil
	}
}

// replay sends what was recorded to the edge once more, from another port.
func (r *relay) replay(t *testing.T) {
	t.Helper()
	conn, err := net.Dial("udp4", r.edge.String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, datagram := range r.datagrams {
		_, _ = conn.Write(datagram)
	}
}

// resumption is an HTTP/3 client that comes back with what it has of its last
// connection, and sends its requests before the handshake is complete.
type resumption struct {
	t       *testing.T
	address string // to dial
	tls     *tls.Config
}

// connect returns a new connection, its context that of the dialling alone.
func (c *resumption) connect() *http3.Transport {
	transport := &http3.Transport{
		TLSClientConfig: c.tls,
		QUICConfig:      &quic.Config{HandshakeIdleTimeout: enough, DisablePathMTUDiscovery: true},
		Dial: func(ctx context.Context, _ string, tlsConfig *tls.Config, quicConfig *quic.Config) (*quic.Conn, error) {
			return quic.DialAddrEarly(ctx, c.address, tlsConfig, quicConfig)
		},
	}
	c.t.Cleanup(func() { _ = transport.Close() })
	return transport
}

// get sends a request and returns the status of its answer.
func (c *resumption) get(transport *http3.Transport, method, url string) int {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), enough)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, method, url, nil)
	if err != nil {
		c.t.Fatal(err)
	}
	response, err := transport.RoundTrip(request)
	if err != nil {
		c.t.Error(err)
		return 0
	}
	defer response.Body.Close()
	_, _ = io.Copy(io.Discard, response.Body)
	return response.StatusCode
}

// countTarget returns how many requests for this path have come to a node.
func countTarget(node *tgnode.Node, path string) (count int) {
	for _, request := range node.Requests() {
		if target, _, _ := strings.Cut(request.Target, "?"); target == path {
			count++
		}
	}
	return count
}

func TestEarlyDataDoNothingThatMustNotBeDoneTwice(t *testing.T) {
	cluster, nodes := startCluster(t, 1)
	e := newEdge(t)
	e.loadTLS("tigergraph " + addresses(nodes))
	_, port, _ := net.SplitHostPort(e.address)
	way := startRelay(t, e.address)
	client := &resumption{t: t, address: way.LocalAddr().String(), tls: &tls.Config{
		InsecureSkipVerify: true, ServerName: "localhost", NextProtos: []string{http3.NextProtoH3},
		ClientSessionCache: tls.NewLRUClientSessionCache(8),
	}}
	const read, deed = "/restpp/endpoints/social", "/gsql/v1/drop-all"
	url := func(path string) string { return "https://localhost:" + port + path }

	// Only one who has been there before can send anything early.
	first := client.connect()
	if status := client.get(first, http.MethodGet, url(read)); status != http.StatusOK {
		t.Fatalf("the first request: %d", status)
	}
	if status := client.get(first, http.MethodGet, url(deed)); status != http.StatusOK || cluster.Ledger().Count(tgnode.DropAll) != 1 {
		t.Fatalf("after a handshake: %d, done %d times", status, cluster.Ledger().Count(tgnode.DropAll))
	}
	_ = first.Close()
	before := countTarget(nodes[0], read)

	way.hold(true)
	second := client.connect()
	var group sync.WaitGroup
	for path, want := range map[string]int{read: http.StatusOK, deed: http.StatusTooEarly} {
		group.Go(func() {
			if status := client.get(second, http3.MethodGet0RTT, url(path)); status != want {
				t.Errorf("%s in early data: %d, expected %d", path, status, want)
			}
		})
	}
	eventually(t, "what may be sent twice passes before the handshake is complete", func() bool {
		return countTarget(nodes[0], read) > before
	})
	sent := countTarget(nodes[0], read)
	way.hold(false)
	group.Wait()
	_ = second.Close()

	// Somebody sends the client's first datagrams again, as often as it takes for
	// the edge to take them for another client's.
	last := time.Time{}
	eventually(t, "early data are replayed", func() bool {
		if time.Since(last) > 200*time.Millisecond {
			last = time.Now()
			way.replay(t)
		}
		return countTarget(nodes[0], read) > sent
	})
	if done := cluster.Ledger().Count(tgnode.DropAll); done != 1 {
		t.Errorf("all was dropped %d times, once of them asked for in time", done)
	}
}

func TestWhatAProxyInFrontGotEarlyIsRefused(t *testing.T) {
	cluster, nodes := startCluster(t, 1)
	e := newEdge(t)
	e.load("tigergraph " + addresses(nodes))
	b := e.newBrowser(2)
	for _, value := range []string{"1", "1, 1", "yes"} {
		if a := b.get("/gsql/v1/drop-all", "Early-Data", value); a.StatusCode != http.StatusTooEarly || len(a.Cookies()) > 0 {
			t.Errorf("Early-Data: %s: %d %v", value, a.StatusCode, a.Header)
		}
		if a := b.get("/restpp/endpoints/social", "Early-Data", value); a.StatusCode != http.StatusOK {
			t.Errorf("a read with Early-Data: %s: %d", value, a.StatusCode)
		}
	}
	if done := cluster.Ledger().Count(tgnode.DropAll); done != 0 {
		t.Errorf("all was dropped %d times", done)
	}
}
