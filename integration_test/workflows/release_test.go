package workflows_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v4"
	"golang.org/x/mod/module"
	"golang.org/x/mod/zip"
)

const plugin = "github.com/caddy-tigergraph/caddy-tigergraph"

// release is release.yml, whose steps are run here as they are.
type release struct {
	t       *testing.T
	folder  string            // a copy of the repository, in which they run
	version string            // the tag
	proxy   string            // the folder of a module proxy that has published it
	runner  string            // what a runner calls RUNNER_TEMP
	env     map[string]string // of the whole workflow
	jobs    map[string]job
}

// run runs a step of a job, which must succeed, for a platform.
func (r *release) run(job, name, goos, goarch string) {
	r.t.Helper()
	if said, err := r.try(r.version, job, name, goos, goarch); err != nil {
		r.t.Fatalf("%s for %s %s: %v\n%s", name, goos, goarch, err, said)
	}
}

// try runs a step of a job as GitHub's runner does, for a tag and a platform.
func (r *release) try(tag, job, name, goos, goarch string) (said []byte, err error) {
	r.t.Helper()
	at := slices.IndexFunc(r.jobs[job].Steps, func(s step) bool { return s.Name == name })
	if at < 0 {
		r.t.Fatalf("the job %s has no step %q", job, name)
	}
	step := r.jobs[job].Steps[at]
	value := strings.NewReplacer("${{ matrix.os }}", goos, "${{ matrix.arch }}", goarch, "${{ matrix.arch == 'arm' && 'arm7' || matrix.arch }}", goarch)
	command := exec.Command("bash", "-e", "-c", step.Run)
	command.Dir = filepath.Join(r.folder, step.Folder)
	command.Env = append(os.Environ(),
		"GITHUB_REF_NAME="+tag, "RUNNER_TEMP="+r.runner, "GOWORK=", "GOPROXY=file://"+r.proxy+","+output(r.t, "go", "env", "GOPROXY"), "GONOSUMDB="+plugin)
	for _, env := range []map[string]string{r.env, step.Env} {
		for name, text := range env {
			if text = value.Replace(text); strings.Contains(text, "${{") {
				r.t.Fatalf("the step %q wants %s", name, text)
			}
			command.Env = append(command.Env, name+"="+text)
		}
	}
	return command.CombinedOutput()
}

func output(t *testing.T, name string, arguments ...string) string {
	t.Helper()
	said, err := exec.Command(name, arguments...).Output()
	if err != nil {
		t.Fatalf("%s %v: %v", name, arguments, err)
	}
	return strings.TrimSpace(string(said))
}

// newRelease copies what git would have of the working tree, and publishes it.
func newRelease(t *testing.T) *release {
	t.Helper()
	content, err := os.ReadFile("../../.github/workflows/release.yml")
	if err != nil {
		t.Fatal(err)
	}
	var workflow struct {
		Env  map[string]string
		Jobs map[string]job
	}
	if err := yaml.Unmarshal(content, &workflow); err != nil {
		t.Fatal(err)
	}
	r := &release{t: t, folder: t.TempDir(), runner: t.TempDir(), proxy: t.TempDir(), env: workflow.Env, jobs: workflow.Jobs}
	digest := sha256.New()
	for name := range strings.SplitSeq(output(t, "git", "-C", "../..", "ls-files", "-z", "--cached", "--others", "--exclude-standard"), "\x00") {
		source := filepath.Join("../..", name)
		info, err := os.Lstat(source)
		if name == "" || errors.Is(err, os.ErrNotExist) || err == nil && !info.Mode().IsRegular() {
			continue
		}
		content, err := os.ReadFile(source)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintln(digest, name, len(content))
		digest.Write(content)
		target := filepath.Join(r.folder, name)
		if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(target, content, info.Mode().Perm()); err != nil {
			t.Fatal(err)
		}
	}
	// Made of the content: what was fetched once stays in the module cache.
	r.version = fmt.Sprintf("v0.0.1-release.%x", digest.Sum(nil)[:6])
	versions := filepath.Join(r.proxy, filepath.FromSlash(plugin), "@v")
	if err := os.MkdirAll(versions, 0o755); err != nil {
		t.Fatal(err)
	}
	mod, err := os.ReadFile(filepath.Join(r.folder, "go.mod"))
	if err != nil {
		t.Fatal(err)
	}
	var archive bytes.Buffer
	if err := zip.CreateFromDir(&archive, module.Version{Path: plugin, Version: r.version}, r.folder); err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string][]byte{
		"list":              []byte(r.version + "\n"),
		r.version + ".info": fmt.Appendf(nil, `{"Version":%q,"Time":"2026-01-01T00:00:00Z"}`, r.version),
		r.version + ".mod":  mod,
		r.version + ".zip":  archive.Bytes(),
	} {
		if err := os.WriteFile(filepath.Join(versions, name), content, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return r
}

// The steps that make a release, without GitHub: for one platform that has packages,
// and one that has none.
func TestTheReleasesStepsMakeWhatIsReleased(t *testing.T) {
	if os.Getenv("RELEASE_TEST") == "" {
		t.Skip("building Caddy for two platforms takes minutes: set RELEASE_TEST=1 to do it")
	}
	r := newRelease(t)
	r.run("binary", "Tools", "", "")
	version := strings.TrimPrefix(r.version, "v")
	dist := filepath.Join(r.folder, "dist")
	for _, platform := range [][2]string{{"linux", "amd64"}, {"windows", "amd64"}} {
		goos, goarch := platform[0], platform[1]
		if err := os.RemoveAll(filepath.Join(r.folder, "folder")); err != nil { // each has a runner of its own
			t.Fatal(err)
		}
		for _, step := range []string{"Build", "What it was built of", "Archive"} {
			r.run("binary", step, goos, goarch)
		}
		binary := "caddy"
		if goos == "windows" {
			binary = "caddy.exe"
		}
		name := filepath.Join(dist, "caddy-tigergraph_"+version+"_"+goos+"_"+goarch)
		content := archived(t, name+".tar.gz")
		for _, want := range []string{
			binary, "LICENSE", "README.md", "CHANGELOG.md", "example.Caddyfile", "docs/deployment.md", "deploy/systemd/caddy-tigergraph.service",
			"deploy/grafana/alerts.yml", "deploy/helm/caddy-tigergraph/Chart.yaml", "deploy/kubernetes/deployment.yaml",
		} {
			if !slices.Contains(content, "./"+want) {
				t.Errorf("the archive for %s lacks %s", goos, want)
			}
		}
		checkParts(t, name+".cdx.json", map[string]string{plugin: r.version, "github.com/caddyserver/caddy/v2": "v" + r.env["CADDY_VERSION"]})
		if built, err := os.ReadFile(filepath.Join(r.folder, "built.txt")); err != nil || !strings.Contains(string(built), "GOOS="+goos) {
			t.Errorf("for %s it was built of %s, %v", goos, built, err)
		}
		if goos == "linux" {
			r.run("binary", "Packages", goos, goarch)
		}
	}
	checkPackages(t, dist)
	r.run("release", "Checksums", "", "")
	check := exec.Command("sha256sum", "--check", "--strict", "checksums.txt")
	check.Dir = dist
	said, err := check.CombinedOutput()
	if err != nil || strings.Count(string(said), ": OK\n") != 6 { // archives, lists of what is in them, packages
		t.Errorf("the checksums: %v\n%s", err, said)
	}
}

// A tag is refused that is not the release which the repository says it is. Whoever makes
// a release is told of each file that has to say so.
func TestOnlyTheTagOfThePreparedReleaseIsTaken(t *testing.T) {
	r := &release{t: t, folder: "../..", jobs: jobsOf(t, "../../.github/workflows/release.yml")}
	const name = "What names the release names this one"
	chart, err := os.ReadFile(filepath.Join(r.folder, "deploy/helm/caddy-tigergraph/Chart.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var prepared struct {
		AppVersion string `yaml:"appVersion"`
	}
	if err := yaml.Unmarshal(chart, &prepared); err != nil {
		t.Fatal(err)
	}
	if said, err := r.try("v"+prepared.AppVersion, "version", name, "", ""); err != nil {
		t.Errorf("the tag v%s is refused: %v\n%s", prepared.AppVersion, err, said)
	}
	for _, tag := range []string{"v99.0.0", prepared.AppVersion + "v", "v" + prepared.AppVersion + "-rc.1"} {
		if _, err := r.try(tag, "version", name, "", ""); err == nil {
			t.Errorf("the tag %s is taken", tag)
		}
	}
	guide, err := os.ReadFile(filepath.Join(r.folder, "CONTRIBUTING.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, list, _ := strings.Cut(string(guide), "\n## A release\n")
	at := slices.IndexFunc(r.jobs["version"].Steps, func(s step) bool { return s.Name == name })
	for word := range strings.FieldsSeq(r.jobs["version"].Steps[at].Run) {
		if strings.HasPrefix(word, "deploy/") && !strings.Contains(list, "`"+word+"`") {
			t.Errorf("the list for a release does not have %s", word)
		}
	}
}

// archived returns the names of the files in an archive.
func archived(t *testing.T, name string) (files []string) {
	t.Helper()
	file, err := os.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	content, err := gzip.NewReader(file)
	if err != nil {
		t.Fatal(err)
	}
	for archive := tar.NewReader(content); ; {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return files
		}
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, header.Name)
	}
}

// checkParts looks for modules in a list of what is in a binary.
func checkParts(t *testing.T, name string, want map[string]string) {
	t.Helper()
	content, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	var list struct {
		Components []struct{ Name, Version string }
	}
	if err := json.Unmarshal(content, &list); err != nil {
		t.Fatal(err)
	}
	for _, part := range list.Components {
		if want[part.Name] == part.Version {
			delete(want, part.Name)
		}
	}
	if len(want) > 0 {
		t.Errorf("%s lacks %v", filepath.Base(name), want)
	}
}

// checkPackages looks into the packages, with the tools of those who install them.
func checkPackages(t *testing.T, dist string) {
	t.Helper()
	wants := []string{
		"/usr/bin/caddy", "/usr/lib/systemd/system/caddy-tigergraph.service", "/usr/lib/sysusers.d/caddy-tigergraph.conf", "/etc/caddy/Caddyfile",
		"/usr/share/doc/caddy-tigergraph/docs/deployment.md", "/usr/share/doc/caddy-tigergraph/deploy/grafana/alerts.yml",
	}
	for pattern, list := range map[string][]string{"*.deb": {"dpkg-deb", "--contents"}, "*.rpm": {"rpm", "--query", "--list", "--package"}} {
		packages, err := filepath.Glob(filepath.Join(dist, pattern))
		if err != nil || len(packages) != 1 {
			t.Errorf("%s: %v, %v", pattern, packages, err)
			continue
		}
		if _, err := exec.LookPath(list[0]); err != nil {
			t.Logf("NOT TESTED: what is in %s: %s is not installed", filepath.Base(packages[0]), list[0])
			continue
		}
		content := output(t, list[0], append(list[1:], packages[0])...)
		for _, want := range wants {
			if !strings.Contains(content, want) {
				t.Errorf("%s lacks %s:\n%s", filepath.Base(packages[0]), want, content)
			}
		}
	}
}

// Nothing is called the newest before all of it is there.
func TestTheLatestIsNamedLast(t *testing.T) {
	content, err := os.ReadFile("../../.github/workflows/release.yml")
	if err != nil {
		t.Fatal(err)
	}
	var workflow struct{ Jobs map[string]job }
	if err := yaml.Unmarshal(content, &workflow); err != nil {
		t.Fatal(err)
	}
	if fmt.Sprint(workflow.Jobs["newest"].Needs) != "[image release]" || fmt.Sprint(workflow.Jobs["release"].Needs) != "[binary image]" {
		t.Errorf("the newest needs %v, the release %v", workflow.Jobs["newest"].Needs, workflow.Jobs["release"].Needs)
	}
	before, _, found := strings.Cut(string(content), "\n  newest:\n")
	if !found || strings.Contains(before, ":latest") {
		t.Error("an image is called the latest before the last job")
	}
	// The oldest Go is for tests, and nothing is released with it.
	if strings.Contains(string(content), "go-version-file") || !strings.Contains(string(content), "GOTOOLCHAIN: local") {
		t.Error("a release is built with the Go of go.mod, or one that go.mod asks for")
	}
}
