package integration_test

import (
	"errors"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
)

// caddyCommand runs the binary to its end.
func caddyCommand(t *testing.T, arguments ...string) (output string, code int) {
	t.Helper()
	content, err := inHome(t, exec.Command(caddyBinary, arguments...)).CombinedOutput()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	if exit != nil {
		code = exit.ExitCode()
	}
	return string(content), code
}

func TestTheBinaryListsTheModules(t *testing.T) {
	output, code := caddyCommand(t, "list-modules")
	lines := strings.Fields(output)
	for _, module := range []string{"tigergraph", "http.reverse_proxy.selection_policies.tigergraph", "http.handlers.tigergraph_status"} {
		if code != 0 || !slices.Contains(lines, module) {
			t.Errorf("exit code %d, and no module %s", code, module)
		}
	}
}

func TestTheBinaryValidatesTheExample(t *testing.T) {
	// The README's caddy validate --config example.Caddyfile.
	output, code := caddyCommand(t, "validate", "--config", "../example.Caddyfile")
	if code != 0 || !strings.Contains(output, "Valid configuration") {
		t.Errorf("exit code %d: %s", code, output)
	}
}

func TestAdaptAndValidateSendNothingToTheNodes(t *testing.T) {
	_, nodes := startCluster(t, 3)
	file := writeCaddyfile(t, "http://127.0.0.1:1 {\n"+behind(nodes, quick)+"\n}\n")
	for _, command := range []string{"adapt", "validate"} {
		if output, code := caddyCommand(t, command, "--adapter", "caddyfile", "--config", file); code != 0 {
			t.Errorf("%s: exit code %d: %s", command, code, output)
		}
	}
	for _, node := range nodes {
		if node.Accepted() != 0 {
			t.Errorf("%s got %d connections", node.Name(), node.Accepted())
		}
	}
}

func TestValidateNamesTheMistakeAndItsLine(t *testing.T) {
	const site = "http://127.0.0.1:1 {\n\treverse_proxy m1:14240 {\n\t\tlb_policy tigergraph {\n\t\t\t%\n\t\t}\n\t}\n}\n"
	for option, want := range map[string][]string{
		"ipv4_prefx 24":                              {"ipv4_prefx", "Caddyfile:4"},
		"ipv4_prefix 33":                             {"ipv4_prefix", "33", "Caddyfile:4"},
		"affinity cookies":                           {"affinity", "cookies", "Caddyfile:4"},
		"fallback nonesuch":                          {"nonesuch", "Caddyfile:4"},
		"cookie {\nsame_site lux\n}":                 {"same_site", "lux", "Caddyfile:5"},
		"cookie {\nsecret {env.TIGERGRAPH_UNSET}\n}": {"secret 1"},
	} {
		file := writeCaddyfile(t, strings.Replace(site, "%", option, 1))
		output, code := caddyCommand(t, "validate", "--adapter", "caddyfile", "--config", file)
		if code == 0 {
			t.Errorf("%q is valid", option)
		}
		for _, word := range want {
			if !strings.Contains(output, word) {
				t.Errorf("of %q it does not say %q: %s", option, word, output)
			}
		}
	}
}

func TestValidateAndAdaptTouchNoNodeAndMakeNoKey(t *testing.T) {
	_, nodes := startCluster(t, 1)
	storage := filepath.Join(t.TempDir(), "storage")
	file := writeCaddyfile(t, processOptions(storage)+"}\nhttp://"+freeAddress(t)+" {\n"+proxyTo(nodes, "tigergraph")+"\n}\n")
	for _, command := range []string{"validate", "adapt"} {
		if output, code := caddyCommand(t, command, "--adapter", "caddyfile", "--config", file); code != 0 {
			t.Errorf("%s: %d %s", command, code, output)
		}
	}
	if _, err := os.Stat(filepath.Join(storage, "tigergraph")); !os.IsNotExist(err) {
		t.Errorf("a key was made: %v", err)
	}
	if nodes[0].Accepted() != 0 {
		t.Errorf("the node was dialled %d times", nodes[0].Accepted())
	}
}

func TestABinaryServesAndEndsCleanlyAndKeepsItsSessionsAsLongAsItsKey(t *testing.T) {
	_, nodes := startCluster(t, 3)
	storage, address := t.TempDir(), freeAddress(t)
	site := processOptions(storage) + "}\nhttp://" + address + " {\n" + proxyTo(nodes, "tigergraph") + "\n}\n"
	b := newBrowser(t, "http://"+address, 2, nil)
	node := ""
	for range 2 {
		p := startProcess(t, caddyBinary, site)
		p.listening(address)
		if node == "" {
			node = b.login()
		}
		if now, status := b.whoami(); now != node || status != http.StatusOK {
			t.Errorf("the session of %s was sent to %q: %d", node, now, status)
		}
		b.http.CloseIdleConnections()
		p.endCleanly()
	}
	cookie := b.ourCookie()
	if err := os.Remove(filepath.Join(storage, "tigergraph", "cookie.key")); err != nil {
		t.Fatal(err)
	}
	startProcess(t, caddyBinary, site).listening(address)
	b.get("/api/ping")
	if now := b.ourCookie(); now == cookie {
		t.Error("a cookie outlived the key that it was made with")
	}
}

// endCleanly ends the process as systemd would.
func (p *process) endCleanly() {
	p.t.Helper()
	if err := p.command.Process.Signal(syscall.SIGTERM); err != nil {
		p.t.Fatal(err)
	}
	eventually(p.t, "the process ends", func() bool {
		select {
		case <-p.ended:
			return true
		default:
			return false
		}
	})
	if code := p.command.ProcessState.ExitCode(); code != 0 || strings.Contains(p.output.String(), "panic") {
		p.t.Errorf("exit code %d: %s", code, p.output)
	}
}

// CADDY_ADMIN says to the server and to the image's health check alike where the
// admin endpoint is.
func TestTheHealthCheckReadsCaddyAdmin(t *testing.T) {
	_, nodes := startCluster(t, 1)
	admin := "CADDY_ADMIN=unix/" + filepath.Join(t.TempDir(), "admin.sock")
	address := freeAddress(t)
	p := startProcess(t, caddyBinary, "{\n\tpersist_config off\n}\nhttp://"+address+" {\n\ttigergraph "+addresses(nodes)+"\n}\n", admin)
	p.listening(address)
	check := func(environment ...string) (string, error) {
		output, err := inHome(t, exec.Command(caddyBinary, "tigergraph", "status", "--alive"), environment...).CombinedOutput()
		return string(output), err
	}
	if output, err := check(admin); err != nil || !strings.Contains(output, nodes[0].Addr()) {
		t.Errorf("%v: %s", err, output)
	}
	if output, err := check("CADDY_ADMIN=unix/" + filepath.Join(t.TempDir(), "nobody.sock")); err == nil {
		t.Errorf("where nobody listens it is well: %s", output)
	}
}

// The README's go build ./cmd/caddy is of the newest Caddy in a clone, and of the
// lowest where go.mod alone counts.
func TestCmdCaddyIsBuiltOfTheNewestCaddy(t *testing.T) {
	want := newestCaddy(t)
	if workspace := goEnv(t, "GOWORK"); workspace == "" || workspace == "off" {
		want = lowestCaddy(t)
	}
	output, err := exec.Command("go", "version", "-m", caddyBinary).CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, output)
	}
	if !strings.Contains(string(output), "\tdep\tgithub.com/caddyserver/caddy/v2\t"+want+"\t") {
		t.Errorf("cmd/caddy is not built of Caddy %s:\n%.2000s", want, output)
	}
}
