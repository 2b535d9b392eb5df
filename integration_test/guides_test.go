package integration_test

import (
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/tgnode"
)

// blockOf returns the fenced block of a guide that holds a text.
func blockOf(t *testing.T, guide, language, text string) string {
	t.Helper()
	content, err := os.ReadFile("../docs/" + guide)
	if err != nil {
		t.Fatal(err)
	}
	for _, block := range strings.Split(string(content), "\n```"+language+"\n")[1:] {
		block, _, _ = strings.Cut(block, "```")
		if strings.Contains(block, text) {
			return block
		}
	}
	t.Fatalf("%s has no %s with %s", guide, language, text)
	return ""
}

// directivesOf returns what stands in the site of a guide's Caddyfile, before
// these nodes.
func directivesOf(t *testing.T, guide, text string, nodes []*tgnode.Node) string {
	t.Helper()
	_, site, _ := strings.Cut(blockOf(t, guide, "caddyfile", text), "example.com {\n")
	site = strings.TrimSuffix(strings.TrimSpace(site), "}")
	if !strings.Contains(site, "tigergraph m1 m2 m3") {
		t.Fatalf("no nodes in %s", site)
	}
	return strings.Replace(site, "tigergraph m1 m2 m3", "tigergraph "+addresses(nodes), 1)
}

// The rules that the security guide gives cannot be got around by other spellings
// of a path, of which the node knows many.
func TestTheGuidesRulesHold(t *testing.T) {
	cluster, nodes := startCluster(t, 3)
	e := newEdge(t)
	// status sends a path as it is.
	status := func(method, path string) string {
		t.Helper()
		answer := e.raw(method+" "+path+" HTTP/1.1\r\nHost: "+e.address+"\r\nContent-Length: 0\r\nConnection: close\r\n\r\n", "")
		line, _, _ := strings.Cut(answer, "\r\n")
		return strings.TrimPrefix(line, "HTTP/1.1 ")
	}
	arrived := func(service tgnode.Service) (count int) {
		for _, node := range cluster.Nodes() {
			for _, request := range node.Requests() {
				// Probes ask for these paths and nothing else.
				if request.Service == service && request.Target != "/restpp/echo" && request.Target != "/gsqlserver/gsql/version" {
					count++
				}
			}
		}
		return count
	}

	e.load(directivesOf(t, "security.md", "@closed", nodes))
	for _, path := range []string{
		"/restpp", "/restpp/query/g/q", "/%72estpp/query/g/q", "//restpp//query/g/q", "/api/../restpp/query/g/q", "/./restpp/query/g/q",
		"/gsqlserver/gsql/help", "/%67sqlserver/gsql/help", "//gsqlserver/gsql/help", "/studio/%2e%2e/gsqlserver/gsql/help", "/gsql/v1/users", "/gsql//v1/users",
		"/informant/metrics", "/%69nformant/metrics", "//informant/metrics", "/x/../informant/metrics", "/informant", "/ts3/api/datapoints",
	} {
		if got := status(http.MethodGet, path); !strings.HasPrefix(got, "403") {
			t.Errorf("GraphStudio without the rest: %s is answered with %s", path, got)
		}
	}
	if got := status(http.MethodGet, "/studio/"); !strings.HasPrefix(got, "200") {
		t.Errorf("GraphStudio is answered with %s", got)
	}
	if count := arrived(tgnode.RESTPP) + arrived(tgnode.GSQL); count != 0 {
		t.Errorf("%d requests arrived at RESTPP or GSQL", count)
	}

	e.load(directivesOf(t, "security.md", "@queries", nodes))
	for _, path := range []string{
		"/", "/api/ping", "/gsqlserver/gsql/help", "/restpp/graph/g/vertices/v", "/restpp/query/../graph/g/vertices/v", "/restpp/query/%2e%2e/rebuildnow/g",
	} {
		if got := status(http.MethodGet, path); !strings.HasPrefix(got, "404") {
			t.Errorf("queries only: %s is answered with %s", path, got)
		}
	}
	if got := status(http.MethodDelete, "/restpp/query/g/q"); !strings.HasPrefix(got, "404") {
		t.Errorf("queries only: a DELETE is answered with %s", got)
	}
	if count := arrived(tgnode.RESTPP) + arrived(tgnode.GSQL); count != 0 {
		t.Errorf("%d requests arrived at RESTPP or GSQL", count)
	}
	if got := status(http.MethodGet, "/restpp/query/g/q"); !strings.HasPrefix(got, "200") || arrived(tgnode.RESTPP) != 1 {
		t.Errorf("a query is answered with %s, and %d arrived", got, arrived(tgnode.RESTPP))
	}

	// Who comes from a private network is as much a stranger, unless it is listed; that
	// may be a proxy.
	e.trustLoopback()
	e.load(directivesOf(t, "security.md", "@strangers", nodes))
	b := e.newBrowser(9)
	for path, want := range map[string]int{"/admin/": http.StatusForbidden, "/gsql/v1/users": http.StatusForbidden, "/%61dmin/": http.StatusForbidden, "/studio/": http.StatusOK} {
		if got := b.get(path, "X-Forwarded-For", "203.0.113.7").StatusCode; got != want {
			t.Errorf("a stranger gets %d for %s, want %d", got, path, want)
		}
	}
	for _, neighbour := range []string{"10.1.2.3", "192.168.0.7"} {
		if got := b.get("/admin/", "X-Forwarded-For", neighbour).StatusCode; got != http.StatusForbidden {
			t.Errorf("%s gets %d for /admin/", neighbour, got)
		}
	}
	if got := b.get("/admin/").StatusCode; got != http.StatusForbidden {
		t.Errorf("the proxy itself gets %d for /admin/", got)
	}
	if got := b.get("/admin/", "X-Forwarded-For", "192.0.2.44").StatusCode; got != http.StatusOK {
		t.Errorf("the office gets %d for /admin/", got)
	}
}

// A load balancer's health check has the edge's address as Host. It is to learn
// whether the edge is there, also while no node is.
func TestTheGuidesHealthCheckOfABalancer(t *testing.T) {
	cluster, nodes := startCluster(t, 3)
	e := newEdge(t)
	ask := func(path string) (status, body string) {
		t.Helper()
		head, body, _ := strings.Cut(e.raw("GET "+path+" HTTP/1.1\r\nHost: 10.0.0.5\r\nConnection: close\r\n\r\n", ""), "\r\n\r\n")
		line, _, _ := strings.Cut(head, "\r\n")
		return strings.TrimPrefix(line, "HTTP/1.1 "), body
	}
	load := func(site string) {
		t.Helper()
		if err := e.tryLoadCaddyfile(e.globals + site); err != nil {
			t.Fatal(err)
		}
	}
	_, port, _ := net.SplitHostPort(e.address)
	site := strings.TrimPrefix(blockOf(t, "deployment.md", "caddyfile", "respond /edge 200"), "{\n")
	for _, change := range [][2]string{{"\nhttp:// {\n", "\nhttp://:" + port + " {\n"}, {"tigergraph m1 m2 m3", "tigergraph " + addresses(nodes)}} {
		if strings.Count(site, change[0]) != 1 {
			t.Fatalf("the guide's Caddyfile has %q %d times:\n%s", change[0], strings.Count(site, change[0]), site)
		}
		site = strings.Replace(site, change[0], change[1], 1)
	}
	load(site)
	if status, body := ask("/api/ping"); status != "200 OK" || !strings.Contains(body, "pong") {
		t.Errorf("a node's answer is %s, %q", status, body)
	}
	for _, node := range cluster.Nodes() {
		node.Stop()
	}
	if status, _ := ask("/edge"); status != "200 OK" {
		t.Errorf("without nodes, the edge's own answer is %s", status)
	}
	if status, _ := ask("/api/ping"); !strings.HasPrefix(status, "50") {
		t.Errorf("without nodes, theirs is %s", status)
	}
	for _, node := range cluster.Nodes() {
		for _, request := range node.Requests() {
			if request.Target == "/edge" {
				t.Errorf("%s was asked for /edge", node.Name())
			}
		}
	}

	// Why the site has no name.
	load("}\nhttp://graph.example.com:" + port + " {\n\ttigergraph " + addresses(nodes) + "\n}\n")
	if status, body := ask("/api/ping"); status != "200 OK" || body != "" {
		t.Errorf("a site with a name answers a host that it does not know with %s, %q", status, body)
	}
}

// nginx understands the block that the migration guide begins with.
func TestTheGuidesNginxIsNginx(t *testing.T) {
	nginx, err := exec.LookPath("nginx")
	if err != nil {
		t.Skip("nginx is not installed")
	}
	folder := t.TempDir()
	file := filepath.Join(folder, "nginx.conf")
	config := "pid " + folder + "/pid;\nerror_log stderr;\nevents {}\nhttp {\naccess_log off;\nclient_body_temp_path " + folder + ";\nproxy_temp_path " + folder +
		";\nfastcgi_temp_path " + folder + ";\nuwsgi_temp_path " + folder + ";\nscgi_temp_path " + folder + ";\n" +
		strings.Replace(blockOf(t, "migration.md", "nginx", "ip_hash"), "listen 8000", "listen "+freeAddress(t), 1) + "\n}\n"
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	if output, err := exec.Command(nginx, "-t", "-p", folder, "-c", file).CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, output)
	}
}
