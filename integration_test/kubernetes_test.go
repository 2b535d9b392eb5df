package integration_test

import (
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/tgnode"
)

// replica is an edge with the Caddyfile of deploy/kubernetes.
type replica struct {
	*process
	base, probes string // of its URLs
}

// startReplica starts one. Of the Caddyfile only ports, files and times are
// changed, and who answers DNS.
func startReplica(t *testing.T, port, resolver string, environment ...string) replica {
	t.Helper()
	content, err := os.ReadFile("../deploy/kubernetes/Caddyfile")
	if err != nil {
		t.Fatal(err)
	}
	pair, _, err := tgnode.SelfSigned("localhost")
	if err != nil {
		t.Fatal(err)
	}
	certificate, key := writePEM(t, pair.Certificates[0])
	plain, secure, probes := freeAddress(t), freeAddress(t), freeAddress(t)
	portOf := func(address string) string {
		_, port, _ := net.SplitHostPort(address)
		return port
	}
	site := string(content)
	for _, change := range [][2]string{
		{"\tpersist_config off\n", "\tpersist_config off\n\tadmin off\n"},
		{"http_port 8080", "http_port " + portOf(plain)},
		{"https_port 8443", "https_port " + portOf(secure)},
		{"http://:9180", "http://:" + portOf(probes)},
		{"/tls/tls.crt /tls/tls.key", certificate + " " + key},
		{"port 14240", "port " + port + "\n\t\t\tversions ipv4\n\t\t\tresolvers " + resolver},
		{"refresh 5s", "refresh 10ms"},
		{"tigergraph {\n", "tigergraph {\n" + quick + "\n"},
	} {
		if strings.Count(site, change[0]) != 1 {
			t.Fatalf("the Caddyfile has %q %d times", change[0], strings.Count(site, change[0]))
		}
		site = strings.Replace(site, change[0], change[1], 1)
	}
	r := replica{base: "https://localhost:" + portOf(secure), probes: "http://" + probes}
	environment = append([]string{
		"SITE=localhost", "TIGERGRAPH_SERVICE=mycluster-internal-service.test", "COOKIE_KEY=one-Secret-for-all-replicas",
	}, environment...)
	r.process = startAdapted(t, caddyBinary, "tigergraph", site, environment...)
	r.listening(secure)
	return r
}

func (r replica) browser(host byte) *browser {
	return newBrowser(r.t, r.base, host, &tls.Config{InsecureSkipVerify: true})
}

// probe returns the status that Kubernetes would see.
func (r replica) probe(path string) int {
	r.t.Helper()
	b := newBrowser(r.t, r.probes, 2, nil)
	defer b.http.CloseIdleConnections()
	a, err := b.try(http.MethodGet, path, nil)
	if err != nil {
		return 0
	}
	return a.StatusCode
}

func TestReplicasInKubernetesAgreeWhileTheNodesChange(t *testing.T) {
	const service = "mycluster-internal-service.test."
	nodes, port := startNeighbours(t, 3)
	names := startNameServer(t, port)
	names.point(service, nodes[:2]...)
	resolver := names.conn.LocalAddr().String()
	replicas := []replica{startReplica(t, port, resolver), startReplica(t, port, resolver)}
	for _, r := range replicas {
		for _, path := range []string{"/alive", "/ready"} {
			if status := r.probe(path); status != http.StatusOK {
				t.Errorf("%s is %d", path, status)
			}
		}
		// The port of HTTP/3 is the pod's, which no client reaches.
		if announced := r.browser(10).get("/api/ping").Header.Get("Alt-Svc"); announced != "" {
			t.Errorf("it announces %s", announced)
		}
	}

	// agree returns who serves clients that no replica has seen before, and fails if
	// the replicas do not name the same node.
	agree := func(hosts ...byte) map[string]int {
		t.Helper()
		served := make(map[string]int)
		for _, host := range hosts {
			first := replicas[0].browser(host).pinnedTo()
			if second := replicas[1].browser(host).pinnedTo(); second != first {
				t.Errorf("127.0.0.%d belongs to %s and to %s", host, first, second)
			}
			served[first]++
		}
		return served
	}
	var hosts []byte
	for host := byte(20); host < 50; host++ {
		hosts = append(hosts, host)
	}
	if served := agree(hosts...); len(served) != 2 {
		t.Errorf("two nodes serve %v", served)
	}

	// A session through one replica is a session through the other, whatever the
	// address that it comes from.
	user := replicas[0].browser(10)
	home := user.login()
	through := func(r replica) (node string, status int) {
		other := r.browser(11)
		other.http.Jar = user.http.Jar
		return other.whoami()
	}
	stays := func(when string) {
		t.Helper()
		for i, r := range replicas {
			if node, status := through(r); node != home || status != http.StatusOK {
				t.Errorf("%s replica %d sends the session of %s to %q: %d", when, i, home, node, status)
			}
		}
	}
	stays("at first")

	// The cluster grows.
	names.point(service, nodes...)
	eventually(t, "both replicas use the third node", func() bool {
		for _, r := range replicas {
			used := false
			for _, host := range hosts {
				used = used || r.browser(host).pinnedTo() == nodes[2].Name()
			}
			if !used {
				return false
			}
		}
		return true
	})
	if served := agree(hosts...); len(served) != 3 {
		t.Errorf("three nodes serve %v", served)
	}
	stays("with three nodes")

	// It shrinks by the node that the user is on.
	var rest []*tgnode.Node
	for _, node := range nodes {
		if node.Name() == home {
			node.Stop()
		} else {
			rest = append(rest, node)
		}
	}
	names.point(service, rest...)
	again := user.relogin()
	if again == home {
		t.Fatalf("%s is off and takes a login", home)
	}
	home = again
	stays("with a node less")

	// A replica that ends says so first, and serves meanwhile.
	leaving := replicas[1]
	if err := leaving.command.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it is not ready any more", func() bool { return leaving.probe("/ready") == http.StatusServiceUnavailable })
	if alive := leaving.probe("/alive"); alive != http.StatusOK {
		t.Errorf("/alive is %d", alive)
	}
	if node, status := through(leaving); node != home || status != http.StatusOK {
		t.Errorf("while it ends, the session of %s is sent to %q: %d", home, node, status)
	}
	eventually(t, "it has ended", func() bool {
		select {
		case <-leaving.ended:
			return true
		default:
			return false
		}
	})
	if code := leaving.command.ProcessState.ExitCode(); code != 0 {
		t.Errorf("it ended with %d:\n%s", code, leaving.output)
	}
}

func TestReplicasInKubernetesHonourThePreviousKey(t *testing.T) {
	nodes, port := startNeighbours(t, 3)
	names := startNameServer(t, port)
	names.point("mycluster-internal-service.test.", nodes...)
	resolver := names.conn.LocalAddr().String()
	before := startReplica(t, port, resolver, "COOKIE_KEY=the-key-that-was-first")
	after := startReplica(t, port, resolver, "COOKIE_KEY=the-key-that-comes-next", "PREVIOUS_COOKIE_KEY=the-key-that-was-first")
	// Not by chance: a user of each node, with an address that belongs to another one.
	for _, home := range nodes {
		var user, other *browser
		for host := byte(20); host < 120 && (user == nil || other == nil); host++ {
			belongs := before.browser(host).pinnedTo() == home.Name()
			switch {
			case belongs && user == nil:
				user = before.browser(host)
			case !belongs && other == nil:
				other = after.browser(host)
			}
		}
		if user == nil || other == nil {
			t.Fatalf("no client for %s, or none for the others", home.Name())
		}
		if node := user.login(); node != home.Name() {
			t.Fatalf("the login went to %s", node)
		}
		other.http.Jar = user.http.Jar
		if node, status := other.whoami(); node != home.Name() || status != http.StatusOK {
			t.Errorf("the session of %s is sent to %q: %d", home.Name(), node, status)
		}
	}
}

// The line of the guide that names the nodes leaves the rest of the Caddyfile alone.
func TestTheGuidesNodesByNameInKubernetes(t *testing.T) {
	content, err := os.ReadFile("../deploy/kubernetes/Caddyfile")
	if err != nil {
		t.Fatal(err)
	}
	guide, err := os.ReadFile("../docs/deployment.md")
	if err != nil {
		t.Fatal(err)
	}
	_, line, found := strings.Cut(string(guide), "```text\n")
	line, _, _ = strings.Cut(strings.TrimSpace(line), "\n")
	if !found || !strings.HasPrefix(line, "tigergraph mycluster-0.") {
		t.Fatalf("the guide says %q", line)
	}
	before, rest, _ := strings.Cut(string(content), "\ttigergraph {\n")
	_, after, found := strings.Cut(rest, "\t\t}\n") // the end of the block dynamic
	if !found || !strings.Contains(rest, "dynamic a {") {
		t.Fatal("the Caddyfile has no block dynamic in tigergraph")
	}
	adapt := inHome(t, exec.Command(caddyBinary, "adapt", "--adapter", "tigergraph", "--config", writeCaddyfile(t, before+"\t"+line+"\n"+after)),
		"SITE=localhost", "COOKIE_KEY=one-Secret-for-all-replicas")
	output, err := adapt.CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, output)
	}
	for _, want := range []string{
		`"dial":"mycluster-0.mycluster-internal-service:14240"`, `"dial":"mycluster-2.mycluster-internal-service:14240"`,
		`"secrets":["{env.COOKIE_KEY}"]`, `"http_port":8080`, "/tls/tls.crt", "/ready",
	} {
		if !strings.Contains(string(output), want) {
			t.Errorf("%s is not in\n%s", want, output)
		}
	}
}

func TestAReplicaWithoutItsVariablesDoesNotStart(t *testing.T) {
	for setting, want := range map[string]string{
		"SITE=":               "the environment variable SITE is not set",
		"TIGERGRAPH_SERVICE=": "the environment variable TIGERGRAPH_SERVICE is not set",
		"COOKIE_KEY=":         "secret 1: evaluated placeholder {env.COOKIE_KEY} is empty",
		"COOKIE_KEY=short":    "the environment variable COOKIE_KEY is wrong: it has 5 characters",
	} {
		environment := map[string]string{"SITE": "localhost", "TIGERGRAPH_SERVICE": "x", "COOKIE_KEY": "one-Secret-for-all-replicas"}
		variable, value, _ := strings.Cut(setting, "=")
		environment[variable] = value
		content, err := os.ReadFile("../deploy/kubernetes/Caddyfile")
		if err != nil {
			t.Fatal(err)
		}
		pair, _, err := tgnode.SelfSigned("localhost")
		if err != nil {
			t.Fatal(err)
		}
		certificate, key := writePEM(t, pair.Certificates[0])
		site := strings.Replace(string(content), "/tls/tls.crt /tls/tls.key", certificate+" "+key, 1)
		var list []string
		for name, value := range environment {
			list = append(list, fmt.Sprintf("%s=%s", name, value))
		}
		// Not `caddy run`, which says nothing of an error in 2.11.5.
		validate := inHome(t, exec.Command(caddyBinary, "validate", "--adapter", "tigergraph", "--config", writeCaddyfile(t, site)), list...)
		if output, err := validate.CombinedOutput(); err == nil || !strings.Contains(string(output), want) {
			t.Errorf("with %q it does not say %q: %v\n%s", setting, want, err, output)
		}
	}
}
