package integration_test

import (
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/tgnode"
)

// guide returns the text of a guide.
func guide(t *testing.T, name string) string {
	t.Helper()
	content, err := os.ReadFile("../docs/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

// Each address that the guide has people write leads to the edge's port.
func TestTheGuidesAddressesForClientsLeadToTheEdge(t *testing.T) {
	text := guide(t, "clients.md")
	count := 0
	for _, address := range regexp.MustCompile(`https?://[a-z.]+(:\w+)?(/[^"\s`+"`"+`]*)?`).FindAllString(text, -1) {
		where, err := url.Parse(strings.TrimSuffix(address, "…"))
		if err != nil {
			t.Errorf("%s: %v", address, err)
			continue
		}
		if where.Hostname() != "graph.example.com" {
			continue
		}
		count++
		if port := where.Port(); where.Scheme != "https" || port != "" && port != "443" {
			t.Errorf("%s is not where the edge is", address)
		}
	}
	if count < 6 {
		t.Errorf("only %d addresses", count)
	}
	for _, setting := range []string{"--ip graph.example.com:443 --ssl", `restppPort="443", gsPort="443"`} {
		if strings.Count(text, setting) < 2 {
			t.Errorf("%s stands in the table and in its section, or should", setting)
		}
	}
}

func TestTheGuidesPythonIsPython(t *testing.T) {
	python, err := exec.LookPath("python3")
	if err != nil {
		t.Skip("this needs python3")
	}
	check := exec.Command(python, "-c", "import ast, sys; ast.parse(sys.stdin.read())")
	check.Stdin = strings.NewReader(blockOf(t, "clients.md", "python", "TigerGraphConnection"))
	if output, err := check.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, output)
	}
}

// The commands of the guide reach RESTPP through an edge with TLS.
func TestTheGuidesCurlReachesTheNodes(t *testing.T) {
	curl, err := exec.LookPath("curl")
	if err != nil {
		t.Skip("this needs curl")
	}
	cluster, nodes := startCluster(t, 3)
	for _, node := range nodes {
		node.Update(func(options *tgnode.Options) { options.RequireAuth = true })
	}
	e := newEdge(t)
	pair, _, err := tgnode.SelfSigned("graph.example.com")
	if err != nil {
		t.Fatal(err)
	}
	certificate, key := writePEM(t, pair.Certificates[0])
	host, port, _ := net.SplitHostPort(e.address)
	if err := e.tryLoad("https://graph.example.com:"+port, fmt.Sprintf("tls %q %q\ntigergraph %s", certificate, key, addresses(nodes))); err != nil {
		t.Fatal(err)
	}
	home := t.TempDir()
	config := "silent\ninsecure\nconnect-to = \"graph.example.com:443:" + host + ":" + port + "\"\n"
	if err := os.WriteFile(filepath.Join(home, ".curlrc"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	ran := 0
	for line := range strings.Lines(blockOf(t, "clients.md", "console", "curl")) {
		line = strings.TrimPrefix(strings.TrimSpace(line), "$ curl ")
		run := exec.Command("sh", "-c", curl+" "+line)
		run.Env = append(os.Environ(), "CURL_HOME="+home, "HOME="+home, "TOKEN=abc")
		output, err := run.CombinedOutput()
		if err != nil || !strings.Contains(string(output), `"version"`) && !strings.Contains(string(output), "REST") {
			t.Errorf("curl %s: %v\n%s", line, err, output)
		}
		ran++
	}
	asked := 0
	for _, node := range cluster.Nodes() {
		for _, request := range node.Requests() {
			if request.Service == tgnode.RESTPP && request.Target != "/restpp/echo" {
				asked++
			}
		}
	}
	if ran != 2 || asked != ran {
		t.Errorf("%d commands, %d requests at the nodes", ran, asked)
	}
}

// keepalived understands the guide's configuration.
func TestTheGuidesKeepalivedIsKeepalived(t *testing.T) {
	keepalived, err := exec.LookPath("keepalived")
	if err != nil {
		t.Skip("keepalived is not installed")
	}
	// It wants an interface that is there and may carry an address of its own.
	interfaces, err := net.Interfaces()
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(interfaces, func(one net.Interface) bool {
		return one.Flags&net.FlagLoopback == 0 && one.Flags&net.FlagUp != 0 && one.Flags&net.FlagMulticast != 0
	})
	if i < 0 {
		t.Skip("this machine has no network interface but the loopback, which keepalived refuses")
	}
	config := strings.NewReplacer("/usr/local/bin/caddy tigergraph status --alive", "/bin/true", "interface eth0", "interface "+interfaces[i].Name).
		Replace(blockOf(t, "topologies.md", "text", "vrrp_script"))
	file := filepath.Join(t.TempDir(), "keepalived.conf")
	if err := os.WriteFile(file, []byte("global_defs {\n\tscript_user root\n\tenable_script_security\n}\n"+config), 0o600); err != nil {
		t.Fatal(err)
	}
	if output, err := exec.Command(keepalived, "--config-test", "--use-file", file).CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, output)
	}
}

// testKeepalived runs what keepalived runs to know whether an edge works: with all nodes
// down it must not give the address up, without Caddy it must.
func (c command) testKeepalived(t *testing.T) {
	_, script, found := strings.Cut(blockOf(t, "topologies.md", "text", "vrrp_script"), `script "/usr/local/bin/caddy tigergraph `)
	script, _, closed := strings.Cut(script, `"`)
	if !found || !closed {
		t.Fatal("the guide's configuration runs no command of ours")
	}
	_, nodes := startCluster(t, 2)
	e, a := newAdminEdge(t)
	e.load("tigergraph " + addresses(nodes) + " {\n" + quick + "\n}")
	a.allUp()
	run := c.ask(t, a)
	run(strings.Fields(script)...).expect(t, script, 0)
	for _, node := range nodes {
		node.Stop()
	}
	eventually(t, "all nodes are down", func() bool {
		for _, node := range a.nodes() {
			if node.Services["restpp"].Verdict != "down" {
				return false
			}
		}
		return true
	})
	run(strings.Fields(script)...).expect(t, script+" with all nodes down", 0)
	c.run(t, append(append([]string{"tigergraph"}, strings.Fields(script)...), "--address", freeAddress(t))...).expect(t, script+" without Caddy", 1)
}
