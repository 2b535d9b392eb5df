// Package workflows_test holds .github/workflows against what GitHub's own
// documentation asks of safe ones.
package workflows_test

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/rhysd/actionlint"
	"go.yaml.in/yaml/v4"
)

type job struct {
	Needs    any
	RunsOn   any `yaml:"runs-on"`
	Strategy map[string]any
	Steps    []step
}

type step struct {
	Name, Run string
	If        string
	With      map[string]any
	Env       map[string]string
	Folder    string `yaml:"working-directory"`
}

func jobsOf(t *testing.T, file string) map[string]job {
	t.Helper()
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var workflow struct{ Jobs map[string]job }
	if err := yaml.Unmarshal(content, &workflow); err != nil {
		t.Fatalf("%s: %v", file, err)
	}
	return workflow.Jobs
}

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

// everywhere are the packages whose tests need neither Linux nor an address of the
// loopback beside 127.0.0.1. Those of the whole edge bind 127.0.0.2 and further ones.
var everywhere = []string{".", "./internal/...", "./command/..."}

// The newest Caddy is tested with the race detector and the lowest without, on Linux;
// what else is tested elsewhere is what can pass there.
func TestAChangeIsTestedTwiceAndElsewhereInPart(t *testing.T) {
	whole := 0
	for _, file := range files(t) {
		for name, job := range jobsOf(t, file) {
			machines := strings.ToLower(fmt.Sprint(job.RunsOn, job.Strategy))
			other := strings.Contains(machines, "macos") || strings.Contains(machines, "windows")
			for _, step := range job.Steps {
				_, arguments, tests := strings.Cut(step.Run, "go test ")
				switch {
				case !tests:
				case other:
					for argument := range strings.FieldsSeq(arguments) {
						if !slices.Contains(everywhere, argument) {
							t.Errorf("%s: the job %s, which is not on Linux alone, tests %s", file, name, argument)
						}
					}
				case filepath.Base(file) == "test.yml":
					whole++
					if matrix := fmt.Sprint(job.Strategy["matrix"]); matrix != "map[caddy:[lowest newest]]" || !strings.Contains(arguments, "matrix.caddy == 'newest' && '-race ") {
						t.Errorf("%s: the job %s tests %s for %s", file, name, arguments, matrix)
					}
				}
			}
		}
	}
	if whole != 1 {
		t.Errorf("%d jobs test a change as a whole", whole)
	}
}

// govulncheck itself fails for what nobody has mended, and then nothing can be merged
// or released.
func TestOnlyVulnerabilitiesThatCanBeMendedFail(t *testing.T) {
	looking := 0
	for _, file := range files(t) {
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(content), "govulncheck") {
			t.Errorf("%s runs govulncheck itself", file)
		}
		for name, job := range jobsOf(t, file) {
			// With -go, the Go at hand has to be the newest.
			newest := slices.ContainsFunc(job.Steps, func(s step) bool {
				return s.With["go-version"] == "stable" && s.With["check-latest"] == true
			})
			for _, step := range job.Steps {
				if !strings.Contains(step.Run, ".ci/known-vulnerabilities") {
					continue
				}
				looking++
				if step.Run != ".ci/known-vulnerabilities -go" || !newest {
					t.Errorf("%s: the job %s runs %q, with the newest Go: %t", file, name, step.Run, newest)
				}
			}
		}
	}
	if looking != 2 {
		t.Errorf("%d jobs look for vulnerabilities", looking)
	}
	script, err := os.ReadFile("../../.ci/known-vulnerabilities")
	if err != nil || !strings.Contains(string(script), "-C tools/vulnerabilities ") || !strings.Contains(string(script), `"$@" ./...`) {
		t.Errorf("the script is\n%s\n%v", script, err)
	}
}
