package tigergraph

import (
	"slices"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

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
