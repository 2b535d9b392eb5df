package environment_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/environment"
)

func TestAKeyThatCanBeGuessedIsRefused(t *testing.T) {
	t.Setenv("COOKIE_KEY", "")
	file := filepath.Join(t.TempDir(), "key")
	for _, test := range []struct{ key, want string }{
		{"0123456789abcdef", ""},
		{"0123456789abcde", "it has 15 characters, and must have at least 16"},
		{"{file./run/secrets/k}", "it must be the key itself"},
	} {
		if err := os.WriteFile(file, []byte(test.key+"\r\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		for how, err := range map[string]error{
			"itself": environment.CheckKey(test.key), "in a file": environment.CheckKeyFile(file), "in the only file": environment.CheckOnlyKeyFile(file),
		} {
			if (err != nil) != (test.want != "") || err != nil && !strings.Contains(err.Error(), test.want) {
				t.Errorf("%q %s: %v", test.key, how, err)
			}
		}
	}
	t.Setenv("COOKIE_KEY", "0123456789abcdef")
	if err := environment.CheckOnlyKeyFile(file); err == nil || !strings.Contains(err.Error(), "COOKIE_KEY is set too") {
		t.Errorf("two keys: %v", err)
	}
}
