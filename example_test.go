package tigergraph_test

import (
	"encoding/json"
	"os"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
)

func TestTheExamplesAreValidAndFormatted(t *testing.T) {
	for _, file := range []string{"example.Caddyfile", "example.reverse_proxy.Caddyfile"} {
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if string(caddyfile.Format(content)) != string(content) {
			t.Errorf("caddy fmt would change %s", file)
		}
		t.Setenv("XDG_DATA_HOME", t.TempDir())
		validate(t, adapt(t, string(content)))
	}
}

// validate provisions a configuration as `caddy validate` does.
func validate(t *testing.T, config string) {
	t.Helper()
	var decoded caddy.Config
	if err := json.Unmarshal([]byte(config), &decoded); err != nil {
		t.Fatalf("%v\n%s", err, config)
	}
	if err := caddy.Validate(&decoded); err != nil {
		t.Error(err)
	}
}
