package tigergraph_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// SECURITY.md claims nothing that a test does not show.
func TestSecurityNamesTestsThatExist(t *testing.T) {
	content, err := os.ReadFile("SECURITY.md")
	if err != nil {
		t.Fatal(err)
	}
	exists := make(map[string]bool)
	function := regexp.MustCompile(`(?m)^func ((?:Test|Fuzz)\w+)\(`)
	err = filepath.WalkDir(".", func(path string, _ fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		source, err := os.ReadFile(path)
		for _, name := range function.FindAllStringSubmatch(string(source), -1) {
			exists[name[1]] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	named := namedTest.FindAllStringSubmatch(string(content), -1)
	if len(named) < 30 {
		t.Errorf("only %d tests are named", len(named))
	}
	for _, name := range named {
		if !exists[name[1]] {
			t.Errorf("there is no test %s", name[1])
		}
	}
	for line := range strings.Lines(string(content)) {
		// What a party cannot do must be shown; what it can do, it can.
		if strings.HasPrefix(line, "| cannot") && !namedTest.MatchString(line) {
			t.Errorf("no test shows that %s", line)
		}
	}
	block := fence.FindStringSubmatch(string(content))
	if block == nil {
		t.Fatal("the Caddyfile is missing")
	}
	if adapted := adapt(t, block[2]); !strings.HasPrefix(adapted, "{") {
		t.Error(adapted)
	}
}

var namedTest = regexp.MustCompile("`((?:Test|Fuzz)\\w+)`")
