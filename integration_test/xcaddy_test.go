package integration_test

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"io/fs"
	"net/http"
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
// against a module proxy on disk that has published the working tree, with the
// newest Caddy and with the lowest, and uses what comes out.
func TestXcaddyBuildsThePublishedModule(t *testing.T) {
	if os.Getenv("CI") == "" {
		t.Skip("building Caddy from scratch takes minutes: set CI=true to do it")
	}
	for _, test := range []struct{ name, caddyVersion string }{{"newest", newestCaddy(t)}, {"lowest", lowestCaddy(t)}} {
		t.Run(test.name, func(t *testing.T) {
			binary, version := built(t, test.caddyVersion, modulePath)
			checkBuilt(t, binary, version, test.caddyVersion)
			checkServes(t, binary)
		})
	}
}

// theClone is how xcaddy builds a clone. Without the version, which counts for nothing,
// Go would look for the newest that is published.
const theClone = modulePath + "@v0.0.0=."

// Runs the README's
//
//	xcaddy build v2.11.9 --with github.com/caddy-tigergraph/caddy-tigergraph@v0.0.0=.
func TestXcaddyBuildsTheClone(t *testing.T) {
	if os.Getenv("CI") == "" {
		t.Skip("building Caddy from scratch takes minutes: set CI=true to do it")
	}
	binary, _ := built(t, newestCaddy(t), theClone)
	checkBuilt(t, binary, "", newestCaddy(t))
	checkServes(t, binary)
}

// built returns a Caddy that xcaddy has built, with a plugin or without, and the version
// under which the working tree was published for it. In the folder CADDY_BUILDS, if that
// is set, one that was built before serves again: building takes minutes.
func built(t *testing.T, caddyVersion string, with ...string) (binary, version string) {
	t.Helper()
	proxy, version := publish(t)
	folder := os.Getenv("CADDY_BUILDS")
	if folder == "" {
		folder = t.TempDir()
	}
	arguments := []string{"build", caddyVersion}
	for _, plugin := range with {
		arguments = append(arguments, "--with", plugin)
	}
	name := fmt.Sprintf("%x", sha256.Sum256([]byte(strings.Join(append(arguments, version), " "))))
	binary = filepath.Join(folder, name[:16])
	if _, err := os.Stat(binary); err == nil {
		return binary, version
	}
	half := binary + ".half" // which a build that fails leaves behind
	xcaddy(t, proxy, append(arguments, "--output", half)...)
	if err := os.Rename(half, binary); err != nil {
		t.Fatal(err)
	}
	return binary, version
}

// xcaddy runs xcaddy, with the folder that publish made for a module proxy.
func xcaddy(t *testing.T, proxy string, arguments ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Minute)
	defer cancel()
	build := exec.CommandContext(ctx, "go", append([]string{"tool", "xcaddy"}, arguments...)...)
	build.Dir = ".."
	build.Env = append(os.Environ(), "XCADDY_SKIP_CLEANUP=0")
	if proxy != "" {
		build.Env = append(build.Env, "GOPROXY=file://"+proxy+","+goEnv(t, "GOPROXY"), "GONOSUMDB="+modulePath)
	}
	if output, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, output)
	}
}

// lowestCaddy returns the version that the plugin requires.
func lowestCaddy(t *testing.T) string {
	t.Helper()
	return requiredCaddy(t, "../go.mod")
}

// newestCaddy returns the newest version that the plugin is tested with.
func newestCaddy(t *testing.T) string {
	t.Helper()
	return requiredCaddy(t, "../tools/newest/go.mod")
}

// requiredCaddy returns the version of Caddy that a go.mod requires.
func requiredCaddy(t *testing.T, file string) string {
	t.Helper()
	output, err := exec.Command("go", "mod", "edit", "-json", file).Output()
	if err != nil {
		t.Fatal(err)
	}
	var mod struct{ Require []module.Version }
	if err := json.Unmarshal(output, &mod); err != nil {
		t.Fatal(err)
	}
	for _, required := range mod.Require {
		if required.Path == "github.com/caddyserver/caddy/v2" {
			return required.Version
		}
	}
	t.Fatalf("%s does not require Caddy", file)
	return ""
}

// checkBuilt asks a binary what it was built of.
func checkBuilt(t *testing.T, binary, version, caddyVersion string) {
	t.Helper()
	for command, wants := range map[string][]string{
		"list-modules": {"tigergraph", "http.reverse_proxy.selection_policies.tigergraph"},
		"build-info":   {modulePath + "\t" + version, "caddy/v2\t" + caddyVersion + "\t"},
	} {
		output, err := exec.Command(binary, command).CombinedOutput()
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

// checkServes puts a binary before three nodes: sessions stay, also when another
// node goes, and who loses his node is moved.
func checkServes(t *testing.T, binary string) {
	t.Helper()
	cluster, nodes := startCluster(t, 3)
	address := freeAddress(t)
	p := startProcess(t, binary, processOptions(t.TempDir())+"}\nhttp://"+address+" {\n\ttigergraph "+addresses(nodes)+"\n}\n")
	p.listening(address)
	b := newBrowser(t, "http://"+address, 2, nil)
	home := b.login()
	for range 10 {
		if node, status := b.whoami(); node != home || status != http.StatusOK {
			t.Fatalf("the session of %s was sent to %q: %d", home, node, status)
		}
	}
	cluster.Node(home).Stop()
	if again := b.relogin(); again == home {
		t.Errorf("%s is off and answers", home)
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
