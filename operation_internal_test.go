package tigergraph

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/affinity"
	"github.com/caddy-tigergraph/caddy-tigergraph/internal/fleet"
)

func TestOnlyMovedClientsAreRememberedAndNotTooMany(t *testing.T) {
	ctx, err := caddy.ProvisionContext(&caddy.Config{Admin: &caddy.AdminConfig{Disabled: true}})
	if err != nil {
		t.Fatal(err)
	}
	provision := func(options string) (*Policy, *reverseproxy.Handler) {
		config := `{"upstreams":[{"dial":"m1:14240"},{"dial":"m2:14240"}],
			"load_balancing":{"selection_policy":{"policy":"tigergraph","affinity":"client_ip","health_check_off":true` + options + `}}}`
		module, err := ctx.LoadModuleByID("http.handlers.reverse_proxy", []byte(config))
		if err != nil {
			t.Fatal(err)
		}
		handler := module.(*reverseproxy.Handler)
		return handler.LoadBalancing.SelectionPolicy.(*Policy), handler
	}
	request := caddyhttp.PrepareRequest(httptest.NewRequest(http.MethodGet, "/restpp/echo", nil), caddy.NewReplacer(), nil, &caddyhttp.Server{})
	vars := request.Context().Value(caddyhttp.VarsCtxKey).(map[string]any)
	send := func(policy *Policy, pool reverseproxy.UpstreamPool, client int) {
		delete(vars, memoryKey)
		vars[caddyhttp.ClientIPVarKey] = fmt.Sprintf("10.%d.%d.%d", client>>16, client>>8&255, client&255)
		if policy.Select(pool, request, nil) == nil {
			t.Fatal("no node")
		}
	}
	const clients = 3 * fleet.MostMoved

	policy, healthy := provision("")
	for client := range clients {
		send(policy, healthy.Upstreams, client)
	}
	if count := policy.app.fleet.Moved.Len(); count != 0 || !policy.moved.Empty() {
		t.Errorf("with all nodes well %d clients are remembered", count)
	}

	policy, draining := provision(`,"drain":["m1:14240"]`)
	for client := range clients {
		send(policy, draining.Upstreams, client)
	}
	if count := policy.app.fleet.Moved.Len(); count != 65536 {
		t.Errorf("of %d clients, half of them moved, %d are remembered, want 65536", clients, count)
	}

	policy, _ = provision(`,"failback":"0s"`)
	if policy.moved != nil {
		t.Error("with failback 0 there is a memory of moved clients")
	}
}

func TestEqualWeightsNeedNoLogarithm(t *testing.T) {
	of := func(weight float64) *member { return &member{weight: weight, seed: affinity.Seed(fmt.Sprint(weight))} }
	for _, test := range []struct {
		members []*member
		weighed bool
	}{
		{[]*member{of(1), of(1), of(1)}, false},
		{[]*member{of(7), of(7)}, false},
		{[]*member{of(7), of(0), of(7)}, false},
		{[]*member{of(0), of(0)}, false},
		{[]*member{of(1), of(2)}, true},
	} {
		homes := homesOf(test.members, 0)
		if weighed := homes.AreWeighed(); weighed != test.weighed {
			t.Errorf("%d nodes from weight %g on: weighed is %t", len(test.members), test.members[0].weight, weighed)
		}
	}
}
