package tigergraph_test

import (
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
)

func FuzzSelect(f *testing.F) {
	valid := ourName + "=" + token("new", 0, "10.0.0.2:14240")
	for _, cookie := range []string{
		"", valid, valid + ";", ";" + valid, "; ;" + valid + "; ; " + valid, "a=1;" + valid + ";b=2", ourName, ourName + "=", "=" + ourName,
		`{"graph":"a;b","auth":"Basic ="}`, `{"a":"` + valid + `"}`, ourName + `="` + token("old", -1, "10.0.0.1:14240") + `"`,
		ourName + ourName + "=" + ourName + "=" + ourName, "\x00\xff;" + valid, strings.Repeat(valid+"; ", 100), "\t" + valid + "\t", "x" + valid + "\n" + valid,
	} {
		f.Add(cookie, "/api/ping", "198.51.100.7", "ann")
	}
	for _, path := range []string{
		"", "/", "//", "*", "gsql/v1", "/restpp", "/restpp/../gsqlserver/", "/./././gsql/v1/", "/\x00", "/../../..", "/%2e%2e/restpp", "\\restpp\\..",
		strings.Repeat("/..", 1000), strings.Repeat("/a", 1000) + "/../restpp", "/gsqlserver\xff/",
	} {
		f.Add(valid, path, "2001:db8::1", "")
	}
	for _, client := range []string{"", "::", "::ffff:198.51.100.7", "fe80::1%eth0", "[::1]:80", "198.51.100.7:0", "256.0.0.1", "@", "\xff"} {
		f.Add("", "/", client, "\x00")
	}
	handlers := make(map[string]*reverseproxy.Handler)
	for name, policy := range everyAffinity {
		handlers[name] = provisionHandler(f, policy, 3)
	}
	f.Fuzz(func(t *testing.T, cookie, path, client, value string) {
		for name, h := range handlers {
			c := from(client, path, "X-User", value)
			// The policy gets what the parser of HTTP let through and what a
			// handler before it made of that.
			lines := strings.Split(cookie, "\n")
			c.Header["Cookie"] = append([]string(nil), lines...)
			tried := make(map[string]bool)
			for range h.Upstreams {
				node := c.ask(h)
				tried[node] = true
				value, times := c.ours()
				if times > 1 || name != "cookie" && times > 0 {
					t.Errorf("%s set %q", name, c.set())
				}
				// At the turn of a day the one before may have been meant.
				if times == 1 && value != token("new", 0, node) && value != token("new", -1, node) {
					t.Errorf("%s sent a client to %s and set %q", name, node, value)
				}
			}
			if len(tried) != len(h.Upstreams) || tried[""] {
				t.Errorf("%s tried %v", name, tried)
			}
			if name != "cookie" {
				continue
			}
			for _, line := range c.Header["Cookie"] {
				for pair := range strings.SplitSeq(line, ";") {
					if strings.HasPrefix(strings.Trim(pair, " \t"), ourName+"=") {
						t.Errorf("of %q it left %q", lines, c.Header["Cookie"])
					}
				}
			}
		}
	})
}
