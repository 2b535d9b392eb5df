package settings_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/affinity"
	"github.com/caddy-tigergraph/caddy-tigergraph/internal/service"
	"github.com/caddy-tigergraph/caddy-tigergraph/internal/settings"
)

func said(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

func TestWhatCannotBeMeantIsRefusedByName(t *testing.T) {
	for _, test := range []struct {
		policy settings.Policy
		want   string
	}{
		{settings.Policy{}, ""},
		{settings.Policy{Affinity: "sticky"}, "unknown affinity 'sticky': expected 'cookie', 'client_ip', 'header <field>' or 'none'"},
		{settings.Policy{Affinity: "header"}, "the affinity 'header' needs the name of a header field"},
		{settings.Policy{Affinity: "header", Header: "X User"}, "'X User' is not the name of a header field"},
		{settings.Policy{Affinity: "header", Header: "X-User"}, ""},
		{settings.Policy{Header: "X-User"}, "header 'X-User' needs the affinity 'header', not 'cookie'"},
		{settings.Policy{Affinity: "none", HasCookie: true}, "the option 'cookie' needs the affinity 'cookie', not 'none'"},
		{settings.Policy{Affinity: "client_ip", HasFallback: true}, "the option 'fallback' needs the affinity 'cookie', not 'client_ip'"},
		{settings.Policy{IPv4Prefix: 33}, "ipv4_prefix must be a number of bits from 1 to 32, not 33"},
		{settings.Policy{IPv4Prefix: 32, IPv6Prefix: -1}, "ipv6_prefix must be a number of bits from 1 to 128, not -1"},
		{settings.Policy{Failback: new(-time.Second)}, "failback must not be negative, got -1s"},
		{settings.Policy{Failback: new(time.Duration(0)), SlowStart: -time.Second}, "slow_start must not be negative, got -1s"},
		{settings.Policy{Weights: map[string]int{"m1": 65536, "m2": -1}}, "the weight of 'm1' must be from 0 to 65535, not 65536"},
		{settings.Policy{Weights: map[string]int{"m1": 1, "m1:14240": 2}}, "the weight of 'm1:14240' is already specified"},
		{settings.Policy{Backup: []string{"m1", "m1:14240"}}, "backup names 'm1:14240' twice"},
		{settings.Policy{Drain: []string{"m1,"}}, "drain: node 'm1,' is not an address"},
		{settings.Policy{Standby: []settings.Standby{{"dr", []string{"m4"}}, {"qa", []string{"m4"}}}}, "standby names 'm4' twice: a node is in one cluster"},
		{settings.Policy{Standby: []settings.Standby{{"dr", []string{"m4"}}, {"dr", []string{"m5"}}}}, "there is a standby 'dr' already: name all of its nodes in one line, or give it another name"},
		{settings.Policy{Standby: []settings.Standby{{"dr", nil}}}, "the standby 'dr' needs nodes"},
		{settings.Policy{Cluster: "a b"}, "'a b' cannot be the name of a cluster: expected letters, digits, dots, hyphens and underscores, 64 at most"},
		{settings.Policy{Spread: []string{"gui"}}, "spread must be 'restpp' or 'off', not 'gui'"},
		{settings.Policy{Spread: []string{"restpp", "restpp"}}, "spread must be 'restpp' or 'off', not 'restpp restpp'"},
		{settings.Policy{HealthCheckOff: true, HasHealthCheck: true}, "health_check is both off and configured"},
	} {
		if got := said(test.policy.Check()); got != test.want && (test.want == "" || !strings.HasPrefix(got, test.want)) {
			t.Errorf("%+v: %q, want %q", test.policy, got, test.want)
		}
	}
}

func TestWhatLacksSomethingIsRefusedOnceEverythingIsRead(t *testing.T) {
	for want, policy := range map[string]settings.Policy{
		"standby_reads needs a standby, as in 'standby dr m4 m5 m6'":                             {StandbyReads: true},
		"the standby 'dr' is called like the cluster itself: give one of them another name":      {Cluster: "dr", Standby: []settings.Standby{{"dr", []string{"m4"}}}},
		"the standby 'primary' is called like the cluster itself: give one of them another name": {Standby: []settings.Standby{{"primary", []string{"m4"}}}},
		"spread must be 'restpp' or 'off', not 'gsql'":                                           {Spread: []string{"gsql"}},
	} {
		if got := said(policy.CheckWhole()); got != want {
			t.Errorf("%+v: %q, want %q", policy, got, want)
		}
	}
}

func TestTheDefaultsOfAPolicy(t *testing.T) {
	bare := settings.Policy{}
	if bare.By() != settings.ByCookie || bare.Idle() != 30*time.Minute || bare.CookieName() != "TigerGraphNode" ||
		bare.Prefixes() != (affinity.Prefixes{IPv4: 32, IPv6: 64}) || !slices.Equal(bare.Clusters(), []string{"primary"}) {
		t.Errorf("%q %s %q %+v %q", bare.By(), bare.Idle(), bare.CookieName(), bare.Prefixes(), bare.Clusters())
	}
	set := settings.Policy{Failback: new(time.Duration(0)), IPv4Prefix: 24, IPv6Prefix: 48, Cluster: "tg", Standby: []settings.Standby{{"dr", []string{"m4:14240"}}}}
	if set.Idle() != 0 || set.CookieName() != "TigerGraphNode_tg" || set.Prefixes() != (affinity.Prefixes{IPv4: 24, IPv6: 48}) ||
		set.IndexOf("m4:14240") != 1 || set.IndexOf("m1:14240") != 0 || set.ClusterOf("m4:14240") != "dr" {
		t.Errorf("%s %q %+v", set.Idle(), set.CookieName(), set.Prefixes())
	}
	for _, test := range []struct {
		policy settings.Policy
		want   bool
	}{
		{settings.Policy{}, true},
		{settings.Policy{Affinity: settings.ByClientIP}, false},
		{settings.Policy{Affinity: settings.ByClientIP, Spread: []string{"restpp"}}, true},
		{settings.Policy{Spread: []string{}}, false},
	} {
		if got := test.policy.Spreads(service.RESTPP); got != test.want || test.policy.Spreads(service.GUI) {
			t.Errorf("%+v spreads RESTPP: %t", test.policy, got)
		}
	}
}

func TestNodesInOptionsGetTheNamesOfTheirUpstreams(t *testing.T) {
	written, complete := []string{"{env.NODE}", "m2:14240", "m4:9000"}, []string{"m1:14240", "m2:14240", "m4:9000"}
	for _, test := range []struct {
		policy  settings.Policy
		dynamic bool
		want    settings.Policy
		unknown string
		refused string
	}{
		{policy: settings.Policy{Drain: []string{"m1"}, Backup: []string{"{env.NODE}"}}, want: settings.Policy{Drain: []string{"m1:14240"}, Backup: []string{"m1:14240"}}},
		{policy: settings.Policy{Weights: map[string]int{"m2": 3}, Standby: []settings.Standby{{"dr", []string{"m4:9000"}}}}, want: settings.Policy{Weights: map[string]int{"m2:14240": 3}, Standby: []settings.Standby{{"dr", []string{"m4:9000"}}}}},
		{policy: settings.Policy{Weights: map[string]int{"m2": 3, "m2:14240": 3}}, refused: "the weight of 'm2:14240' is already specified"},
		{policy: settings.Policy{Drain: []string{"m1", "{env.NODE}"}}, refused: "drain names 'm1:14240' twice"},
		{policy: settings.Policy{Drain: []string{"m9"}}, refused: "drain: 'm9' is not an upstream; the upstreams are m1:14240, m2:14240, m4:9000"},
		{policy: settings.Policy{Drain: []string{"m9"}}, dynamic: true, want: settings.Policy{Drain: []string{"m9:14240"}}, unknown: "drain m9"},
		{policy: settings.Policy{Standby: []settings.Standby{{"dr", []string{"m1", "m2", "m4:9000"}}}}, refused: "every upstream is a standby's: none is left for the cluster 'primary'"},
	} {
		nodes, unknown := settings.NewNodes(written, complete), ""
		nodes.Dynamic, nodes.Unknown = test.dynamic, func(option, node string) { unknown = option + " " + node }
		policy := test.policy
		err := policy.NameNodes(nodes.Find)
		if err == nil {
			err = policy.CheckActive(nodes)
		}
		if said(err) != test.refused || unknown != test.unknown {
			t.Errorf("%+v: %q, told of %q; want %q", test.policy, said(err), unknown, test.refused)
			continue
		}
		if err == nil && (!slices.Equal(policy.Drain, test.want.Drain) || !slices.Equal(policy.Backup, test.want.Backup) || len(policy.Weights) != len(test.want.Weights) ||
			policy.Weights["m2:14240"] != test.want.Weights["m2:14240"] || len(policy.Standby) != len(test.want.Standby)) {
			t.Errorf("%+v became %+v, want %+v", test.policy, policy, test.want)
		}
	}
}

func TestUpstreamsFromTheEnvironmentAreCompleted(t *testing.T) {
	for _, test := range []struct{ dial, value, want, refused string }{
		{dial: "m1:9000", want: "m1:9000"},
		{dial: "{env.NODE}", value: "m1", want: "m1:14240"},
		{dial: "{env.NODE}", value: "{env.NODE}", want: "{env.NODE}"},
		{dial: "{env.NODE}", refused: "the upstream '{env.NODE}' is empty: is its variable set?"},
		{dial: "{env.NODE}", value: "https://m1", refused: "the upstream '{env.NODE}' is 'https://m1': write a scheme or a range of ports into the Caddyfile itself"},
		{dial: "{env.NODE}", value: "m1:1-9", refused: "the upstream '{env.NODE}' is 'm1:1-9': write a scheme or a range of ports into the Caddyfile itself"},
		{dial: "{env.NODE}", value: "m1,", refused: "the upstream '{env.NODE}': node 'm1,' is not an address"},
	} {
		got, err := settings.CompleteUpstream(test.dial, func(string) string { return test.value })
		if got != test.want || !strings.HasPrefix(said(err), test.refused) || err == nil && test.refused != "" {
			t.Errorf("%q as %q: %q, %v", test.dial, test.value, got, err)
		}
	}
}
