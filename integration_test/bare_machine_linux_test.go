package integration_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"
)

// bareMachine is a Debian as mmdebstrap leaves it, with systemd, curl and rpm, and a
// Caddy to install, three names for nodes, and what can stand in for them.
type bareMachine struct {
	t    *testing.T
	root string
}

// newBareMachine installs one. It can be booted once.
func newBareMachine(t *testing.T) *bareMachine {
	t.Helper()
	if os.Getenv("BARE_MACHINE_TEST") == "" {
		t.Skip("this installs a Debian and boots it: set BARE_MACHINE_TEST=1 to do it, as root, with mmdebstrap and systemd-nspawn (Debian's package systemd-container)")
	}
	for _, program := range []string{"mmdebstrap", "systemd-nspawn"} {
		if _, err := exec.LookPath(program); err != nil || os.Getuid() != 0 {
			missing(t, "this takes root and %s", program)
		}
	}
	debian, err := installedDebian()
	if err != nil { // What mmdebstrap reaches, and what it can do with that, is the machine's matter.
		skip(t, "no Debian can be installed here: %v", err)
	}
	m := &bareMachine{t, filepath.Join(t.TempDir(), "debian")}
	if output, err := exec.Command("cp", "--archive", debian, m.root).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, output)
	}
	node := filepath.Join(t.TempDir(), "tgnode")
	build := exec.Command("go", "build", "-o", node, "./cmd/tgnode")
	build.Dir, build.Env = "..", append(os.Environ(), "CGO_ENABLED=0")
	if output, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, output)
	}
	m.copy(node, "usr/local/bin/tgnode")
	m.copy(caddyBinary, "release/caddy")
	m.write("etc/hosts", "127.0.0.1 localhost graph.example.com\n127.0.0.2 m1\n127.0.0.3 m2\n127.0.0.4 m3\n", 0o644)
	return m
}

// installedDebian returns the folder of the Debian of which each machine is a copy.
var installedDebian = sync.OnceValues(func() (string, error) {
	folder := filepath.Join(testFolder, "debian")
	install := exec.Command("mmdebstrap", "--variant=minbase", "--include=systemd,systemd-sysv,dbus,curl,rpm", "bookworm", folder)
	if output, err := install.CombinedOutput(); err != nil {
		return "", fmt.Errorf("%w\n%s", err, output[max(0, len(output)-1000):])
	}
	return folder, nil
})

func (m *bareMachine) write(name, content string, mode os.FileMode) {
	m.t.Helper()
	file := filepath.Join(m.root, name)
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		m.t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(content), mode); err != nil {
		m.t.Fatal(err)
	}
}

func (m *bareMachine) copy(from, to string) {
	m.t.Helper()
	content, err := os.ReadFile(from)
	if err != nil {
		m.t.Fatal(err)
	}
	m.write(to, string(content), 0o755)
}

// bareMachineWords begin each script: nodes that run, and what is asked of them.
const bareMachineWords = `#!/bin/bash
set -eux -o pipefail
cd /release
for i in 1 2 3; do systemd-run --quiet --unit=m$i tgnode -name m$i -listen 127.0.0.$((i+1)):14240; done
ask() { curl --silent --show-error --fail --cookie /jar --cookie-jar /jar "$@"; }
up() { for i in $(seq 300); do if caddy tigergraph status --json --alive | tr -d ' \n' | grep -q '"verdict":"up".*"verdict":"up".*"verdict":"up"'; then return; fi; sleep 0.1; done; false; }
login() { ask --data '{"username":"tigergraph","password":"tigergraph"}' http://graph.example.com/api/auth/login; }
whoami() { ask http://graph.example.com/api/auth/whoami | grep -o '"[Nn]ode": *"m[123]"'; }
`

// run boots the machine, executes a script once it has booted, and ends it.
func (m *bareMachine) run(script string) {
	m.t.Helper()
	// Each step says its name, so that the last one in the log is the one that failed.
	m.write("script.sh", bareMachineWords+script, 0o755)
	m.write("etc/systemd/system/script.service", `[Unit]
After=multi-user.target
[Service]
Type=oneshot
ExecStart=/script.sh
ExecStopPost=/bin/sh -c "echo $SERVICE_RESULT >/script.result; journalctl --no-pager -n 60 >/script.journal; systemctl --no-block poweroff"
StandardOutput=file:/script.log
StandardError=file:/script.log
TimeoutStartSec=8min
[Install]
WantedBy=default.target
`, 0o644)
	if err := os.MkdirAll(filepath.Join(m.root, "etc/systemd/system/default.target.wants"), 0o755); err != nil {
		m.t.Fatal(err)
	}
	link := filepath.Join(m.root, "etc/systemd/system/default.target.wants/script.service")
	if err := os.Symlink("/etc/systemd/system/script.service", link); err != nil {
		m.t.Fatal(err)
	}
	boot := exec.Command("systemd-nspawn", "--quiet", "--register=no", "--keep-unit", "--private-network", "--directory="+m.root, "--boot")
	output := new(buffer)
	boot.Stdout, boot.Stderr = output, output
	if err := boot.Start(); err != nil {
		skip(m.t, "no container can be started here: %v", err)
	}
	timer := time.AfterFunc(9*time.Minute, func() { _ = boot.Process.Kill() })
	defer timer.Stop()
	ended := boot.Wait()
	result, err := os.ReadFile(filepath.Join(m.root, "script.result"))
	if err != nil {
		skip(m.t, "no container can be booted here: %v\n%s", ended, output)
	}
	if strings.TrimSpace(string(result)) != "success" {
		said, _ := os.ReadFile(filepath.Join(m.root, "script.log"))
		journal, _ := os.ReadFile(filepath.Join(m.root, "script.journal"))
		m.t.Errorf("the script ends with %s\n%s\n%s", result, said, journal)
	}
}

// stepsOf returns the commands of the guide to a bare machine, block by block.
func stepsOf(t *testing.T) (blocks []string) {
	t.Helper()
	content, err := os.ReadFile("../docs/deployment.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(content), "\n## A bare machine\n")
	section, _, _ = strings.Cut(section, "\n## ")
	for _, match := range regexp.MustCompile("(?ms)^( *)```sh\n(.*?)^ *```$").FindAllStringSubmatch(section, -1) {
		block := ""
		for line := range strings.Lines(match[2]) {
			block += strings.TrimPrefix(line, match[1])
		}
		blocks = append(blocks, block)
	}
	if len(blocks) != 8 || !strings.Contains(blocks[2], "packages/Caddyfile") || !strings.Contains(blocks[3], "caddy validate") || !strings.Contains(blocks[5], "reload") || !strings.Contains(blocks[7], "caddy.before /usr") {
		t.Fatalf("the guide has other steps than this test knows:\n%q", blocks)
	}
	return blocks
}

// The guide to a bare machine, executed as it is written on a fresh Debian, and what it
// says of reloads, upgrades and the way back.
func TestTheGuideToABareMachine(t *testing.T) {
	m, steps := newBareMachine(t), stepsOf(t)
	for _, file := range []string{"systemd/caddy.sysusers", "systemd/caddy-tigergraph.service", "packages/Caddyfile"} {
		m.copy("../deploy/"+file, "release/deploy/"+file)
	}
	m.run(`: the guide, from the binary on
` + steps[0] + steps[1] + steps[2] + steps[3] + steps[4] + `
systemctl is-active caddy-tigergraph
test "$(ps -o user= -C caddy 2>/dev/null || stat -c %U /proc/$(systemctl show -P MainPID caddy-tigergraph))" = caddy
test "$(stat -c '%U %a' /etc/caddy/environment)" = 'root 600'
up
: a reload, without TLS, for which there is no authority here
sed -i 's|^graph.example.com|http://graph.example.com|' /etc/caddy/Caddyfile
sed -i 's|^\tlog {$|&\n\t\toutput file /var/log/caddy/caddy.log {\n\t\t\troll_size 1MiB\n\t\t}\n\t\tlevel DEBUG|' /etc/caddy/Caddyfile
grep -q roll_size /etc/caddy/Caddyfile
` + steps[3] + steps[5] + `
up
login
home=$(whoami)
: a reload that fails keeps what there is
cp /etc/caddy/Caddyfile /etc/caddy/good
printf 'http://graph.example.com:81 {\n\tnonsense\n}\n' >>/etc/caddy/Caddyfile
if systemctl reload caddy-tigergraph; then exit 1; fi
journalctl -u caddy-tigergraph >/journal
grep -q nonsense /journal
systemctl is-active caddy-tigergraph
test "$(whoami)" = "$home"
mv /etc/caddy/good /etc/caddy/Caddyfile
` + steps[5] + `
: an upgrade, and the way back
` + steps[6] + `
up
test "$(whoami)" = "$home"
test -x /usr/local/bin/caddy.before
` + steps[7] + `
up
test "$(whoami)" = "$home"
: a log that is rotated
for i in $(seq 400); do if ls /var/log/caddy/caddy-*.log* >/dev/null 2>&1; then break; fi; ask --output /dev/null "http://graph.example.com/api/ping?[1-50]"; done
ls -l /var/log/caddy
test "$(ls /var/log/caddy | wc -l)" -ge 2
: done
`)
}
