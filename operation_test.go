package tigergraph_test

import (
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

// selectFor returns the address that the policy chooses for a client, "" if it
// chooses none.
func selectFor(tb testing.TB, policy string, nodes int) func(client, path, cookie string) (address, set string) {
	tb.Helper()
	handler := provisionHandler(tb, policy, nodes)
	return func(client, path, cookie string) (string, string) {
		writer := nothing{make(http.Header)}
		request := prepare(httptest.NewRequest(http.MethodGet, "http://example.com"+path, nil), writer)
		caddyhttp.SetVar(request.Context(), caddyhttp.ClientIPVarKey, client)
		if cookie != "" {
			request.Header.Set("Cookie", cookie)
		}
		upstream := handler.LoadBalancing.SelectionPolicy.Select(handler.Upstreams, request, writer)
		set, _, _ := strings.Cut(writer.header.Get("Set-Cookie"), ";")
		if upstream == nil {
			return "", set
		}
		return upstream.Dial, set
	}
}

// someClients returns the addresses of random clients, the same in each run.
func someClients(count int) []string {
	random := rand.New(rand.NewPCG(3, 4))
	clients := make([]string, count)
	for i := range clients {
		v4 := random.Uint32()
		clients[i] = netip.AddrFrom4([4]byte{byte(v4 >> 24), byte(v4 >> 16), byte(v4 >> 8), byte(v4)}).String()
	}
	return clients
}

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
		for _, client := range someClients(6000) {
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
	for _, client := range someClients(1000) {
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
			const policy = `{"policy":"tigergraph","cookie":{"secrets":["s"]},"health_check_off":true,%s}`
			before := selectFor(t, fmt.Sprintf(policy, `"weights":{}`), 3)
			choose := selectFor(t, fmt.Sprintf(policy, test.option), 3)
			counts := make(map[string]int)
			for _, client := range someClients(300) {
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

func TestJSONWithNodesThatAreNoUpstreamsIsRefused(t *testing.T) {
	upstreams := fmt.Sprintf(`"upstreams":[{"dial":%q},{"dial":%q}]`, node1, node2)
	for _, test := range []struct{ name, options, want string }{
		{"weight", `"weights":{"m9:14240":2}`, "weight: 'm9:14240' is not an upstream; the upstreams are " + node1 + ", " + node2},
		{"backup", fmt.Sprintf(`"backup":[%q,"m9:14240"]`, node2), "backup: 'm9:14240' is not an upstream; the upstreams are " + node1 + ", " + node2},
		{"drain", `"drain":["m9"]`, "drain: 'm9' is not an upstream; the upstreams are " + node1 + ", " + node2},
		{"another port", `"drain":["10.0.0.1:1"]`, "drain: '10.0.0.1:1' is not an upstream"},
		{"no address", `"drain":["10.0.0.1,"]`, "drain: node '10.0.0.1,' is not an address"},
		{"backup twice in two spellings", `"backup":["10.0.0.1","10.0.0.1:14240"]`, "backup names '10.0.0.1:14240' twice"},
		{"standby of no upstream", `"standby":[{"name":"dr","nodes":["m9"]}]`, "standby: 'm9' is not an upstream"},
		{"nothing but standbys", `"standby":[{"name":"dr","nodes":["10.0.0.1","10.0.0.2"]}]`, "every upstream is a standby's: none is left for the cluster 'primary'"},
		{"standby without nodes", `"standby":[{"name":"dr"}]`, "the standby 'dr' needs nodes"},
		{"standby_reads", `"standby_reads":true`, "standby_reads needs a standby"},
		{"spread", `"spread":["gui"]`, "spread must be 'restpp' or 'off', not 'gui'"},
		{"negative weight", fmt.Sprintf(`"weights":{%q:-1}`, node1), "the weight of '" + node1 + "' must be from 0 to 65535, not -1"},
		{"large weight", fmt.Sprintf(`"weights":{%q:65536}`, node1), "must be from 0 to 65535, not 65536"},
		{"a fraction", fmt.Sprintf(`"weights":{%q:1.5}`, node1), "cannot unmarshal number 1.5"},
		{"backup twice", fmt.Sprintf(`"backup":[%q,%[1]q]`, node1), "backup names '" + node1 + "' twice"},
		{"drain twice", fmt.Sprintf(`"drain":[%q,%[1]q]`, node1), "drain names '" + node1 + "' twice"},
		{"failback", `"failback":"-1s"`, "failback must not be negative"},
		{"slow_start", `"slow_start":"-1s"`, "slow_start must not be negative"},
	} {
		t.Run(test.name, func(t *testing.T) {
			err := provision(t, upstreams, test.options)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("%v, want %q", err, test.want)
			}
		})
	}
	if err := provision(t, upstreams, `"weights":{"https://10.0.0.1":2},"backup":["10.0.0.2."],"drain":["tcp4/10.0.0.1"],"spread":[],"cluster":"blue"`); err != nil {
		t.Errorf("nodes in other spellings: %v", err)
	}
	if err := provision(t, upstreams, fmt.Sprintf(`"weights":{%q:65535},"backup":[%q],"drain":[%[1]q]`, node1, node2)); err != nil {
		t.Error(err)
	}
}

func TestADynamicSourceMayBringTheNodesOfOptions(t *testing.T) {
	dynamic := `"dynamic_upstreams":{"source":"multi","sources":[]}`
	if err := provision(t, dynamic, `"weights":{"m9:14240":2},"backup":["m8:14240"],"drain":["m7:14240"]`); err != nil {
		t.Error(err)
	}
}

// provision provisions a proxy with these upstreams and options of the policy.
func provision(t *testing.T, upstreams, options string) error {
	t.Helper()
	ctx, err := caddy.ProvisionContext(&caddy.Config{Admin: &caddy.AdminConfig{Disabled: true}})
	if err != nil {
		t.Fatal(err)
	}
	config := `{` + upstreams + `,"load_balancing":{"selection_policy":{"policy":"tigergraph","health_check_off":true,"cookie":{"secrets":["s"]},` + options + `}}}`
	if !json.Valid([]byte(config)) {
		t.Fatalf("no JSON: %s", config)
	}
	_, err = ctx.LoadModuleByID("http.handlers.reverse_proxy", []byte(config))
	return err
}

// BenchmarkWeights shows that equal weights cost what no weights do, and unequal
// ones a logarithm for each node.
func BenchmarkWeights(b *testing.B) {
	for _, bench := range []struct{ name, weights string }{
		{"none", `{}`},
		{"equal", fmt.Sprintf(`{%q:7,%q:7,%q:7}`, node1, node2, node3)},
		{"unequal", fmt.Sprintf(`{%q:1,%q:2,%q:3}`, node1, node2, node3)},
	} {
		b.Run("weights="+bench.name, func(b *testing.B) {
			handler := provisionHandler(b, `{"policy":"tigergraph","affinity":"client_ip","weights":`+bench.weights+`}`, 3)
			writer := nothing{make(http.Header)}
			request := prepare(httptest.NewRequest(http.MethodGet, "http://example.com/restpp/echo", nil), writer)
			vars := request.Context().Value(caddyhttp.VarsCtxKey).(map[string]any)
			replacer := request.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
			pristine := *replacer
			b.ReportAllocs()
			for b.Loop() {
				delete(vars, "tigergraph.visit")
				*replacer = pristine
				if handler.LoadBalancing.SelectionPolicy.Select(handler.Upstreams, request, writer) == nil {
					b.Fatal("no node")
				}
			}
		})
	}
}
