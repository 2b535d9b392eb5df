package tigergraph_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
)

func TestJSONThatCannotBeMeantIsRefusedByName(t *testing.T) {
	t.Setenv("TIGERGRAPH_TEST_EMPTY", "")
	const secret = "hunter2-hunter2"
	for policy, want := range map[string]string{
		`{"policy":"tigergraph","affinity":"sticky"}`:                                                   "affinity",
		`{"policy":"tigergraph","affinity":"header"}`:                                                   "header",
		`{"policy":"tigergraph","affinity":"header","header":"X User"}`:                                 "header",
		`{"policy":"tigergraph","header":"X-User"}`:                                                     "header",
		`{"policy":"tigergraph","ipv4_prefix":33}`:                                                      "ipv4_prefix",
		`{"policy":"tigergraph","ipv4_prefix":-1}`:                                                      "ipv4_prefix",
		`{"policy":"tigergraph","ipv6_prefix":129}`:                                                     "ipv6_prefix",
		`{"policy":"tigergraph","affinity":"none","cookie":{}}`:                                         "cookie",
		`{"policy":"tigergraph","affinity":"none","fallback":{"policy":"first"}}`:                       "fallback",
		`{"policy":"tigergraph","fallback":{"policy":"unheard_of"}}`:                                    "fallback",
		`{"policy":"tigergraph","fallback":{"policy":"tigergraph","ipv4_prefix":33}}`:                   "fallback",
		`{"policy":"tigergraph","surprise":true}`:                                                       "surprise",
		`{"policy":"tigergraph","cookie":{"secrets":["` + secret + `",""]}}`:                            "secret",
		`{"policy":"tigergraph","cookie":{"secrets":["` + secret + `"],"same_site":"both"}}`:            "same_site",
		`{"policy":"tigergraph","cookie":{"secrets":["` + secret + `"],"lifetime":"10ms"}}`:             "lifetime",
		`{"policy":"tigergraph","cookie":{"secrets":["` + secret + `"],"name":"a b"}}`:                  "name",
		`{"policy":"tigergraph","cookie":{"secrets":["` + secret + `"],"path":"graph"}}`:                "path",
		`{"policy":"tigergraph","cookie":{"secrets":["` + secret + `"],"domain":"a;b"}}`:                "domain",
		`{"policy":"tigergraph","cookie":{"secrets":["` + secret + `{env.TIGERGRAPH_TEST_UNSET}"]}}`:    "secret 1",
		`{"policy":"tigergraph","cookie":{"secrets":["` + secret + `","{env.TIGERGRAPH_TEST_EMPTY}"]}}`: "secret 2",
		`{"policy":"tigergraph","cookie":{"secrets":["` + secret + `","{file./nonexistent/key}"]}}`:     "secret 2",
	} {
		_, err := tryProvision(t, policy, "10.0.0.1:14240")
		switch {
		case err == nil:
			t.Errorf("accepted %s", policy)
		case !strings.Contains(err.Error(), want):
			t.Errorf("%s was refused without a word of %s: %v", policy, want, err)
		case strings.Contains(err.Error(), secret):
			t.Errorf("the error tells the secret: %v", err)
		}
	}
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
