package where

import (
	"encoding/json"
	"slices"
	"testing"
)

func TestAHandlerIsFoundWithTheHostsOfItsRoute(t *testing.T) {
	proxy := `{"handler":"reverse_proxy","upstreams":[{"dial":"m1:14240"}],"load_balancing":{"selection_policy":{"policy":"tigergraph","drain":["m1:14240"]}}}`
	is := func(handler map[string]any) bool {
		policy, upstreams := Proxy(handler)
		return policy["policy"] == "tigergraph" && slices.Equal(upstreams, []string{"m1:14240"})
	}
	for _, test := range []struct {
		name, handler string
		found         bool
		at            string
	}{
		{"alone", proxy, true, "outer"},
		{"in a route", `{"routes":[{"handle":[` + proxy + `]}]}`, true, "outer"},
		{"in a route with hosts", `{"routes":[{"match":[{"host":["inner"]}],"handle":[` + proxy + `]}]}`, true, "inner"},
		{"in a route with a path", `{"routes":[{"match":[{"path":["/x"]}],"handle":[` + proxy + `]}]}`, true, "outer"},
		{"another one", `{"handler":"reverse_proxy","upstreams":[{"dial":"m2:14240"}],"load_balancing":{"selection_policy":{"policy":"tigergraph"}}}`, false, ""},
		{"what is no proxy", `{"handler":"tigergraph","upstreams":7,"load_balancing":["tigergraph"]}`, false, ""},
		{"what is no JSON", `{"tigergraph"`, false, ""},
	} {
		found, at := Find([]json.RawMessage{[]byte(`"tigergraph"`), []byte(test.handler)}, []string{"outer"}, is)
		if found != test.found || found && !slices.Equal(at, []string{test.at}) {
			t.Errorf("%s: %t at %v, want %t at %s", test.name, found, at, test.found, test.at)
		}
	}
}

func TestTheOrderOfKeysMeansNothing(t *testing.T) {
	for texts, want := range map[[2]string]bool{
		{`{"a":1,"b":[2]}`, `{"b": [2], "a": 1}`}: true,
		{`{"a":1}`, `{"a":2}`}:                    false,
	} {
		if Same([]byte(texts[0]), []byte(texts[1])) != want {
			t.Errorf("%v: want %t", texts, want)
		}
	}
}
