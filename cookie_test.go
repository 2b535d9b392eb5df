package tigergraph_test

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/affinity"
)

func TestTheCookieHasTheAttributesOfItsSettings(t *testing.T) {
	const plainly, securely = false, true
	// What is left of this epoch and the next.
	left := func() time.Duration {
		return time.Until(affinity.EpochEnd(affinity.Epoch(time.Now(), lifetime)+1, lifetime))
	}
	for name, test := range map[string]struct {
		cookie string
		tls    bool
		want   string // after the name and value
		called string // if not by the usual name
	}{
		"by default over plain HTTP":       {``, plainly, "; Path=/; HttpOnly; SameSite=Lax", ""},
		"by default over TLS":              {``, securely, "; Path=/; HttpOnly; Secure; SameSite=None", ""},
		"lax over plain HTTP":              {`,"same_site":"lax"`, plainly, "; Path=/; HttpOnly; SameSite=Lax", ""},
		"lax over TLS":                     {`,"same_site":"lax"`, securely, "; Path=/; HttpOnly; Secure; SameSite=Lax", ""},
		"strict over plain HTTP":           {`,"same_site":"strict"`, plainly, "; Path=/; HttpOnly; SameSite=Strict", ""},
		"strict over TLS":                  {`,"same_site":"strict"`, securely, "; Path=/; HttpOnly; Secure; SameSite=Strict", ""},
		"none over plain HTTP goes as lax": {`,"same_site":"none"`, plainly, "; Path=/; HttpOnly; SameSite=Lax", ""},
		"none over TLS":                    {`,"same_site":"none"`, securely, "; Path=/; HttpOnly; Secure; SameSite=None", ""},
		"name":                             {`,"name":"sticky"`, plainly, "; Path=/; HttpOnly; SameSite=Lax", "sticky"},
		"host prefix":                      {`,"name":"__Host-node"`, securely, "; Path=/; HttpOnly; Secure; SameSite=None", "__Host-node"},
		"path":                             {`,"path":"/graph"`, plainly, "; Path=/graph; HttpOnly; SameSite=Lax", ""},
		"domain":                           {`,"domain":"example.com"`, plainly, "; Path=/; Domain=example.com; HttpOnly; SameSite=Lax", ""},
		"persistent":                       {`,"persistent":true`, plainly, "; Path=/; Max-Age=LEFT; HttpOnly; SameSite=Lax", ""},
	} {
		t.Run(name, func(t *testing.T) {
			h := provisionHandler(t, `{"policy":"tigergraph","cookie":{"secrets":["new"],`+lifetimeText+test.cookie+`}}`, 3)
			c := from("198.51.100.7", "/api/ping")
			if test.tls {
				c.overTLS()
			}
			most := left()
			node := c.ask(h)
			if test.called == "" {
				test.called = ourName
			}
			want := test.called + "=" + token("new", 0, node) + test.want
			got := strings.Join(c.set(), "\n")
			if _, after, found := strings.Cut(got, "Max-Age="); found {
				age, _, _ := strings.Cut(after, ";")
				if seconds, err := strconv.Atoi(age); err != nil || seconds > int(most.Seconds()) || seconds < int(left().Seconds()) {
					t.Errorf("lasts for %q seconds, want what is left of this epoch and the next", age)
				}
				got = strings.Replace(got, "Max-Age="+age, "Max-Age=LEFT", 1)
			}
			if got != want {
				t.Errorf("set %q, want %q", got, want)
			}
		})
	}
}

func TestTheCookieIsSecureWhereATrustedProxySaysHTTPS(t *testing.T) {
	h := provisionHandler(t, pinning, 3)
	for name, test := range map[string]struct {
		trusted bool
		proto   []string
		want    bool
	}{
		"a trusted proxy says https":        {true, []string{"https"}, true},
		"a trusted proxy says http":         {true, []string{"http"}, false},
		"a trusted proxy says nothing":      {true, nil, false},
		"an untrusted client says https":    {false, []string{"https"}, false},
		"the proxy's own word is the last":  {true, []string{"http", "https"}, true},
		"a client's word before it is none": {true, []string{"https", "http"}, false},
	} {
		t.Run(name, func(t *testing.T) {
			c := from("198.51.100.7", "/")
			c.Header["X-Forwarded-Proto"] = test.proto
			caddyhttp.SetVar(c.Context(), caddyhttp.TrustedProxyVarKey, test.trusted)
			c.ask(h)
			if got := strings.Contains(c.set()[0], "; Secure"); got != test.want {
				t.Errorf("set %q", c.set())
			}
			// The retry, whose headers may have been rewritten, goes by the first.
			c.Header["X-Forwarded-Proto"] = []string{"https"}
			if test.want {
				c.Header["X-Forwarded-Proto"] = []string{"http"}
			}
			c.ask(h)
			if got := strings.Contains(c.set()[0], "; Secure"); got != test.want {
				t.Errorf("the retry set %q", c.set())
			}
		})
	}
}

func TestOnlyTheGUISetsACookieAndEveryServiceHonoursIt(t *testing.T) {
	h := provisionHandler(t, pinning, 3)
	for path, service := range map[string]string{
		"/":                          "gui",
		"/api/auth/login":            "gui",
		"/informant/metrics":         "gui",
		"/gsql":                      "gui", // the web shell
		"/gsqlserver/gsql/login":     "gsql",
		"/gsql/v1/statements":        "gsql",
		"/gsql/scim/v2/Users":        "gsql",
		"/restpp/query/g/q":          "restpp",
		"/api/../restpp/echo":        "restpp",
		"//gsqlserver//gsql/command": "gsql",
	} {
		t.Run(path, func(t *testing.T) {
			c := from("198.51.100.7", path)
			c.ask(h)
			_, times := c.ours()
			if want := map[bool]int{true: 1}[service == "gui"]; times != want {
				t.Errorf("the cookie is set %d times, want %d", times, want)
			}
			if got := c.placeholder("service"); got != service {
				t.Errorf("the service is %s, want %s", got, service)
			}
			for _, upstream := range h.Upstreams {
				for _, secret := range []string{"new", "old"} {
					c := from("198.51.100.7", path, "Cookie", ourName+"="+token(secret, 0, upstream.Dial))
					if got := c.ask(h); got != upstream.Dial {
						t.Errorf("the cookie of %s led to %s", upstream.Dial, got)
					}
					if len(c.Header["Cookie"]) != 0 {
						t.Errorf("the node sees %q", c.Header["Cookie"])
					}
					if _, times := c.ours(); times != map[bool]int{true: 1}[service == "gui" && secret == "old"] {
						t.Errorf("with a cookie by the %s key, the cookie is set %d times", secret, times)
					}
					// Nor does a retry, or its failure, on other services.
					for range 3 {
						c.ask(h)
						if _, times := c.ours(); service != "gui" && times != 0 {
							t.Errorf("a retry sets %q", c.set())
						}
					}
				}
			}
		})
	}
}

func TestACookieIsRewrittenUnlessItIsOfThisEpochAndTheFirstKey(t *testing.T) {
	h := provisionHandler(t, pinning, 3)
	node := h.Upstreams[1].Dial
	client := elsewhere(t, h, node)
	home := from(client, "/gsql/v1/schema").ask(h)
	valid := token("new", 0, node)
	for name, test := range map[string]struct {
		value   string
		honours bool
		rewrite bool
	}{
		"current":                        {valid, true, false},
		"current, quoted":                {`"` + valid + `"`, true, false},
		"of the last epoch":              {token("new", -1, node), true, true},
		"of the next epoch":              {token("new", +1, node), true, true},
		"by the previous key":            {token("old", 0, node), true, true},
		"by the previous key, last time": {token("old", -1, node), true, true},
		"two epochs old":                 {token("new", -2, node), false, true},
		"two epochs ahead":               {token("new", +2, node), false, true},
		"by another key":                 {token("stolen", 0, node), false, true},
		"for another node":               {token("new", 0, "10.9.9.9:14240"), false, true},
		"truncated":                      {valid[:len(valid)-1], false, true},
		"extended":                       {valid + "A", false, true},
		"in another case":                {strings.ToLower(valid) + "x", false, true},
		"empty":                          {"", false, true},
		"the node's address":             {node, false, true},
		"padded base64":                  {valid + "==", false, true},
		"very long":                      {strings.Repeat("A", 1<<16), false, true},
		"percent-encoded":                {"%41" + valid[1:], false, true},
	} {
		t.Run(name, func(t *testing.T) {
			c := from(client, "/", "Cookie", ourName+"="+test.value)
			want := home
			if test.honours {
				want = node
			}
			if got := c.ask(h); got != want {
				t.Errorf("chose %s, want %s", got, want)
			}
			value, times := c.ours()
			switch {
			case !test.rewrite && times != 0:
				t.Errorf("set %q, want none", c.set())
			case test.rewrite && (times != 1 || value != token("new", 0, want)):
				t.Errorf("set %q, want the current one of %s", c.set(), want)
			}
			if len(c.Header["Cookie"]) != 0 {
				t.Errorf("the node sees %q", c.Header["Cookie"])
			}
			why := "client_ip"
			if test.honours {
				why = "cookie"
			}
			if got := c.placeholder("affinity"); got != why {
				t.Errorf("the affinity is %s, want %s", got, why)
			}
		})
	}
}

func TestOtherCookiesReachTheNodeByteForByte(t *testing.T) {
	h := provisionHandler(t, pinning, 3)
	node := h.Upstreams[2].Dial
	ours := ourName + "=" + token("new", 0, node)
	session := `{"terminalWidth":80,"fromGsqlClient":true,"graph":"a; b","sessionId":"00000000561","auth":"Basic dDp0"}`
	for name, test := range map[string]struct {
		before, after []string
		pinned        bool
	}{
		"raw JSON alone":        {[]string{session}, []string{session}, false},
		"raw JSON and ours":     {[]string{session, ours}, []string{session}, true},
		"ours before raw JSON":  {[]string{ours + "; GSQLCookie=" + session}, []string{"GSQLCookie=" + session}, true},
		"ours first":            {[]string{ours + "; a=1; b=2"}, []string{"a=1; b=2"}, true},
		"ours in between":       {[]string{"a=1; " + ours + "; b=2"}, []string{"a=1; b=2"}, true},
		"ours last":             {[]string{"a=1; b=2; " + ours}, []string{"a=1; b=2"}, true},
		"ours twice":            {[]string{ours + "; a=1; " + ours}, []string{"a=1"}, true},
		"a bogus one, then it":  {[]string{ourName + "=bogus; " + ours + "; a=1"}, []string{"a=1"}, true},
		"odd bytes":             {[]string{"a=\"x\x80,y\"; " + ours + ";b =2"}, []string{"a=\"x\x80,y\";b =2"}, true},
		"a longer name":         {[]string{ourName + "2=x; my" + ourName + "=y"}, []string{ourName + "2=x; my" + ourName + "=y"}, false},
		"another case":          {[]string{strings.ToLower(ours)}, []string{strings.ToLower(ours)}, false},
		"a value like our name": {[]string{"a=" + ourName + "; b"}, []string{"a=" + ourName + "; b"}, false},
	} {
		t.Run(name, func(t *testing.T) {
			c := from(elsewhere(t, h, node), "/api/ping")
			c.Header["Cookie"] = slices.Clone(test.before)
			if got := c.ask(h); (got == node) != test.pinned {
				t.Errorf("chose %s; the cookie's node is %s", got, node)
			}
			if got := c.Header["Cookie"]; !slices.Equal(got, test.after) {
				t.Errorf("left %q, want %q", got, test.after)
			}
		})
	}
}

func TestTheCookieIsTakenBackWithTheHeaderItCameIn(t *testing.T) {
	h := provisionHandler(t, pinning, 1)
	c := from("198.51.100.7", "/")
	c.ask(h)
	c.ask(h)
	if _, set := c.writer.header["Set-Cookie"]; set {
		t.Errorf("an empty Set-Cookie is left: %q", c.writer.header)
	}
}

func TestSecretsComeFromTheEnvironment(t *testing.T) {
	t.Setenv("TIGERGRAPH_TEST_SECRET", "new")
	h := provisionHandler(t, `{"policy":"tigergraph","cookie":{"secrets":["{env.TIGERGRAPH_TEST_SECRET}"],`+lifetimeText+`}}`, 3)
	c := from("198.51.100.7", "/")
	node := c.ask(h)
	if value, _ := c.ours(); value != token("new", 0, node) {
		t.Errorf("set %q", c.set())
	}
}

func TestTheCookieOfANodeThatLeftThePoolIsMissing(t *testing.T) {
	h := provisionHandler(t, pinning, 3)
	gone := h.Upstreams[2].Dial
	pool := h.Upstreams[:2]
	c := from("198.51.100.7", "/", "Cookie", ourName+"="+token("new", 0, gone))
	node := c.askFor(h, pool)
	if want := from("198.51.100.7", "/").askFor(h, pool); node != want {
		t.Errorf("chose %s, want %s", node, want)
	}
	if value, times := c.ours(); times != 1 || value != token("new", 0, node) {
		t.Errorf("set %q", c.set())
	}
	// It is back: so is its cookie.
	c = from("198.51.100.7", "/", "Cookie", ourName+"="+token("new", 0, gone))
	if node := c.ask(h); node != gone {
		t.Errorf("chose %s, want %s", node, gone)
	}
}

func TestACookieIsHonouredForANodeThatThePolicyHasNotMet(t *testing.T) {
	h := provisionHandler(t, pinning, 3)
	pool := slices.Clone(h.Upstreams)
	for i := range 9 {
		dial := fmt.Sprintf("10.1.0.%d:14240", i+1)
		pool = append(pool, &reverseproxy.Upstream{Host: new(reverseproxy.Host), Dial: dial})
		c := from("198.51.100.7", "/", "Cookie", ourName+"="+token("new", 0, dial))
		if node := c.askFor(h, pool); node != dial || len(c.set()) != 0 {
			t.Errorf("the cookie of %s led to %s and set %q", dial, node, c.set())
		}
	}
}
