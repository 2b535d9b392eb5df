package integration_test

import (
	"fmt"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/tgnode"
)

// nameServer answers questions for A and SRV records over UDP on loopback.
type nameServer struct {
	conn net.PacketConn
	port uint16 // of the SRV records' targets

	mu        sync.Mutex
	addresses map[string][][4]byte // by name, with its final dot
	targets   []string             // of the SRV records
}

func startNameServer(t *testing.T, port string) *nameServer {
	t.Helper()
	number, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		t.Fatal(err)
	}
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &nameServer{conn: conn, port: uint16(number), addresses: make(map[string][][4]byte)}
	go s.serve()
	t.Cleanup(func() { conn.Close() })
	return s
}

func (s *nameServer) serve() {
	buffer := make([]byte, 512)
	for {
		n, client, err := s.conn.ReadFrom(buffer)
		if err != nil {
			return
		}
		var message dnsmessage.Message
		if message.Unpack(buffer[:n]) != nil || len(message.Questions) != 1 {
			continue
		}
		s.answer(&message)
		if packed, err := message.Pack(); err == nil {
			s.conn.WriteTo(packed, client)
		}
	}
}

func (s *nameServer) answer(message *dnsmessage.Message) {
	s.mu.Lock()
	defer s.mu.Unlock()
	question := message.Questions[0]
	header := dnsmessage.ResourceHeader{Name: question.Name, Type: question.Type, Class: question.Class, TTL: 1}
	message.Header = dnsmessage.Header{ID: message.ID, Response: true, Authoritative: true, RecursionAvailable: true}
	message.Additionals = nil
	switch question.Type {
	case dnsmessage.TypeA:
		for _, address := range s.addresses[strings.ToLower(question.Name.String())] {
			message.Answers = append(message.Answers, dnsmessage.Resource{Header: header, Body: &dnsmessage.AResource{A: address}})
		}
	case dnsmessage.TypeSRV:
		for _, target := range s.targets {
			message.Answers = append(message.Answers, dnsmessage.Resource{Header: header, Body: &dnsmessage.SRVResource{
				Port: s.port, Target: dnsmessage.MustNewName(target),
			}})
		}
	default: // there is nothing of another type
	}
}

// point makes a name mean these nodes.
func (s *nameServer) point(name string, nodes ...*tgnode.Node) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.addresses[name] = nil
	for _, node := range nodes {
		host, _, _ := net.SplitHostPort(node.Addr())
		s.addresses[name] = append(s.addresses[name], [4]byte(net.ParseIP(host).To4()))
	}
}

func (s *nameServer) setTargets(targets ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.targets = targets
}

// startNeighbours starts nodes on 127.0.0.2, .3 and so on, with one port.
func startNeighbours(t *testing.T, count int) (nodes []*tgnode.Node, port string) {
	t.Helper()
	_, port, _ = net.SplitHostPort(freeAddress(t))
	cluster := tgnode.NewCluster()
	t.Cleanup(cluster.Close)
	for i := range count {
		if _, err := cluster.Start(tgnode.Options{Address: fmt.Sprintf("127.0.0.%d:%s", i+2, port)}); err != nil {
			t.Fatal(err)
		}
	}
	return cluster.Nodes(), port
}

func TestNodesOfADynamicSourceAreProbed(t *testing.T) {
	nodes, port := startNeighbours(t, 3)
	names := startNameServer(t, port)
	e := newEdge(t)
	resolver := names.conn.LocalAddr().String()
	for _, test := range []struct {
		name, source, transport string
		// point makes the source name these nodes.
		point func(...*tgnode.Node)
		// address is how the edge calls a node.
		address func(int) string
	}{
		{
			"a", "dynamic a {\nname a-records.test\nport " + port + "\nversions ipv4\nresolvers " + resolver + "\nrefresh 10ms\n}", "",
			func(nodes ...*tgnode.Node) { names.point("a-records.test.", nodes...) },
			func(i int) string { return nodes[i].Addr() },
		},
		{
			"srv", "dynamic srv {\nservice tigergraph\nproto tcp\nname srv-records.test\nresolvers " + resolver + "\nrefresh 10ms\n}",
			"transport http {\nresolvers " + resolver + "\n}", // the targets are names
			func(nodes ...*tgnode.Node) {
				var targets []string
				for _, node := range nodes {
					names.point(node.Name()+".test.", node)
					targets = append(targets, node.Name()+".test.")
				}
				names.setTargets(targets...)
			},
			func(i int) string { return nodes[i].Name() + ".test.:" + port },
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			e.t = t
			isVerdict := func(i int, service tgnode.Service, up float64) bool {
				value, known := e.scrape()[fmt.Sprintf(`caddy_tigergraph_node_up{node=%q,service=%q}`, test.address(i), service)]
				return known && value == up
			}
			test.point(nodes[:2]...)
			site := withMetrics("reverse_proxy {\n" + test.source + "\nlb_policy tigergraph {\n" + quick + "\n}\n" + test.transport + "\n}")
			e.load(site)
			b := e.stranger(2)
			eventually(t, "both nodes are up", func() bool {
				return b.insist("/api/__echo").StatusCode == http.StatusOK && isVerdict(0, tgnode.GUI, 1) && isVerdict(1, tgnode.GSQL, 1)
			})

			// The session of a client with a new address survives a reload, after
			// which no node is known yet.
			first := e.newBrowser(30)
			home := first.login()
			host := byte(31)
			for e.stranger(host).get("/api/__echo").echo(t).Node == home {
				host++
			}
			moved := e.newBrowser(host)
			moved.http.Jar = first.http.Jar
			e.load("header X-Reload yes\n" + site)
			if a := moved.insist("/api/auth/whoami"); a.StatusCode != http.StatusOK {
				t.Errorf("a reload cost the session: %d", a.StatusCode)
			}

			// Nobody asks for the site meanwhile, and yet it is noticed.
			nodes[0].SetFault(tgnode.GUI, deadPing)
			eventually(t, "the first node's GUI is down", func() bool { return isVerdict(0, tgnode.GUI, 0) })
			for host := byte(2); host < 22; host++ {
				if node := e.stranger(host).get("/api/__echo").echo(t).Node; node != nodes[1].Name() {
					t.Fatalf("answered by %s, which is down", node)
				}
			}

			test.point(nodes...)
			eventually(t, "the third node is found and probed", func() bool {
				b.get("/api/__echo")
				return isVerdict(2, tgnode.RESTPP, 1)
			})
			nodes[0].ClearFaults()
			eventually(t, "the first node is back", func() bool { return isVerdict(0, tgnode.GUI, 1) })

			// A node that left the names gets no request, but is remembered.
			test.point(nodes[1:]...)
			eventually(t, "the first node has left", func() bool {
				for host := byte(2); host < 22; host++ {
					if e.stranger(host).get("/api/__echo").echo(t).Node == nodes[0].Name() {
						return false
					}
				}
				return true
			})
			if !isVerdict(0, tgnode.GUI, 1) {
				t.Error("the node is forgotten already")
			}
		})
	}
}

// What is known of the nodes of a dynamic source survives a reload, although no request
// tells the new configuration which nodes there are.
func TestVerdictsOfDynamicNodesSurviveAReloadWithoutRequests(t *testing.T) {
	nodes, port := startNeighbours(t, 2)
	names := startNameServer(t, port)
	names.point("verdicts.test.", nodes...)
	source := "dynamic a {\nname verdicts.test\nport " + port + "\nversions ipv4\nresolvers " + names.conn.LocalAddr().String() + "\nrefresh 20ms\n}\n"
	for name, site := range map[string]string{
		"the directive": "tigergraph {\n" + source + quick + "\n}",
		"a proxy":       "reverse_proxy {\n" + source + "lb_policy tigergraph {\n" + quick + "\n}\n}",
	} {
		t.Run(name, func(t *testing.T) {
			e := newEdge(t)
			verdict := func() (up float64, known bool) {
				up, known = e.scrape()[fmt.Sprintf(`caddy_tigergraph_node_up{node=%q,service="gui"}`, nodes[0].Addr())]
				return up, known
			}
			e.load(withMetrics(site))
			await := func(want float64) {
				eventually(t, fmt.Sprintf("the verdict on the first node's GUI is %v", want), func() bool {
					up, known := verdict()
					return known && up == want
				})
			}
			e.stranger(2).insist("/api/__echo") // by which the nodes are known
			await(1)
			nodes[0].SetFault(tgnode.GUI, deadPing) // for which requests would vouch, if there were any
			defer nodes[0].ClearFaults()
			await(0)
			for range 2 {
				e.load("header X-Reload yes\n" + withMetrics(site))
				if up, known := verdict(); !known || up != 0 {
					t.Fatalf("after a reload the node's GUI is known: %t, up: %v", known, up)
				}
				e.load(withMetrics(site))
				if up, known := verdict(); !known || up != 0 {
					t.Fatalf("after another reload the node's GUI is known: %t, up: %v", known, up)
				}
				if node := e.stranger(3).get("/api/__echo").echo(t).Node; node != nodes[1].Name() {
					t.Errorf("answered by %s, which is down", node)
				}
			}
		})
	}
}

// The directive keeps the nodes that it knows, whatever becomes of the resolver.
func TestTheDirectiveOutlivesItsResolver(t *testing.T) {
	nodes, port := startNeighbours(t, 3)
	names := startNameServer(t, port)
	e := newEdge(t)
	site := "tigergraph {\ndynamic a {\nname kept.test\nport " + port + "\nversions ipv4\nresolvers " + names.conn.LocalAddr().String() + "\nrefresh 20ms\n}\n" + quick + "\n}"
	names.point("kept.test.", nodes[:2]...)
	e.load(site)
	answeredBy := func(host byte) string {
		t.Helper()
		a := e.stranger(host).get("/api/__echo")
		if a.StatusCode != http.StatusOK {
			t.Fatalf("%d", a.StatusCode)
		}
		return a.echo(t).Node
	}
	answeredBy(2)
	names.point("kept.test.") // an answer without addresses
	for host := byte(2); host < 40; host++ {
		answeredBy(host)
	}
	names.point("kept.test.", nodes[2])
	eventually(t, "the new node is found", func() bool { return answeredBy(2) == nodes[2].Name() })

	names.conn.Close()
	e.load("header X-Reload yes\n" + site)
	began := time.Now()
	for host := byte(2); host < 40; host++ {
		if node := answeredBy(host); node != nodes[2].Name() {
			t.Errorf("answered by %s", node)
		}
	}
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("38 requests took %s", took)
	}
}
