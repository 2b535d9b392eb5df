package tigergraph_test

import (
	"os"
	"testing"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

func TestTheExampleIsValidAndFormatted(t *testing.T) {
	content, err := os.ReadFile("example.Caddyfile")
	if err != nil {
		t.Fatal(err)
	}
	if string(caddyfile.Format(content)) != string(content) {
		t.Error("caddy fmt would change example.Caddyfile")
	}
	t.Setenv("XDG_DATA_HOME", t.TempDir())
	validate(t, adapt(t, string(content)))
}
