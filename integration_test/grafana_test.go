package integration_test

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/tgnode"
)

const grafanaFolder = "../deploy/grafana"

// needProgram skips the test where a program of Debian's package prometheus is
// missing, which CI has.
func needProgram(t *testing.T, name string) string {
	t.Helper()
	program, err := exec.LookPath(name)
	if err != nil {
		missing(t, "this needs %s; on Debian: apt-get install prometheus", name)
	}
	return program
}

func TestTheAlertRulesDoWhatTheirTestsSay(t *testing.T) {
	promtool := needProgram(t, "promtool")
	for _, arguments := range [][]string{{"check", "rules", "alerts.yml"}, {"test", "rules", "alerts_test.yml"}} {
		command := exec.Command(promtool, arguments...)
		command.Dir = grafanaFolder
		if output, err := command.CombinedOutput(); err != nil {
			t.Errorf("promtool %s: %v\n%s", strings.Join(arguments, " "), err, output)
		}
	}
}

// dashboard is what matters of Grafana's.
type dashboard struct {
	UID           string
	Title         string
	SchemaVersion int
	Templating    struct {
		List []struct{ Name, Type, Definition string }
	}
	Panels []struct {
		ID          int
		Type        string
		Title       string
		Description string
		GridPos     struct{ X, Y, W, H int }
		Datasource  struct{ Type, UID string }
		Targets     []struct{ RefID, Expr string }
	}
}

func readDashboard(t *testing.T) (d dashboard) {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(grafanaFolder, "dashboard.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(content, &d); err != nil {
		t.Fatal(err)
	}
	return d
}

func TestTheDashboardIsWellFormed(t *testing.T) {
	d := readDashboard(t)
	if d.UID == "" || d.Title == "" || d.SchemaVersion < 36 || len(d.Panels) < 8 {
		t.Errorf("%q %q, schema %d, %d panels", d.UID, d.Title, d.SchemaVersion, len(d.Panels))
	}
	variables := make(map[string]bool)
	for _, variable := range d.Templating.List {
		variables["$"+variable.Name] = true
	}
	ids := make(map[int]bool)
	taken := make(map[[2]int]string)
	for _, panel := range d.Panels {
		if ids[panel.ID] || panel.Title == "" || panel.Description == "" || panel.Datasource.UID != "${datasource}" || len(panel.Targets) == 0 {
			t.Errorf("panel %d: %+v", panel.ID, panel)
		}
		ids[panel.ID] = true
		for x := panel.GridPos.X; x < panel.GridPos.X+panel.GridPos.W; x++ {
			for y := panel.GridPos.Y; y < panel.GridPos.Y+panel.GridPos.H; y++ {
				if other := taken[[2]int{x, y}]; other != "" || x >= 24 {
					t.Fatalf("%q lies over %q or outside", panel.Title, other)
				}
				taken[[2]int{x, y}] = panel.Title
			}
		}
		for _, target := range panel.Targets {
			if left := substitute(target.Expr); strings.Contains(left, "$") {
				t.Errorf("%q asks with a variable that nobody defines: %s", panel.Title, left)
			}
		}
	}
	for _, name := range []string{"$datasource", "$instance", "$node", "$service"} {
		if !variables[name] {
			t.Errorf("there is no variable %s", name)
		}
	}
}

// substitute puts values in place of the dashboard's variables, as Grafana does.
func substitute(query string) string {
	return strings.NewReplacer("$instance", ".*", "$node", ".*", "$service", ".*", "$__rate_interval", "30s").Replace(query)
}

// prometheus is one that scrapes an edge.
type prometheus struct {
	t       *testing.T
	address string
}

// ask makes a call of the API.
func (p *prometheus) ask(call string, parameters url.Values, into any) {
	p.t.Helper()
	response, err := http.Get("http://" + p.address + "/api/v1/" + call + "?" + parameters.Encode())
	if err != nil {
		p.t.Fatal(err)
	}
	defer response.Body.Close()
	content, err := io.ReadAll(response.Body)
	if err != nil {
		p.t.Fatal(err)
	}
	var reply struct {
		Status, Error string
		Data          json.RawMessage
	}
	if err := json.Unmarshal(content, &reply); err != nil || reply.Status != "success" {
		p.t.Fatalf("%s %v: %v %s", call, parameters, err, content)
	}
	if err := json.Unmarshal(reply.Data, into); err != nil {
		p.t.Fatalf("%s: %v in %s", call, err, reply.Data)
	}
}

// series are those that a query finds, with their values.
type series []struct {
	Metric map[string]string
	Value  [2]any
}

func (p *prometheus) query(query string) series {
	p.t.Helper()
	var found struct{ Result series }
	p.ask("query", url.Values{"query": {query}}, &found)
	return found.Result
}

// scrapeConfigs returns those of deploy/grafana/README.md, with these values in
// place of the README's.
func scrapeConfigs(t *testing.T, changes ...[2]string) string {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(grafanaFolder, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	configs := ""
	for _, block := range strings.Split(string(content), "```yaml\nscrape_configs:\n")[1:] {
		block, _, _ = strings.Cut(block, "```")
		configs += block
	}
	for _, change := range changes {
		if strings.Count(configs, change[0]) != 1 {
			t.Fatalf("the README has %q %d times:\n%s", change[0], strings.Count(configs, change[0]), configs)
		}
		configs = strings.Replace(configs, change[0], change[1], 1)
	}
	return "scrape_configs:\n" + configs
}

// startPrometheus starts one with the alert rules.
func startPrometheus(t *testing.T, scrapeConfigs string) *prometheus {
	t.Helper()
	program := needProgram(t, "prometheus")
	rules, err := filepath.Abs(filepath.Join(grafanaFolder, "alerts.yml"))
	if err != nil {
		t.Fatal(err)
	}
	folder := t.TempDir()
	config := filepath.Join(folder, "prometheus.yml")
	content := fmt.Sprintf("global: {scrape_interval: 1s, evaluation_interval: 1s}\nrule_files: [%q]\n%s", rules, scrapeConfigs)
	if err := os.WriteFile(config, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	p := &prometheus{t, freeAddress(t)}
	output := new(buffer)
	command := inHome(t, exec.Command(program,
		"--config.file="+config, "--storage.tsdb.path="+filepath.Join(folder, "data"), "--web.listen-address="+p.address))
	command.Stdout, command.Stderr = output, output
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = command.Process.Kill() // it may have ended
		_ = command.Wait()
		if t.Failed() {
			t.Logf("prometheus: %s", output)
		}
	})
	eventually(t, "prometheus is ready", func() bool {
		response, err := http.Get("http://" + p.address + "/-/ready")
		if err != nil {
			return false
		}
		defer response.Body.Close()
		return response.StatusCode == http.StatusOK
	})
	return p
}

// alerts returns how many of each alert are pending or firing.
func (p *prometheus) alerts() map[string]int {
	p.t.Helper()
	var found struct {
		Alerts []struct{ Labels map[string]string }
	}
	p.ask("alerts", nil, &found)
	counts := make(map[string]int)
	for _, alert := range found.Alerts {
		counts[alert.Labels["alertname"]]++
	}
	return counts
}

// rulesWork fails if Prometheus could not compute a rule.
func (p *prometheus) rulesWork() {
	p.t.Helper()
	var rules struct {
		Groups []struct {
			Rules []struct{ Name, Health, LastError string }
		}
	}
	p.ask("rules", nil, &rules)
	if len(rules.Groups) < 4 {
		p.t.Errorf("%d groups of rules", len(rules.Groups))
	}
	for _, group := range rules.Groups {
		for _, rule := range group.Rules {
			if rule.Health != "ok" {
				p.t.Errorf("%s: %s %s", rule.Name, rule.Health, rule.LastError)
			}
		}
	}
}

// Grafana itself is in no distribution's package that a test could count on, so
// its part is played by the queries of the panels.
func TestThePanelsOfTheDashboardFindWhatTheyAskFor(t *testing.T) {
	needProgram(t, "prometheus")
	_, nodes := startCluster(t, 3)
	address := freeAddress(t)
	edge := startProcess(t, caddyBinary, processOptions(t.TempDir())+"metrics\n}\nhttp://"+address+" {\nmetrics /metrics\n"+cluster(nodes, quick)+"\n}\n")
	edge.listening(address)
	p := startPrometheus(t, scrapeConfigs(t, [2]string{"edge-1:9180, edge-2:9180", address}))
	eventually(t, "all nodes are scraped", func() bool { return len(p.query("caddy_tigergraph_node_up == 1")) == 9 })

	// Something of everything: a service that is down everywhere, another on one
	// node, and a browser that loses its node.
	b := newBrowser(t, "http://"+address, 2, nil)
	home := named(t, nodes, b.login())
	home.Stop()
	for _, node := range nodes {
		node.SetFault(tgnode.GSQL, tgnode.Fault{Mode: tgnode.Dead})
		node.SetFault(tgnode.RESTPP, tgnode.Fault{Mode: tgnode.Close, Path: "/restpp/version"})
	}
	eventually(t, "the fall of the service is scraped", func() bool { return len(p.query(`caddy_tigergraph_fail_open{service="gsql"} == 1`)) == 1 })
	b.get("/api/__echo")
	b.get("/gsqlserver/__echo")
	eventually(t, "the lost browser is scraped", func() bool { return len(p.query("caddy_tigergraph_displaced_total > 0")) == 1 })

	want := map[string]string{
		"Services that are down": "5", "Services failing open": "1", "Nodes draining": "0",
	}
	for _, panel := range readDashboard(t).Panels {
		for _, target := range panel.Targets {
			value := want[panel.Title]
			eventually(t, panel.Title+" shows something, "+value, func() bool {
				// Rates are of requests that go on.
				b.get("/api/__echo")
				b.get("/gsqlserver/__echo")
				_, _ = b.try(http.MethodGet, "/restpp/version", nil) // which goes on from node to node
				for _, found := range p.query(substitute(target.Expr)) {
					if shown := fmt.Sprint(found.Value[1]); value == "" && shown != "NaN" || shown == value {
						return true
					}
				}
				return false
			})
			delete(want, panel.Title)
		}
	}
	if len(want) > 0 {
		t.Errorf("there are no panels %v", slices.Collect(maps.Keys(want)))
	}
	for _, variable := range readDashboard(t).Templating.List {
		metric, _, found := strings.Cut(strings.TrimPrefix(variable.Definition, "label_values("), ",")
		if variable.Type == "query" && (!found || len(p.query(metric)) == 0) {
			t.Errorf("the variable %s finds nothing: %s", variable.Name, variable.Definition)
		}
	}

	// The rules see the same.
	eventually(t, "the alerts are pending", func() bool {
		counts := p.alerts()
		return counts["TigerGraphNodeDown"] == 5 && counts["TigerGraphServiceDown"] == 1 && counts["TigerGraphFailOpen"] == 1
	})
	for _, alert := range []string{"TigerGraphEdgeDown", "TigerGraphNoEdge", "TigerGraphEdgeWithoutNodes", "TigerGraphReloadFailed"} {
		// On a busy machine a scrape may have taken too long.
		eventually(t, "no "+alert+" of an edge that answers", func() bool { return p.alerts()[alert] == 0 })
	}
	p.rulesWork()

	// An edge that is dead takes its series along, but for the alerts about it.
	if err := edge.command.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the edge's death is noticed", func() bool {
		counts := p.alerts()
		return counts["TigerGraphEdgeDown"] == 1 && counts["TigerGraphNoEdge"] == 1 && counts["TigerGraphNodeDown"] == 0
	})
}

// The certificate, the way in and the configuration are watched by metrics that are
// not ours.
func TestTheAlertsAboutCertificatesAndReloads(t *testing.T) {
	needProgram(t, "prometheus")
	exporter, err := exec.LookPath("prometheus-blackbox-exporter")
	if err != nil {
		t.Skip("there is no blackbox exporter; on Debian: apt-get install prometheus-blackbox-exporter")
	}
	modules := filepath.Join(t.TempDir(), "blackbox.yml")
	if err := os.WriteFile(modules, []byte("modules: {http_2xx: {prober: http, http: {preferred_ip_protocol: ip4, tls_config: {insecure_skip_verify: true}}}}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	probing := freeAddress(t)
	command := exec.Command(exporter, "--config.file="+modules, "--web.listen-address="+probing)
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = command.Process.Kill() // it may have ended
		_ = command.Wait()
	})

	_, nodes := startCluster(t, 1)
	admin, metrics, site := freeAddress(t), freeAddress(t), freeAddress(t)
	_, port, _ := net.SplitHostPort(site)
	options := strings.Replace(processOptions(t.TempDir()), "admin off", "admin "+admin, 1)
	edge := startProcess(t, caddyBinary, options+"skip_install_trust\nmetrics\n}\nhttp://"+metrics+" {\nmetrics /metrics\n}\n"+
		"https://localhost:"+port+" {\ntls internal\n"+behind(nodes, quick)+"\n}\n")
	edge.listening(site)
	p := startPrometheus(t, scrapeConfigs(t, [2]string{"edge-1:9180, edge-2:9180", metrics},
		[2]string{"https://graph.example.com", "https://localhost:" + port}, [2]string{"localhost:9115", probing}))
	// Certificates of Caddy's own authority last twelve hours.
	eventually(t, "the end of the certificate is near", func() bool { return p.alerts()["TigerGraphCertificateEnds"] == 1 })
	// On a busy machine a probe may have taken too long.
	eventually(t, "a site that answers is not called unreachable", func() bool { return p.alerts()["TigerGraphEdgeUnreachable"] == 0 })

	response, err := http.Post("http://"+admin+"/load", "application/json", strings.NewReader(`{"apps": {"http": {"servers": {"a": {"listen": ["127.0.0.1:0"], "routes": [{"handle": [{"handler": "nonsense"}]}]}}}}}`))
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	if response.StatusCode == http.StatusOK {
		t.Fatal("nonsense was loaded")
	}
	eventually(t, "the failed reload is noticed", func() bool { return p.alerts()["TigerGraphReloadFailed"] == 1 })

	nodes[0].Stop()
	eventually(t, "the site is noticed to fail", func() bool { return p.alerts()["TigerGraphEdgeUnreachable"] == 1 })
	eventually(t, "its clients' errors are noticed", func() bool { return p.alerts()["TigerGraphEdgeErrors"] == 1 })

	if err := command.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it is noticed that nobody looks from outside", func() bool { return p.alerts()["TigerGraphSiteUnwatched"] == 1 })
	p.rulesWork()
}
