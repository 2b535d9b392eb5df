package affinity

import (
	"fmt"
	"math"
	"math/rand/v2"
	"net/netip"
	"testing"
)

var whole = Prefixes{IPv4: 32, IPv6: 64}

func seedsOf(count int) []uint64 {
	seeds := make([]uint64, count)
	for i := range seeds {
		seeds[i] = Seed(fmt.Sprintf("10.0.0.%d:14240", i+1))
	}
	return seeds
}

// randomClients returns the keys of random IPv4 addresses, the same ones in
// each run.
func randomClients(count int) []uint64 {
	random := rand.New(rand.NewPCG(1, 2))
	keys := make([]uint64, count)
	for i := range keys {
		v4 := random.Uint32()
		keys[i] = whole.Key(netip.AddrFrom4([4]byte{byte(v4 >> 24), byte(v4 >> 16), byte(v4 >> 8), byte(v4)}).String())
	}
	return keys
}

func TestClientsSpreadEvenlyOverNodes(t *testing.T) {
	const clients = 300_000
	for _, nodes := range []int{2, 3, 10, 100} {
		seeds, counts := seedsOf(nodes), make([]int, nodes)
		for _, key := range randomClients(clients) {
			counts[Home(key, seeds)]++
		}
		// 1 % of equal for three nodes; elsewhere five standard deviations of
		// that many coin tosses.
		equal := float64(clients) / float64(nodes)
		tolerance := 5 * math.Sqrt(equal)
		if nodes == 3 {
			tolerance = 0.01 * equal
		}
		for node, count := range counts {
			if math.Abs(float64(count)-equal) > tolerance {
				t.Errorf("node %d of %d has %d clients, want %.0f ± %.0f", node, nodes, count, equal, tolerance)
			}
		}
	}
}

func TestLosingANodeMovesOnlyItsClients(t *testing.T) {
	keys, three := randomClients(300_000), seedsOf(3)
	moved := 0
	for _, key := range keys {
		before, after := Home(key, three), Home(key, three[:2])
		switch {
		case before == 2:
			moved++
		case before != after:
			t.Fatalf("a client moved from live node %d to %d", before, after)
		}
	}
	if share := 100 * float64(moved) / float64(len(keys)); math.Abs(share-33.3) > 0.5 {
		t.Errorf("%.2f %% moved, want 33.3 ± 0.5", share)
	}
}

func TestGainingANodeMovesClientsOnlyToIt(t *testing.T) {
	keys, four := randomClients(300_000), seedsOf(4)
	moved := 0
	for _, key := range keys {
		before, after := Home(key, four[:3]), Home(key, four)
		switch {
		case after == 3:
			moved++
		case before != after:
			t.Fatalf("a client moved from node %d to old node %d", before, after)
		}
	}
	if share := 100 * float64(moved) / float64(len(keys)); math.Abs(share-25) > 0.5 {
		t.Errorf("%.2f %% moved, want 25 ± 0.5", share)
	}
}

func TestNeighboursInOneNetworkSpread(t *testing.T) {
	seeds, counts := seedsOf(3), make([]int, 3)
	for host := range 256 {
		counts[Home(whole.Key(fmt.Sprintf("192.0.2.%d", host)), seeds)]++
	}
	for node, count := range counts {
		if count < 256/3/2 {
			t.Errorf("node %d has %d of 256 clients", node, count)
		}
	}
}

// These values are the protocol between edges: one that computes others sends
// clients elsewhere than its neighbours do.
func TestScoresNeverChange(t *testing.T) {
	for _, test := range []struct {
		client, node string
		want         uint64
	}{
		{"192.0.2.1", "10.0.0.1:14240", 0xd4a722726c986848},
		{"192.0.2.1", "10.0.0.2:14240", 0x120039c5b300bde8},
		{"2001:db8::1", "m1:14240", 0xb03c9a22065d7b41},
	} {
		if got := Score(whole.Key(test.client), Seed(test.node)); got != test.want {
			t.Errorf("score of %s on %s is %#x, want %#x", test.client, test.node, got, test.want)
		}
	}
}

func TestWeightedNodesGetTheirShare(t *testing.T) {
	weights, seeds := []float64{1, 2, 3}, seedsOf(3)
	counts := make([]int, 3)
	for _, key := range randomClients(6000) {
		counts[WeightedHome(key, seeds, weights)]++
	}
	for node, count := range counts {
		if want := 1000 * (node + 1); math.Abs(float64(count-want)) > 0.05*float64(want) {
			t.Errorf("the node of weight %d has %d of 6000 clients, want %d within 5 %%", node+1, count, want)
		}
	}
}

func TestEqualWeightsChangeNothing(t *testing.T) {
	seeds := seedsOf(5)
	for _, key := range randomClients(10_000) {
		if plain, weighted := Home(key, seeds), WeightedHome(key, seeds, []float64{7, 7, 7, 7, 7}); plain != weighted {
			t.Fatalf("client %#x is at %d, with equal weights at %d", key, plain, weighted)
		}
	}
}

func TestAHeavierNodeOnlyGainsClients(t *testing.T) {
	seeds := seedsOf(3)
	for _, key := range randomClients(10_000) {
		before, after := WeightedHome(key, seeds, []float64{1, 1, 1}), WeightedHome(key, seeds, []float64{1, 1.5, 1})
		if before != after && after != 1 {
			t.Fatalf("a client moved from %d to %d", before, after)
		}
	}
}

func TestANodeWithoutWeightIsNobodysHome(t *testing.T) {
	seeds := seedsOf(3)
	for _, key := range randomClients(1000) {
		if WeightedHome(key, seeds, []float64{1, 0, 1}) == 1 {
			t.Fatal("a node of weight 0 has a client")
		}
	}
	if home := WeightedHome(1, seeds, []float64{0, 0, 0}); home != -1 {
		t.Errorf("home is %d although no node has weight", home)
	}
}

func TestHomeOfNoNode(t *testing.T) {
	if got := Home(1, nil); got != -1 {
		t.Errorf("home is %d, want -1", got)
	}
}

func TestKeysOfAddresses(t *testing.T) {
	key := Prefixes{IPv4: 32, IPv6: 64}.Key
	office := Prefixes{IPv4: 24, IPv6: 48}.Key
	odd := Prefixes{IPv4: 20, IPv6: 57}.Key
	for _, test := range []struct {
		name string
		a, b uint64
		same bool
	}{
		{"another address is another client", key("192.0.2.1"), key("192.0.2.2"), false},
		{"a port does not matter", key("192.0.2.1"), key("192.0.2.1:5555"), true},
		{"nor does it in IPv6", key("2001:db8::1"), key("[2001:db8::1]:5555"), true},
		{"IPv4-mapped IPv6 is IPv4", key("192.0.2.1"), key("::ffff:192.0.2.1"), true},
		{"and is cut as IPv4", office("::ffff:192.0.2.1"), office("192.0.2.200"), true},
		{"an IPv6 network is one client", key("2001:db8::1"), key("2001:db8::ffff:2"), true},
		{"the next network is another", key("2001:db8::1"), key("2001:db8:0:1::1"), false},
		{"a zone does not matter", key("fe80::1%eth0"), key("fe80::1%eth1"), true},
		{"a /24 is one client", office("192.0.2.1"), office("192.0.2.254"), true},
		{"the next /24 is another", office("192.0.2.1"), office("192.0.3.1"), false},
		{"bits within a byte, same", odd("10.0.16.1"), odd("10.0.31.255"), true},
		{"bits within a byte, other", odd("10.0.16.1"), odd("10.0.32.1"), false},
		{"IPv6 bits within a byte, same", odd("2001:db8:0:1::"), odd("2001:db8:0:7f::"), true},
		{"IPv6 bits within a byte, other", odd("2001:db8:0:1::"), odd("2001:db8:0:80::"), false},
		{"no address: its own key", key(""), key("@"), false},
		{"no address: stable", key("nonsense"), key("nonsense"), true},
	} {
		if (test.a == test.b) != test.same {
			t.Errorf("%s: %#x and %#x", test.name, test.a, test.b)
		}
	}
}

// Two clients have one key if, and only if, they are one: the same address in any
// spelling, or addresses of one network.
func FuzzKey(f *testing.F) {
	for _, seed := range []string{"", "192.0.2.1", "[::1]:80", "fe80::1%eth0", "999.1.1.1", "@", "::ffff:1.2.3.4", "1.2.3.4:99999", "[::1%a]:1"} {
		f.Add(seed, "192.0.2.77", byte(32), byte(64))
		f.Add("::1", seed, byte(23), byte(127))
	}
	f.Add("10.0.0.1", "10.0.1.1", byte(22), byte(64))
	f.Add("2001:db8::", "2001:db8:0:0:100::", byte(32), byte(70))
	f.Fuzz(func(t *testing.T, client, other string, ipv4, ipv6 byte) {
		prefixes := Prefixes{IPv4: 1 + int(ipv4)%32, IPv6: 1 + int(ipv6)%128}
		network := func(client string) (name string, isAddress bool) {
			address, err := netip.ParseAddr(client)
			if withPort, portErr := netip.ParseAddrPort(client); err != nil && portErr == nil {
				address, err = withPort.Addr(), nil
			}
			if err != nil {
				return client, false
			}
			address = address.Unmap().WithZone("")
			bits := prefixes.IPv6
			if address.Is4() {
				bits = prefixes.IPv4
			}
			return netip.PrefixFrom(address, bits).Masked().String(), true
		}
		first, firstIsAddress := network(client)
		second, secondIsAddress := network(other)
		one := first == second
		if same := prefixes.Key(client) == prefixes.Key(other); same != one && firstIsAddress == secondIsAddress {
			t.Errorf("%q and %q with %+v have one key: %t, want %t", client, other, prefixes, same, one)
		}
		if address, err := netip.ParseAddr(client); err == nil {
			for _, spelling := range []string{address.String(), address.Unmap().String(), netip.AddrPortFrom(address, 443).String()} {
				if prefixes.Key(spelling) != prefixes.Key(client) {
					t.Errorf("%q and %q are two clients", client, spelling)
				}
			}
		}
	})
}
