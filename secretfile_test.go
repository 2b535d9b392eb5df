package tigergraph_test

import (
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// fileMention is a secret in a file, as a Caddyfile names it; the image's has the path
// from a variable.
var fileMention = regexp.MustCompile(`\{(file[.:])(\{\$[A-Z_]+(?::[^{}]*)?\}|[^{}"\s]+)\}`)

// fileMentions returns what of that stands in a file that is shipped, in documentation
// and configurations alike.
func fileMentions(t *testing.T) map[string][]string {
	t.Helper()
	found := make(map[string][]string)
	err := filepath.WalkDir(".", func(name string, entry fs.DirEntry, err error) error {
		switch {
		case err != nil:
			return err
		case entry.IsDir() && (name != "." && strings.HasPrefix(entry.Name(), ".") || entry.Name() == "testdata"):
			return fs.SkipDir
		case !entry.Type().IsRegular() || strings.HasSuffix(name, "_test.go"):
			return nil
		}
		if info, err := entry.Info(); err != nil || info.Size() > 1<<20 { // somebody's binary
			return err
		}
		content, err := os.ReadFile(name)
		if mentions := fileMention.FindAllString(string(content), -1); mentions != nil {
			found[filepath.ToSlash(name)] = mentions
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// Whoever writes one of them, with a file of their own, gets a key that is the file's
// content, and not a public string.
func TestEverySecretInAFileThatIsMentionedIsTheContentOfTheFile(t *testing.T) {
	mentions := fileMentions(t)
	for _, name := range []string{"SECURITY.md", "docs/security.md", "cookie.go", "deploy/docker/Caddyfile"} {
		if mentions[name] == nil {
			t.Errorf("%s has none: does this test still know what they look like?", name)
		}
	}
	variable := regexp.MustCompile(`\{\$[^{}]*\}`)
	for name, list := range mentions {
		for _, mention := range list {
			parts := fileMention.FindStringSubmatch(mention)
			file := filepath.Join(t.TempDir(), variable.ReplaceAllString(parts[2], "key"))
			if err := os.MkdirAll(filepath.Dir(file), 0o700); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(file, []byte("new\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			secret, err := json.Marshal("{" + parts[1] + file + "}")
			if err != nil {
				t.Fatal(err)
			}
			h := provisionHandler(t, `{"policy":"tigergraph","cookie":{"secrets":[`+string(secret)+`],`+lifetimeText+`}}`, 3)
			c := from("198.51.100.7", "/")
			node := c.ask(h)
			if value, _ := c.ours(); value != token("new", 0, node) {
				t.Errorf("%s: the key of %s is not the content of the file", name, mention)
			}
		}
	}
}
