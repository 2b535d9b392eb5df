package tigergraph

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2/caddyconfig"
)

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
