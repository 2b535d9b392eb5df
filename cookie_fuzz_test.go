package tigergraph

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/affinity"
)

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
		pair, _, _ := strings.Cut(line, ";")
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
