// Package workflows_test holds .github/workflows against what GitHub's own
// documentation asks of safe ones.
package workflows_test

import (
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/rhysd/actionlint"
)

func files(t *testing.T) []string {
	t.Helper()
	files, err := filepath.Glob("../../.github/workflows/*.yml")
	if err != nil || len(files) < 4 {
		t.Fatalf("%v, %v", files, err)
	}
	return files
}

func TestWorkflowsAreUnderstood(t *testing.T) {
	linter, err := actionlint.NewLinter(io.Discard, &actionlint.LinterOptions{})
	if err != nil {
		t.Fatal(err)
	}
	problems, err := linter.LintFiles(files(t), nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, problem := range problems {
		t.Error(problem)
	}
}

var (
	uses   = regexp.MustCompile(`(?m)^\s*(?:- )?uses: (\S+)(.*)$`)
	pinned = regexp.MustCompile(`^[\w.-]+/[\w.-]+@[0-9a-f]{40}$`)
	tagged = regexp.MustCompile(`^ # v\d+\.\d+\.\d+$`)
)

func TestActionsArePinnedAndRightsAreFew(t *testing.T) {
	digests := make(map[string]string)
	for _, file := range files(t) {
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		text := string(content)
		for _, match := range uses.FindAllStringSubmatch(text, -1) {
			action, comment := match[1], match[2]
			if strings.HasPrefix(action, "./.github/workflows/") {
				continue
			}
			if !pinned.MatchString(action) || !tagged.MatchString(comment) {
				t.Errorf("%s: %s is not pinned by its digest, with its version behind it", file, action)
			}
			name, digest, _ := strings.Cut(action, "@")
			if other := digests[name]; other != "" && other != digest {
				t.Errorf("%s: %s is pinned twice, differently", file, name)
			}
			digests[name] = digest
		}
		// For the whole workflow, before any job has more.
		if !strings.Contains(text, "\npermissions:\n  contents: read\n\n") {
			t.Errorf("%s: the workflow may do more than read", file)
		}
		if strings.Count(text, "persist-credentials: false") != strings.Count(text, "actions/checkout@") {
			t.Errorf("%s: a checkout leaves its token behind", file)
		}
		if strings.Contains(text, "pull_request_target") {
			t.Errorf("%s: strangers' code gets rights", file)
		}
		if strings.Count(text, "timeout-minutes:") != strings.Count(text, "runs-on:") {
			t.Errorf("%s: a job has no limit of time", file)
		}
	}
}

// go.mod requires the lowest Caddy, and the modules of the tests what the plugin
// requires. Whoever tests with another raises what go.work joins, and nothing else.
func TestWhoRaisesCaddyRaisesTheNewest(t *testing.T) {
	raising := 0
	for _, file := range files(t) {
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		text := string(content)
		if strings.Contains(text, "go get") {
			t.Errorf("%s raises what the plugin requires", file)
		}
		_, after, raises := strings.Cut(text, "go -C tools/newest get ")
		if !raises {
			continue
		}
		raising++
		if before, _, tests := strings.Cut(after, "go test"); !tests || !strings.Contains(before, "go -C tools/newest mod tidy") {
			t.Errorf("%s raises Caddy and does not tidy up before it tests", file)
		}
	}
	if raising != 1 {
		t.Errorf("%d workflows raise Caddy", raising)
	}
}
