package tigergraph

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
	"go.uber.org/zap"

	_ "github.com/caddyserver/caddy/v2/modules/standard"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/affinity"
	"github.com/caddy-tigergraph/caddy-tigergraph/internal/fleet"
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
	if settings, _, err := cookie.settings(); err == nil {
		if settings.lifetime < time.Second {
			t.Errorf("a lifetime of %s", settings.lifetime)
		}
		lines := settings.lines("token")
		for _, line := range []string{lines.plain, lines.secure} {
			if !strings.HasPrefix(line, settings.name+"=token") || !strings.Contains(line, "HttpOnly") || strings.ContainsAny(line, "\r\n\x00") {
				t.Errorf("Set-Cookie: %q", line)
			}
		}
		if !strings.Contains(lines.secure, "; Secure") || strings.Contains(lines.plain, "SameSite=None") {
			t.Errorf("Set-Cookie: %q over plain HTTP, %q over TLS", lines.plain, lines.secure)
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
		if err := p.check(); err != nil {
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

// A directive is refused or adapted to valid JSON that has the policy.
func FuzzDirective(f *testing.F) {
	for _, seed := range []string{
		"m1 m2 m3", "m1:14240", "https://m1 https://m2", "/api/* m1", "@x m1", "[::1] [::1]:1", "unix//run/tg.sock", "{env.A} m1", "m1 {\ndynamic a tg 14240\n}",
		"m1 m2 {\nweight m1 2\nbackup m2\n}", "m1 {\ntransport http {\ntls\n}\nlb_retries 1\n}", "m1 {\nlb_policy first\n}", "m1 {\nhandle_response {\nrespond 1\n}\n}",
		"m1 {\nheader_up -X\nheader_up X y\n}", "m1/path", "http://m1/path", "tcp/m1 tcp6/m2", "m1 m1", "m1 {\nstandby dr m2 m3\nstandby_reads\ncluster a\nspread off\n}", "m1 {\ndynamic multi {\na tg\n}\n}", "\"m1\" {\nheader_up X \"y\"\n}", "localhost:1-3 {\nweight localhost:2 3\n}", "m1 {\n}\ntigergraph m2 {\n}", "m1 {\nto m2\ncookie {\n}\n}", ":", "//", "{", "}", "m1:", "m1:0-5",
	} {
		f.Add(seed)
	}
	adapter := caddyconfig.GetAdapter("caddyfile")
	f.Fuzz(func(t *testing.T, text string) {
		if strings.Contains(text, "import") {
			return // which reads files
		}
		config, _, err := adapter.Adapt([]byte("http://localhost {\ntigergraph "+text+"\n}\n"), map[string]any{"filename": "Caddyfile"})
		if err != nil {
			return
		}
		if !json.Valid(config) || !bytes.Contains(config, []byte(`"policy":"tigergraph"`)) && bytes.Contains(config, []byte(`"handler":"tigergraph"`)) {
			t.Errorf("%q was adapted to %s", text, config)
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
		if json.Unmarshal(config, p) != nil || p.check() != nil {
			return
		}
		if p.Cookie != nil && p.Cookie.check() != nil {
			return // which provisioning does
		}
		checkAccepted(t, p)
	})
}

// Whatever is sent to the admin endpoint is answered, by a status that fits and,
// where something was done, by what is so now.
func FuzzAdmin(f *testing.F) {
	for _, seed := range []struct{ method, call, body string }{
		{"GET", "nodes", ""},
		{"POST", "drain", `{"node": "m1:14240", "for": "1h", "force": false}`},
		{"POST", "drain", `{"node": "m1", "force": true}`},
		{"POST", "ready", `{"node": "m2"}`},
		{"POST", "drain", `{"node": "m1", "for": -1}`},
		{"POST", "drain", `{"node": "m1", "for": "9999999h"}`},
		{"POST", "drain", `{"node": "m1", "for": 9223372036854775807}`},
		{"POST", "drain", `{"node": ["m1"]}`},
		{"POST", "drain", `{"node": "m1"}{}`},
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
	module, err := ctx.LoadModuleByID("http.handlers.reverse_proxy", []byte(`{"upstreams":[{"dial":"m1:14240"},{"dial":"m2:14240"}],
		"load_balancing":{"selection_policy":{"policy":"tigergraph","health_check_off":true}}}`))
	if err != nil {
		f.Fatal(err)
	}
	app := module.(*reverseproxy.Handler).LoadBalancing.SelectionPolicy.(*Policy).app
	app.logger = zap.NewNop()
	liveApps.add(app)
	f.Cleanup(func() { liveApps.remove(app) })
	f.Fuzz(func(t *testing.T, method, call string, body []byte) {
		r := httptest.NewRequest(http.MethodPost, "http://localhost/", bytes.NewReader(body))
		r.Method, r.URL.Path = method, adminPrefix+call
		w := httptest.NewRecorder()
		err := new(Admin).serve(w, r)
		draining := 0
		for _, policy := range app.allPolicies() {
			for _, m := range policy.allMembers() {
				if m.draining.Load() {
					draining++
				}
			}
		}
		if draining > 0 {
			if err := app.say(func(fleet.Word) fleet.Word { return fleet.Word{} }); err != nil {
				t.Fatal(err)
			}
		}
		var failure caddy.APIError
		switch {
		case err == nil && (!json.Valid(w.Body.Bytes()) || draining > 1 || draining == 1 && call != "drain"): // a short drain may be over
			t.Errorf("%s %s %s: %s; %d nodes drain", method, call, body, w.Body, draining)
		case err == nil:
		case !errors.As(err, &failure), failure.HTTPStatus < 400, failure.HTTPStatus >= 500, failure.Err == nil, failure.Err.Error() == "":
			t.Errorf("%s %s %s: %v", method, call, body, err)
		case draining > 0:
			t.Errorf("%s %s %s was refused, and a node drains", method, call, body)
		}
	})
}

// Whatever a node answers to a probe is a result, which tells nobody what the node
// said.
func FuzzProbe(f *testing.F) {
	const secret = "s3cr3t-of-the-node"
	for _, seed := range []string{
		"HTTP/1.1 200 OK\r\nContent-Length: 33\r\n\r\n" + `{"error":false,"message":"pong"}` + "\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n12\r\n" + secret + "\r\n0\r\n\r\n",
		"HTTP/1.1 " + secret + " OK\r\n\r\n", secret + "\r\n\r\n", "HTTP/1.1 200 OK\r\n" + secret + "\r\n\r\n", "HTTP/1.1 200 OK\r\n" + secret + ": a\r\n b\r\n\r\n",
		"HTTP/1.1 200 OK\r\nContent-Length: " + secret + "\r\n\r\n", "HTTP/1.1 200 OK\r\nTransfer-Encoding: " + secret + "\r\n\r\n",
		"HTTP/1.1 302 Found\r\nLocation: http://" + secret + "/\r\n\r\n", "HTTP/1.1 101 Switching Protocols\r\nUpgrade: " + secret + "\r\n\r\n" + secret,
		"HTTP/1.1 103 Early Hints\r\nLink: " + secret + "\r\n\r\nHTTP/1.1 502 Bad Gateway\r\n\r\n" + secret, "HTTP/1.0 200 OK\r\n\r\n" + secret, "HTTP/2.0 200 OK\r\n\r\n", "",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: a\r\n\r\n" + secret + "\r\n", "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n" + secret, "HTTP/1.1 304 Not Modified\r\n\r\n", "HTTP/1.1 999 x\r\n\r\n",
	} {
		f.Add([]byte(seed))
	}
	services := new(Services)
	if err := services.Provision(caddy.Context{}); err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, answer []byte) {
		transport := &http.Transport{DisableKeepAlives: true, DialContext: func(context.Context, string, string) (net.Conn, error) {
			edge, node := net.Pipe()
			go func() {
				defer node.Close()
				if _, err := http.ReadRequest(bufio.NewReader(node)); err == nil {
					_, _ = node.Write(answer)
				}
			}()
			return edge, nil
		}}
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		for _, name := range []string{"gui", "restpp", "gsql"} {
			err := services.Probe(ctx, transport, reverseproxy.DialInfo{Network: "tcp", Address: "m1:14240", Host: "m1", Port: "14240"}, name)
			if err == nil {
				if name == "gui" && !bytes.Contains(answer, []byte("pong")) && !bytes.Contains(answer, []byte("chunked")) {
					t.Errorf("%q passed", answer)
				}
				continue
			}
			if text := err.Error(); strings.Contains(text, secret) || !utf8.ValidString(text) || len(text) > 500 || strings.ContainsAny(text, "\r\n\x00") {
				t.Errorf("%q is told by %q", answer, text)
			}
			if errors.Is(err, context.DeadlineExceeded) || strings.Contains(err.Error(), "no answer within") {
				t.Errorf("%q was waited for", answer)
			}
		}
	})
}

// Whatever cookies a node sets, no browser leaves with one that would take its next
// request to another node than the one that was chosen. All other lines stay.
func FuzzForeignCookies(f *testing.F) {
	const name, lifetime = "TigerGraphNode", 200_000 * time.Hour
	for _, seed := range []string{
		"", "a=1", name + "=$1; Path=/", name + "=$2\n" + name + "=$3\nTigerGraphApp=1; HttpOnly", name + "=$1\n" + name + "=$4\n" + name + "=$7\n" + name + "=$9",
		name + " =$2", name + "\t= \"$3\" ;", "=" + name + "=$2", "==" + name + "=$2", name, name + "=", name + "2=$1", "my" + name + "=$2", "a=" + name + "=$2", "a; " + name + "=$1",
		`{"` + name + `=$1"}`, name + "=$1$2", " " + name + "=$3; Secure", "\n\n" + name + "=bogus\n",
	} {
		f.Add(seed, byte(0), byte(1))
		f.Add(seed, byte(1), byte(2))
		f.Add(seed, byte(2), byte(0))
	}
	ctx, err := caddy.ProvisionContext(&caddy.Config{Admin: &caddy.AdminConfig{Disabled: true}})
	if err != nil {
		f.Fatal(err)
	}
	module, err := ctx.LoadModuleByID("http.handlers.reverse_proxy", []byte(`{"upstreams":[{"dial":"m0:14240"},{"dial":"m1:14240"},{"dial":"m2:14240"}],
		"load_balancing":{"selection_policy":{"policy":"tigergraph","health_check_off":true,"cookie":{"secrets":["new","old"],"lifetime":"200000h"}}}}`))
	if err != nil {
		f.Fatal(err)
	}
	proxy := module.(*reverseproxy.Handler)
	policy := proxy.LoadBalancing.SelectionPolicy.(*Policy)
	// $1 to $3 stand for the three nodes' tokens, $4 to $6 for their tokens of the
	// epoch before, $7 to $9 for those of the previous key: $0 is a forged one.
	epoch := affinity.Epoch(time.Now(), lifetime)
	leadsTo := make(map[string]string)
	tokens := []string{"$0", affinity.Token([]byte("forged"), epoch, "m0:14240")}
	for _, made := range []struct {
		key   string
		epoch int64
	}{{"new", epoch}, {"new", epoch - 1}, {"old", epoch}} {
		for _, upstream := range proxy.Upstreams {
			token := affinity.Token([]byte(made.key), made.epoch, upstream.Dial)
			leadsTo[token] = upstream.Dial
			tokens = append(tokens, "$"+string(rune('0'+len(tokens)/2)), token)
		}
	}
	fillIn := strings.NewReplacer(tokens...)
	back := func(line string) (values []string) {
		pair := strings.Split(line, ";")[0]
		i := strings.Index(pair, "=")
		cookie := strings.Trim(pair[:max(i, 0)], " \t") + "=" + strings.Trim(pair[i+1:], " \t")
		affinity.CutCookie([]string{strings.TrimPrefix(cookie, "=")}, name, func(value string) { values = append(values, value) })
		return values
	}
	f.Fuzz(func(t *testing.T, lines string, pin, attempts byte) {
		r := &http.Request{Method: http.MethodGet, URL: &url.URL{Path: "/"}, Header: http.Header{"Cookie": {name + "=" + tokens[2*(1+pin%9)+1]}}}
		w := httptest.NewRecorder()
		r = caddyhttp.PrepareRequest(r, caddy.NewReplacer(), w, new(caddyhttp.Server))
		chosen := ""
		for range attempts % 4 {
			chosen = policy.Select(proxy.Upstreams, r, w).Dial
		}
		header := w.Header()
		sent := append(header["Set-Cookie"], strings.Split(fillIn.Replace(lines), "\n")...)
		var want []string
		kept := false // of our cookie, one is enough
		for _, line := range sent {
			values := back(line)
			switch {
			case len(values) == 0:
				want = append(want, line)
			case !kept && chosen != "" && leadsTo[values[0]] == chosen:
				want = append(want, line)
				kept = true
			}
		}
		header["Set-Cookie"] = slices.Clone(sent)
		policy.dropForeignCookies(header, r, false)
		if got := header["Set-Cookie"]; !slices.Equal(got, want) {
			t.Errorf("of %q for a client of %q stayed %q, want %q", sent, chosen, got, want)
		}
		if chosen == "" {
			return
		}
		// An error pins nobody.
		header["Set-Cookie"] = slices.Clone(sent)
		ww := &responseWriter{ResponseWriterWrapper: caddyhttp.ResponseWriterWrapper{ResponseWriter: w}, request: r}
		ww.adjust(http.StatusBadGateway)
		for _, line := range header["Set-Cookie"] {
			if len(back(line)) > 0 {
				t.Errorf("of %q stayed %q in an error", sent, line)
			}
		}
	})
}

// What the image takes for a variable's value is words of the line it is in, and
// no more: it opens and closes nothing.
func FuzzEnvironment(f *testing.F) {
	var names []string
	for name := range environmentVariables {
		switch name {
		case "TLS", "ACME_CA_ROOT": // which read the files
		case "COOKIE_KEY", "PREVIOUS_COOKIE_KEY": // which are no part of the text
		default:
			names = append(names, name)
		}
	}
	slices.Sort(names)
	for i := range names {
		for _, seed := range []string{
			"graph.example.com, :80", "m1 m2:14240 https://m3", "a@example.com", "https://acme.example.com/x?y", "10.0.0.0/8 private_ranges", ":9180", "info", "1d", "*.a.b",
			"<<EOF", "a@<<b", "a\u00a0b", "a\u2028b", "a}", "}", "m1 {", "a@{$B}", "\ufeffa", "(a)", "&(a)", "import", "m1 <<m2", "a\x00b", "a,\n", "http://[::1]:80", "localhost:1-3 TCP4/M1 unix//a.sock", "fe80::1%eth0 m_1.", "{env.A}", "user:pw@m1", "M1 m1",
		} {
			f.Add(byte(i), seed)
		}
	}
	isBrace := func(text string) bool { return text == "{" || text == "}" }
	f.Fuzz(func(t *testing.T, which byte, value string) {
		name := names[int(which)%len(names)]
		if value == "" || environmentVariables[name].Check(value) != nil {
			return
		}
		for _, line := range []string{"before " + value + " {", "before " + value} {
			list, err := caddyfile.Tokenize([]byte(line+"\nnext\n"), "Caddyfile")
			if err != nil {
				t.Fatalf("%s %q: %v", name, value, err)
			}
			var texts []string
			for i, token := range list {
				texts = append(texts, token.Text)
				if last := i == len(list)-1; last != (token.Line > 1) {
					t.Errorf("%s %q: %q is on line %d", name, value, token.Text, token.Line)
				}
			}
			if want := append(strings.Fields(line), "next"); !slices.Equal(texts, want) || slices.ContainsFunc(strings.Fields(value), isBrace) {
				t.Errorf("%s %q is read as %q", name, value, texts)
			}
		}
	})
}
