package tigergraph

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/health"
	"github.com/caddy-tigergraph/caddy-tigergraph/internal/service"
)

// checkAccepted checks that a policy which was accepted is one that can run.
func checkAccepted(t *testing.T, p *Policy) {
	t.Helper()
	cookie := Cookie{}
	if p.Cookie != nil {
		cookie = *p.Cookie
	}
	// A secret's placeholder may be unset here.
	if form, _, err := cookie.form(); err == nil {
		if form.Lifetime < time.Second {
			t.Errorf("a lifetime of %s", form.Lifetime)
		}
		lines := form.Lines("token")
		for _, line := range []string{lines.Plain, lines.Secure} {
			if !strings.HasPrefix(line, form.Name+"=token") || !strings.Contains(line, "HttpOnly") || strings.ContainsAny(line, "\r\n\x00") {
				t.Errorf("Set-Cookie: %q", line)
			}
		}
		if !strings.Contains(lines.Secure, "; Secure") || strings.Contains(lines.Plain, "SameSite=None") {
			t.Errorf("Set-Cookie: %q over plain HTTP, %q over TLS", lines.Plain, lines.Secure)
		}
	}
	services := new(Services)
	if p.HealthCheckRaw != nil && json.Unmarshal(p.HealthCheckRaw, services) != nil {
		return // another checker's
	}
	if services.Provision(caddy.Context{}) != nil {
		return // which is when the configuration is refused
	}
	for s := range service.Count {
		plan, checked := services.Plan(s.String())
		if !checked {
			continue
		}
		if plan.Interval <= 0 || plan.Timeout <= 0 || plan.Passes < 1 || plan.Fails < 1 || plan.Jitter < 0 || plan.Jitter > 100 {
			t.Errorf("%s: %+v", s, plan)
		}
		schedule := health.Schedule{Interval: plan.Interval, Jitter: plan.Jitter}
		for _, random := range []float64{0, 0.5, 0.999} {
			if wait := schedule.Next(false, random); wait < 0 {
				t.Errorf("%s: a wait of %s", s, wait)
			}
		}
	}
}

// What a block of options says is refused with the line, or runs; written as JSON
// it says the same.
func FuzzPolicyBlock(f *testing.F) {
	for _, seed := range []string{
		"", "affinity cookie", "affinity header X-User", "cookie {\nname a\nsecret b c\nlifetime 1h\npersistent\ndomain example.com\npath /\nsame_site none\n}",
		"ipv4_prefix 24\nipv6_prefix 48", "fallback random_choose 2", "fallback header X {\nfallback least_conn\n}", "failback 0", "weight m1:14240 2\nweight m2:14240 0",
		"backup a b\ndrain c", "slow_start 1m\nfail_closed", "cluster a\nstandby dr m4 m5\nstandby b m6\nstandby_reads\nspread off", "spread restpp", "health_check off", "health_check {\ninterval 1s\njitter 0\nheader A b\ngui off\nstart checking\n}",
		"health_check {\ninterval 2562047h\njitter 100%\n}", "ipv4_prefix 33", "cookie {\n", "}", "{", "\"", "`", "{$HOME}", "#", "cookie {\nsecret {env.X}\n}", "weight a 99999999999999999999",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, block string) {
		p := new(Policy)
		tokens, err := caddyfile.Tokenize([]byte("tigergraph {\n"+block+"\n}"), "Testfile")
		if err != nil {
			return // by Caddy's lexer
		}
		d := caddyfile.NewDispenser(tokens)
		if err := p.UnmarshalCaddyfile(d); err != nil {
			if !strings.Contains(err.Error(), "Testfile:") {
				t.Errorf("the error names no line: %v", err)
			}
			return
		}
		if err := p.plain().Check(); err != nil {
			t.Errorf("accepted, and then refused: %v", err)
		}
		checkAccepted(t, p)
		written, err := json.Marshal(p)
		if err != nil {
			t.Fatal(err)
		}
		again := new(Policy)
		if err := json.Unmarshal(written, again); err != nil {
			t.Fatalf("%s: %v", written, err)
		}
		if rewritten, err := json.Marshal(again); err != nil || !bytes.Equal(rewritten, written) {
			t.Errorf("%s became %s: %v", written, rewritten, err)
		}
	})
}

// JSON is refused or can run.
func FuzzPolicyJSON(f *testing.F) {
	for _, seed := range []string{
		`{}`, `null`, `[]`, `{"affinity":"header","header":"X-User"}`, `{"affinity":"none","cookie":{}}`, `{"ipv4_prefix":33}`, `{"ipv6_prefix":-1}`,
		`{"cookie":{"name":"__Host-a","secrets":["a","{env.B}"],"lifetime":"24h","persistent":true,"domain":"e.com","path":"/","same_site":"lax"}}`,
		`{"cookie":{"name":"a b"}}`, `{"cookie":{"path":"/;x"}}`, `{"cookie":{"lifetime":"292y"}}`, `{"cookie":{"lifetime":-1}}`, `{"failback":"-1s"}`, `{"weights":{"a":65536}}`, `{"backup":["a","a"]}`, `{"slow_start":1}`, `{"spread":[]}`, `{"spread":["restpp"],"cluster":"a","standby":[{"name":"dr","nodes":["m4"]}],"standby_reads":true}`, `{"standby":[{}]}`,
		`{"health_check":{"checker":"services","interval":"9223372036854775807ns","jitter":100,"passes":1,"fails":1,"gui":"off","headers":{"A":["b"]},"start":"checking"}}`,
		`{"health_check":{"gui":"//host/path","restpp":"/%zz","gsql":"/a b"}}`, `{"health_check_off":true}`, `{"fallback":{"policy":"first"}}`, `{"cookie":{"secrets":[""]}}`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, config []byte) {
		p := new(Policy)
		if json.Unmarshal(config, p) != nil || p.plain().Check() != nil {
			return
		}
		if p.Cookie != nil && p.Cookie.plain().Check() != nil {
			return // which provisioning does
		}
		checkAccepted(t, p)
	})
}
