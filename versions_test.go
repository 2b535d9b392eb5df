package tigergraph_test

import (
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"golang.org/x/mod/modfile"
	"golang.org/x/mod/module"
	"golang.org/x/mod/semver"
)

const caddyModule = "github.com/caddyserver/caddy/v2"

// requiredCaddy returns the version of Caddy that a go.mod requires.
func requiredCaddy(t *testing.T, file string) string {
	t.Helper()
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := modfile.Parse(file, content, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, required := range parsed.Require {
		if required.Mod.Path == caddyModule {
			return required.Mod.Version
		}
	}
	t.Fatalf("%s does not require Caddy", file)
	return ""
}

// Whoever builds Caddy with the plugin inherits go.mod, and no more than the lowest
// that works; whoever builds what is in a clone gets the newest.
func TestAClonesCaddyIsTheNewestAndADependentsTheLowest(t *testing.T) {
	lowest, newest := requiredCaddy(t, "go.mod"), requiredCaddy(t, "tools/newest/go.mod")
	if semver.Compare(lowest, newest) >= 0 {
		t.Errorf("the lowest Caddy is %s, the newest %s", lowest, newest)
	}
	for workspace, want := range map[string]string{"auto": newest, "off": lowest} {
		list := exec.Command("go", "list", "-m", "-f", "{{.Version}}", caddyModule)
		list.Env = append(os.Environ(), "GOWORK="+workspace)
		output, err := list.Output()
		if err != nil {
			t.Fatalf("GOWORK=%s: %v", workspace, err)
		}
		if got := strings.TrimSpace(string(output)); got != want {
			t.Errorf("GOWORK=%s builds Caddy %s, want %s", workspace, got, want)
		}
	}
	if got := requiredCaddy(t, "integration_test/ratelimit/go.mod"); got != lowest {
		t.Errorf("integration_test/ratelimit requires Caddy %s, want %s", got, lowest)
	}
}

// What is said of the two versions is what go.mod and tools/newest/go.mod say.
func TestEverybodySpeaksOfTheSameTwoCaddys(t *testing.T) {
	lowest, newest := requiredCaddy(t, "go.mod"), requiredCaddy(t, "tools/newest/go.mod")
	if module.IsPseudoVersion(newest) {
		t.Skip("this needs a released Caddy: tools/newest requires " + newest)
	}
	for _, statement := range []struct {
		file, pattern, want string
	}{
		{"README.md", `xcaddy build (v\S+) `, newest},
		{"README.md", `(?m)^\| unreleased \| (v[\d.]+) or later`, lowest},
		{"README.md", `(?m)^\| unreleased \|.*tested up to (v[\d.]+) `, newest},
		{"Dockerfile", `ARG CADDY_VERSION=(\S+)`, newest},
		{"docs/deployment.md", `CADDY_VERSION=([\d.]*\d)`, newest},
		{".github/workflows/release.yml", `CADDY_VERSION: (\S+)`, newest},
		{"CHANGELOG.md", `Caddy (v[\d.]+) or later`, lowest},
	} {
		content, err := os.ReadFile(statement.file)
		if err != nil {
			t.Fatal(err)
		}
		found := regexp.MustCompile(statement.pattern).FindAllStringSubmatch(string(content), -1)
		if len(found) == 0 {
			t.Errorf("%s says nothing like %s", statement.file, statement.pattern)
		}
		for _, match := range found {
			if got := "v" + strings.TrimPrefix(match[1], "v"); got != statement.want {
				t.Errorf("%s has %q, want Caddy %s", statement.file, match[0], statement.want)
			}
		}
	}
}

// The README's table says which Go the plugin needs, which is go.mod's.
func TestTheReadmeSaysWhichGoIsNeeded(t *testing.T) {
	content, err := os.ReadFile("go.mod")
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := modfile.Parse("go.mod", content, nil)
	if err != nil {
		t.Fatal(err)
	}
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	if row := regexp.MustCompile(`(?m)^\| unreleased \|.*\| ` + regexp.QuoteMeta(parsed.Go.Version) + ` \|`); !row.Match(readme) {
		t.Errorf("the README's table does not say Go %s", parsed.Go.Version)
	}
}
