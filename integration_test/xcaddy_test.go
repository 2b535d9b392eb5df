package integration_test

import (
	"context"
	"crypto/sha256"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/mod/module"
	"golang.org/x/mod/zip"
)

const modulePath = "github.com/caddy-tigergraph/caddy-tigergraph"

// Runs the README's
//
//	xcaddy build v2.11.9 --with github.com/caddy-tigergraph/caddy-tigergraph
//
// against a module proxy on disk that has published the working tree.
func TestXcaddyBuildsThePublishedModule(t *testing.T) {
	if os.Getenv("CI") == "" {
		t.Skip("building Caddy from scratch takes minutes: set CI=true to do it")
	}
	proxy, version := publish(t)
	binary := filepath.Join(t.TempDir(), "caddy")
	ctx, cancel := context.WithTimeout(context.Background(), 15*time.Minute)
	defer cancel()
	build := exec.CommandContext(ctx, "go", "tool", "xcaddy", "build", "v2.11.9", "--with", modulePath, "--output", binary)
	build.Dir = ".."
	build.Env = append(os.Environ(),
		"GOPROXY=file://"+proxy+","+goEnv(t, "GOPROXY"),
		"GONOSUMDB="+modulePath,
		"XCADDY_SKIP_CLEANUP=0")
	if output, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, output)
	}
	for command, wants := range map[string][]string{
		"list-modules": {"tigergraph", "http.reverse_proxy.selection_policies.tigergraph"},
		"build-info":   {modulePath + "\t" + version, "caddy/v2\tv2.11.9"},
	} {
		output, err := exec.CommandContext(ctx, binary, command).CombinedOutput()
		if err != nil {
			t.Fatalf("%s: %v\n%s", command, err, output)
		}
		for _, want := range wants {
			if !strings.Contains(string(output), want) {
				t.Errorf("%s does not name %q:\n%s", command, want, output)
			}
		}
	}
}

// publish makes a folder that serves as module proxy for the working tree. The
// version is made of the content: one that was fetched stays in the cache.
func publish(t *testing.T) (folder, version string) {
	t.Helper()
	root, err := filepath.Abs("..")
	if err != nil {
		t.Fatal(err)
	}
	digest := sha256.New()
	err = filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() || filepath.Ext(path) != ".go" && entry.Name() != "go.mod" {
			return err
		}
		content, err := os.ReadFile(path)
		fmt.Fprintln(digest, path, len(content))
		digest.Write(content)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	version = fmt.Sprintf("v0.0.1-test.%x", digest.Sum(nil)[:6])
	folder = t.TempDir()
	versions := filepath.Join(folder, filepath.FromSlash(modulePath), "@v")
	if err := os.MkdirAll(versions, 0o755); err != nil {
		t.Fatal(err)
	}
	mod, err := os.ReadFile(filepath.Join(root, "go.mod"))
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string]string{
		"list":            version + "\n",
		version + ".info": fmt.Sprintf(`{"Version":%q,"Time":"2026-01-01T00:00:00Z"}`, version),
		version + ".mod":  string(mod),
	} {
		if err := os.WriteFile(filepath.Join(versions, name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	archive, err := os.Create(filepath.Join(versions, version+".zip"))
	if err != nil {
		t.Fatal(err)
	}
	defer archive.Close()
	if err := zip.CreateFromDir(archive, module.Version{Path: modulePath, Version: version}, root); err != nil {
		t.Fatal(err)
	}
	return folder, version
}

func goEnv(t *testing.T, name string) string {
	t.Helper()
	output, err := exec.Command("go", "env", name).Output()
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(output))
}
