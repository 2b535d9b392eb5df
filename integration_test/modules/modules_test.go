// Package modules_test runs the tests of the modules beside it. It is a package of its
// own because a package has ten minutes for its tests.
package modules_test

import (
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// Tests with heavy dependencies, such as a browser's driver, live in modules of
// their own, so that nobody who builds Caddy with the plugin inherits them.
func TestModulesOfTheirOwn(t *testing.T) {
	if testing.Short() {
		t.Skip("builds other modules: left out with -short")
	}
	var modules []string
	err := filepath.WalkDir("..", func(path string, entry fs.DirEntry, err error) error {
		if err == nil && entry.Name() == "go.mod" {
			modules = append(modules, filepath.Dir(path))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, module := range modules {
		if filepath.Base(module) == "controlplane" {
			continue // all of Kubernetes: .ci/run tests it at night
		}
		t.Run(module, func(t *testing.T) {
			test := exec.CommandContext(t.Context(), "go", "test", "-v", "-count=1", "-timeout=25m", "./...")
			test.Dir = module
			test.Env = append(os.Environ(), "GOWORK=off")
			output, err := test.CombinedOutput()
			t.Logf("%s", output)
			if err != nil {
				t.Fatalf("go test ./... in %s: %v", module, err)
			}
		})
	}
}
