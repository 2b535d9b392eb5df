package tigergraph_test

import (
	"fmt"
	"math"
	"testing"
)

const (
	node1 = "10.0.0.1:14240" // the names that provisionHandler gives
	node2 = "10.0.0.2:14240"
	node3 = "10.0.0.3:14240"
)

func TestSelectSharesClientsByWeight(t *testing.T) {
	const policy = `{"policy":"tigergraph","cookie":{"secrets":["s"]},"health_check_off":true,"weights":{%q:1,%q:2,%q:3}}`
	choose := selectFor(t, fmt.Sprintf(policy, node1, node2, node3), 3)
	for _, path := range []string{"/", "/gsqlserver/gsql/version", "/restpp/showprocesslist/g"} {
		counts := make(map[string]int)
		for _, client := range randomAddresses(6000) {
			address, _ := choose(client, path, "")
			counts[address]++
		}
		for i, address := range []string{node1, node2, node3} {
			if want := 1000 * (i + 1); math.Abs(float64(counts[address]-want)) > 0.05*float64(want) {
				t.Errorf("%s: the node of weight %d has %d of 6000 clients, want %d within 5 %%", path, i+1, counts[address], want)
			}
		}
	}
}

func TestEqualWeightsAreNoWeights(t *testing.T) {
	plain := selectFor(t, oursByClientIP, 3)
	equal := selectFor(t, fmt.Sprintf(`{"policy":"tigergraph","affinity":"client_ip","weights":{%q:7,%q:7,%q:7}}`, node1, node2, node3), 3)
	for _, client := range randomAddresses(1000) {
		before, _ := plain(client, "/", "")
		if after, _ := equal(client, "/", ""); after != before {
			t.Fatalf("%s is at %s, with equal weights at %s", client, before, after)
		}
	}
}

// Each of these options takes new clients from a node and leaves it those that
// have its cookie.
func TestSelectWithNodesThatTakeNoNewClients(t *testing.T) {
	for _, test := range []struct {
		name, option string
		stays        bool
	}{
		{"weight 0", fmt.Sprintf(`"weights":{%q:0}`, node1), true},
		{"drain", fmt.Sprintf(`"drain":[%q]`, node1), true},
		{"backup", fmt.Sprintf(`"backup":[%q]`, node1), false},
	} {
		t.Run(test.name, func(t *testing.T) {
			const policy = `{"policy":"tigergraph","cookie":{"secrets":["s"],` + lifetimeText + `},"health_check_off":true,%s}`
			before := selectFor(t, fmt.Sprintf(policy, `"weights":{}`), 3)
			choose := selectFor(t, fmt.Sprintf(policy, test.option), 3)
			counts := make(map[string]int)
			for _, client := range randomAddresses(300) {
				old, cookie := before(client, "/", "")
				address, set := choose(client, "/", "")
				counts[address]++
				if old != node1 && address != old {
					t.Fatalf("%s was moved from %s to %s", client, old, address)
				}
				pinned, renewed := choose(client, "/", cookie)
				switch {
				case old == node1 && !test.stays:
					if pinned == node1 || renewed != set {
						t.Fatalf("a client with a cookie for it is sent to %s, and given %q", pinned, renewed)
					}
				case pinned != old || renewed != "":
					t.Fatalf("a client with a cookie for %s is sent to %s, and given %q", old, pinned, renewed)
				}
			}
			if counts[node1] != 0 || counts[node2] == 0 || counts[node3] == 0 {
				t.Errorf("new clients get %v", counts)
			}
		})
	}
	t.Run("alone", func(t *testing.T) {
		choose := selectFor(t, fmt.Sprintf(`{"policy":"tigergraph","weights":{%q:0},"health_check_off":true,"cookie":{"secrets":["s"]}}`, node1), 1)
		if address, _ := choose("192.0.2.1", "/", ""); address != node1 {
			t.Errorf("with the only node of weight 0 a client gets %q", address)
		}
		closed := selectFor(t, fmt.Sprintf(`{"policy":"tigergraph","weights":{%q:0},"fail_closed":true,"health_check_off":true,"cookie":{"secrets":["s"]}}`, node1), 1)
		if address, _ := closed("192.0.2.1", "/", ""); address != "" {
			t.Errorf("with fail_closed it gets %q", address)
		}
	})
}
