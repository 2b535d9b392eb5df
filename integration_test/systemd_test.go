package integration_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

const unit = "../deploy/systemd/caddy-tigergraph.service"

func TestTheUnitIsUnderstoodAndHardened(t *testing.T) {
	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		missing(t, "systemd-analyze is not installed (Debian's package systemd)")
	}
	content, err := os.ReadFile(unit)
	if err != nil {
		t.Fatal(err)
	}
	// The binary has to be there.
	const installed = "/usr/local/bin/caddy"
	if strings.Count(string(content), installed) != 2 {
		t.Fatalf("the unit does not run %s", installed)
	}
	file := filepath.Join(t.TempDir(), filepath.Base(unit))
	if err := os.WriteFile(file, []byte(strings.ReplaceAll(string(content), installed, caddyBinary)), 0o600); err != nil {
		t.Fatal(err)
	}
	output, err := exec.Command(analyze, "verify", file).CombinedOutput()
	if err != nil || strings.Contains(string(output), filepath.Base(unit)) {
		t.Errorf("%v\n%s", err, output)
	}
	// An exposure of at most 2.0; that of a unit without any of it is 9.6.
	if output, err := exec.Command(analyze, "security", "--offline=true", "--threshold=20", file).CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, output)
	}
}

// A machine without variables has no file for them, and that is no error, neither to the
// unit nor to who checks the Caddyfile as the unit will read it.
func TestTheFileOfVariablesNeedNotBeThere(t *testing.T) {
	found := 0
	for _, file := range []string{unit, "../docs/deployment.md", "../docs/upgrade.md"} {
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, rest := range strings.Split(string(content), "EnvironmentFile=")[1:] {
			found++
			if !strings.HasPrefix(rest, "-/etc/caddy/environment") {
				t.Errorf("%s wants the file: EnvironmentFile=%.30s", file, rest)
			}
		}
	}
	if found < 3 {
		t.Errorf("only %d mentions of the file", found)
	}
}

// The variables of the unit are in a file, which validate has to be told of.
func TestTheGuidesEnvironmentFileOfTheUnitIsValidated(t *testing.T) {
	file := filepath.Join(t.TempDir(), "environment")
	if err := os.WriteFile(file, []byte("COOKIE_KEY=0123456789abcdef\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("COOKIE_KEY", "")
	caddyfile := writeCaddyfile(t, "http://127.0.0.1:1 {\n\ttigergraph m1 {\n\t\tcookie {\n\t\t\tsecret {env.COOKIE_KEY}\n\t\t}\n\t}\n}\n")
	if output, code := caddyCommand(t, "validate", "--adapter", "caddyfile", "--config", caddyfile); code == 0 || !strings.Contains(output, "COOKIE_KEY") {
		t.Errorf("without the file: exit code %d: %s", code, output)
	}
	if err := os.Unsetenv("COOKIE_KEY"); err != nil { // what is set wins over the file
		t.Fatal(err)
	}
	if output, code := caddyCommand(t, "validate", "--adapter", "caddyfile", "--config", caddyfile, "--envfile", file); code != 0 {
		t.Errorf("with the file: exit code %d: %s", code, output)
	}
}
