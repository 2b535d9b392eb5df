package integration_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// newPackages makes the packages of two releases, which differ by their versions.
func newPackages(t *testing.T) (folder string) {
	t.Helper()
	folder = t.TempDir()
	run := func(in string, env []string, command ...string) {
		t.Helper()
		made := exec.Command(command[0], command[1:]...)
		made.Dir, made.Env = in, append(os.Environ(), env...)
		if output, err := made.CombinedOutput(); err != nil {
			t.Fatalf("%v: %v\n%s", command, err, output)
		}
	}
	nfpm := filepath.Join(t.TempDir(), "nfpm")
	run("../tools/release", []string{"GOWORK=off"}, "go", "build", "-o", nfpm, "github.com/goreleaser/nfpm/v2/cmd/nfpm")
	for _, name := range []string{"README.md", "LICENSE", "docs", "deploy"} {
		run("..", nil, "cp", "-r", name, folder)
	}
	if err := os.Mkdir(filepath.Join(folder, "folder"), 0o755); err != nil {
		t.Fatal(err)
	}
	run(".", nil, "cp", caddyBinary, filepath.Join(folder, "folder/caddy"))
	unit, err := os.ReadFile("../deploy/systemd/caddy-tigergraph.service")
	if err != nil {
		t.Fatal(err)
	}
	// As the step of release.yml has it, which a test of the workflow executes.
	unit = []byte(strings.ReplaceAll(string(unit), "/usr/local/bin/caddy", "/usr/bin/caddy"))
	if err := os.WriteFile(filepath.Join(folder, "folder/caddy-tigergraph.service"), unit, 0o644); err != nil {
		t.Fatal(err)
	}
	for _, version := range []string{"1", "2"} {
		for _, packager := range []string{"deb", "rpm"} {
			run(folder, []string{"ARCH=" + runtime.GOARCH, "VERSION=0.0." + version}, nfpm, "package", "--config", "deploy/packages/nfpm.yaml", "--packager", packager, "--target", version+"."+packager)
		}
	}
	return folder
}

// A package's whole life on a fresh Debian: installed, it starts nothing; upgraded, it
// keeps the Caddyfile, the variables and the sessions; removed, it stops the edge, and
// leaves what is the operator's. RPM's is tried there too, where it knows of no other packages.
func TestThePackagesOnABareMachine(t *testing.T) {
	steps := stepsOf(t)
	m := newBareMachine(t)
	folder := newPackages(t)
	for _, name := range []string{"1.deb", "2.deb", "1.rpm", "2.rpm"} {
		m.copy(filepath.Join(folder, name), "release/"+name)
	}
	m.run(`
not() { if "$@"; then return 1; fi; }
life() { # commands that install, upgrade and remove
: "$1"
$1
test -x /usr/bin/caddy
id caddy
not systemctl is-enabled caddy-tigergraph
not systemctl is-active caddy-tigergraph
systemd-analyze verify caddy-tigergraph.service
: the variables are for root alone, and the guide checks with them and without
test "$(stat -c '%U %a' /etc/caddy/environment)" = 'root 600'
sed -i 's|^graph.example.com|http://graph.example.com|' /etc/caddy/Caddyfile
` + steps[3] + `
sed -i 's|^\ttigergraph m1 m2 m3$|& {\n\t\tcookie {\n\t\t\tsecret {env.COOKIE_KEY}\n\t\t}\n\t}|' /etc/caddy/Caddyfile
grep secret /etc/caddy/Caddyfile
checked() {
` + steps[3] + `
}
not checked
echo COOKIE_KEY=0123456789abcdef >>/etc/caddy/environment
checked
systemctl enable --now caddy-tigergraph
up
login
home=$(whoami)
before=$(systemctl show -P MainPID caddy-tigergraph)
: "$2"
$2
grep '^http://graph.example.com' /etc/caddy/Caddyfile
grep '^COOKIE_KEY=' /etc/caddy/environment
test "$(stat -c '%U %a' /etc/caddy/environment)" = 'root 600'
up
test "$(systemctl show -P MainPID caddy-tigergraph)" != "$before"
test "$(whoami)" = "$home"
systemctl is-enabled caddy-tigergraph
: "$3"
$3
not systemctl is-active caddy-tigergraph
not systemctl is-enabled caddy-tigergraph
test ! -e /usr/bin/caddy
test -d /var/lib/caddy
}
life 'dpkg --install 1.deb' 'dpkg --install 2.deb' 'dpkg --remove caddy-tigergraph'
grep '^http://graph.example.com' /etc/caddy/Caddyfile
dpkg --purge caddy-tigergraph
test ! -e /etc/caddy/Caddyfile
test ! -e /etc/caddy/environment
rm /jar
life 'rpm --install --nodeps 1.rpm' 'rpm --upgrade --nodeps 2.rpm' 'rpm --erase caddy-tigergraph'
grep '^http://graph.example.com' /etc/caddy/Caddyfile.rpmsave
test "$(stat -c %a /etc/caddy/environment.rpmsave)" = 600
: done
`)
}
