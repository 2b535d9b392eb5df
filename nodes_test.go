package tigergraph_test

import (
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
)

// The value of a variable has no port where its author relies on the default.
func TestNodesFromTheEnvironmentHaveTheDefaultPort(t *testing.T) {
	t.Setenv("NODE", "M1")
	t.Setenv("OTHER", "m2:9000")
	t.Setenv("EMPTY", "")
	t.Setenv("LIST", "m1 m2")
	ctx, err := caddy.ProvisionContext(&caddy.Config{Admin: &caddy.AdminConfig{Disabled: true}})
	if err != nil {
		t.Fatal(err)
	}
	load := func(config string) (*reverseproxy.Handler, error) {
		module, err := ctx.LoadModuleByID("http.handlers.reverse_proxy", []byte(config))
		if err != nil {
			return nil, err
		}
		return module.(*reverseproxy.Handler), nil
	}
	proxy, err := load(`{"upstreams":[{"dial":"{env.NODE}"},{"dial":"{env.OTHER}"},{"dial":"{http.request.host}:1"}],
		"load_balancing":{"selection_policy":{"policy":"tigergraph","weights":{"{env.NODE}":2,"m2":3},"backup":["m1"]}}}`)
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []string{"m1:14240", "m2:9000", "{http.request.host}:1"} {
		if got := proxy.Upstreams[i].Dial; got != want {
			t.Errorf("the node is dialled as %s, want %s", got, want)
		}
	}
	for variable, want := range map[string]string{"EMPTY": "the upstream '{env.EMPTY}' is empty", "LIST": "write each node as a word of its own"} {
		_, err := load(`{"upstreams":[{"dial":"{env.` + variable + `}"}],"load_balancing":{"selection_policy":{"policy":"tigergraph"}}}`)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", variable, err, want)
		}
	}
}

func TestAStandbyGetsNothing(t *testing.T) {
	choose := selectFor(t, `{"policy":"tigergraph","standby":[{"name":"dr","nodes":["`+node2+`"]}],"health_check_off":true,"cookie":{"secrets":["s"]}}`, 3)
	for _, client := range randomAddresses(100) {
		for _, path := range []string{"/", "/restpp/echo"} {
			if address, _ := choose(client, path, ""); address == node2 || address == "" {
				t.Fatalf("%s is sent to %q", client, address)
			}
		}
	}
}

func TestTheCookieOfANamedClusterHasItsName(t *testing.T) {
	for options, want := range map[string]string{
		`"secrets":["0123456789abcdef"]}`:                             "TigerGraphNode=",
		`"secrets":["0123456789abcdef"]},"cluster":"primary"`:         "TigerGraphNode=",
		`"secrets":["0123456789abcdef"]},"cluster":"blue"`:            "TigerGraphNode_blue=",
		`"secrets":["0123456789abcdef"],"name":"mine"},"cluster":"b"`: "mine=",
	} {
		choose := selectFor(t, `{"policy":"tigergraph","health_check_off":true,"cookie":{`+options+`}`, 2)
		if _, set := choose("192.0.2.1", "/", ""); !strings.HasPrefix(set, want) {
			t.Errorf("with %s the cookie is %s", options, set)
		}
	}
}
