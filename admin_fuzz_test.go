package tigergraph

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
	"go.uber.org/zap"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/calls"
	"github.com/caddy-tigergraph/caddy-tigergraph/internal/fleet"
)

// Whatever is sent to the admin endpoint is answered, by a status that fits and,
// where something was done, by what is so now.
func FuzzAdmin(f *testing.F) {
	for _, seed := range []struct{ method, call, body string }{
		{"GET", "nodes", ""},
		{"POST", "drain", `{"node": "a1:14240", "for": "1h", "force": false}`},
		{"POST", "drain", `{"node": "a1", "force": true}`},
		{"POST", "ready", `{"node": "a2"}`},
		{"POST", "drain", `{"node": "a1", "for": -1}`},
		{"POST", "drain", `{"node": "a1", "for": "9999999h"}`},
		{"POST", "drain", `{"node": "a1", "for": 9223372036854775807}`},
		{"POST", "drain", `{"node": ["a1"]}`},
		{"POST", "drain", `{"node": "a1"}{}`},
		{"POST", "ready", `{"node": "\u0000"}`},
		{"DELETE", "nodes", ""},
		{"POST", "../config", ""},
		{"PUT", "", "[[[[[["},
		{"GET", "clusters", ""},
		{"POST", "switch", `{"cluster": "dr"}`},
		{"POST", "switch", `{"cluster": "primary", "drain": "30m"}`},
		{"POST", "switch", `{"cluster": "primary", "drain": "-1s"}`},
	} {
		f.Add(seed.method, seed.call, []byte(seed.body))
	}
	ctx, err := caddy.ProvisionContext(&caddy.Config{
		Admin:      &caddy.AdminConfig{Disabled: true},
		StorageRaw: json.RawMessage(fmt.Sprintf(`{"module":"file_system","root":%q}`, f.TempDir())),
	})
	if err != nil {
		f.Fatal(err)
	}
	module, err := ctx.LoadModuleByID("http.handlers.reverse_proxy", []byte(`{"upstreams":[{"dial":"a1:14240"},{"dial":"a2:14240"}],
		"load_balancing":{"selection_policy":{"policy":"tigergraph","health_check_off":true}}}`))
	if err != nil {
		f.Fatal(err)
	}
	app := module.(*reverseproxy.Handler).LoadBalancing.SelectionPolicy.(*Policy).app
	app.logger = zap.NewNop()
	liveApps.Add(app)
	f.Cleanup(func() { liveApps.Remove(app) })
	f.Fuzz(func(t *testing.T, method, name string, body []byte) {
		r := httptest.NewRequest(http.MethodPost, "http://localhost/", bytes.NewReader(body))
		r.Method, r.URL.Path = method, calls.Prefix+name
		w := httptest.NewRecorder()
		err := new(Admin).serve(w, r)
		draining := 0
		for _, policy := range app.allPolicies() {
			for _, m := range policy.allMembers() {
				if m.IsDrained() {
					draining++
				}
			}
		}
		if draining > 0 {
			if err := app.say(func(w fleet.Word) (fleet.Word, error) { return fleet.Word{Version: w.Version + 1}, nil }); err != nil {
				t.Fatal(err)
			}
		}
		var failure caddy.APIError
		switch {
		case err == nil && (!json.Valid(w.Body.Bytes()) || draining > 1 || draining == 1 && name != "drain"): // a short drain may be over
			t.Errorf("%s %s %s: %s; %d nodes drain", method, name, body, w.Body, draining)
		case err == nil:
		case !errors.As(err, &failure), failure.HTTPStatus < 400, failure.HTTPStatus >= 500, failure.Err == nil, failure.Err.Error() == "":
			t.Errorf("%s %s %s: %v", method, name, body, err)
		case draining > 0:
			t.Errorf("%s %s %s was refused, and a node drains", method, name, body)
		}
	})
}
