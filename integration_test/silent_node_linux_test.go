package integration_test

import (
	"net"
	"net/http"
	"syscall"
	"testing"
	"time"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/tgnode"
)

// silence takes a node away, and lets nobody connect to its address any more, nor tells
// anybody so, as where a machine is off.
func silence(t *testing.T, node *tgnode.Node) {
	t.Helper()
	address, err := net.ResolveTCPAddr("tcp4", node.Addr())
	if err != nil {
		t.Fatal(err)
	}
	node.Stop()
	socket, err := syscall.Socket(syscall.AF_INET, syscall.SOCK_STREAM|syscall.SOCK_CLOEXEC, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Close(socket) })
	if err := syscall.SetsockoptInt(socket, syscall.SOL_SOCKET, syscall.SO_REUSEADDR, 1); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Bind(socket, &syscall.SockaddrInet4{Port: address.Port, Addr: [4]byte(address.IP.To4())}); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Listen(socket, 0); err != nil {
		t.Fatal(err)
	}
	for range 10 { // Nobody accepts, and there is room for one or two.
		conn, err := net.DialTimeout("tcp4", node.Addr(), time.Second)
		if err != nil {
			return
		}
		t.Cleanup(func() { conn.Close() })
	}
	t.Fatal("the address takes connections without end")
}

// While its node is silent a session moves as soon as others are known to be better, and
// where probes are rare somebody has to ask.
func TestASessionLeavesASilentNodeAlthoughProbesAreRare(t *testing.T) {
	_, nodes := startCluster(t, 3)
	e, a := newAdminEdge(t)
	e.load(cluster(nodes, "health_check {\ninterval 5m\ntimeout 20s\n}\ntransport tigergraph {\ndial_timeout 2s\n}"))
	a.allUp()
	b := e.newBrowser(2)
	home := b.login()
	for range 3 { // what they answer now, nobody remembers
		for host := byte(10); host < 30; host++ {
			e.stranger(host).get("/api/__echo")
		}
	}
	for _, node := range nodes {
		if node.Name() == home {
			silence(t, node)
		}
	}
	began := time.Now()
	for {
		answer, err := b.try(http.MethodGet, "/api/__echo", nil)
		if err == nil && answer.StatusCode == http.StatusOK {
			return
		}
		if time.Since(began) > enough {
			t.Fatalf("%v, %v after %s", answer, err, enough)
		}
	}
}
