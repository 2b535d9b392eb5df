package integration_test

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/tgnode"
)

// metrics returns what Caddy's admin endpoint shows to Prometheus.
func (a *admin) metrics() string {
	a.t.Helper()
	reply := a.call(http.MethodGet, "/metrics", "")
	if reply.StatusCode != http.StatusOK {
		a.t.Fatalf("%d %s", reply.StatusCode, reply.body)
	}
	return string(reply.body)
}

// metric returns the value of a series, as it is written, "" if it is not there.
func (a *admin) metric(series string) string {
	a.t.Helper()
	for line := range strings.Lines(a.metrics()) {
		if value, found := strings.CutPrefix(line, series+" "); found {
			return strings.TrimSpace(value)
		}
	}
	return ""
}

func TestMetrics(t *testing.T) {
	_, nodes := startCluster(t, 2)
	e, a := newAdminEdge(t)
	config := behind(nodes, quick)
	e.load(config)
	a.allUp()
	first, second := nodes[0].Addr(), nodes[1].Addr()
	a.drain(nodes[1])
	nodes[0].SetFault(tgnode.GSQL, tgnode.Fault{Mode: tgnode.Dead})
	b := e.newBrowser(2)
	b.get("/api/ping")
	b.get("/api/ping")
	eventually(t, "GSQL is down", func() bool { return a.node(first).Services["gsql"].Verdict == "down" })
	nodes[1].SetFault(tgnode.GSQL, tgnode.Fault{Mode: tgnode.Dead})
	eventually(t, "GSQL is down on both", func() bool { return a.node(second).Services["gsql"].Verdict == "down" })
	b.get("/gsqlserver/gsql/version")

	check := func(when string) {
		t.Helper()
		for series, want := range map[string]string{
			fmt.Sprintf(`caddy_tigergraph_node_up{node="%s",service="gui"}`, first):                                "1",
			fmt.Sprintf(`caddy_tigergraph_node_up{node="%s",service="gsql"}`, first):                               "0",
			fmt.Sprintf(`caddy_tigergraph_node_draining{node="%s"}`, first):                                        "0",
			fmt.Sprintf(`caddy_tigergraph_node_draining{node="%s"}`, second):                                       "1",
			`caddy_tigergraph_fail_open{cluster="primary",service="gsql"}`:                                         "1",
			`caddy_tigergraph_fail_open{cluster="primary",service="gui"}`:                                          "0",
			fmt.Sprintf(`caddy_tigergraph_transitions_total{node="%s",service="gsql",to="down"}`, first):           "1",
			fmt.Sprintf(`caddy_tigergraph_transitions_total{node="%s",service="gui",to="up"}`, second):             "1",
			fmt.Sprintf(`caddy_tigergraph_selections_total{affinity="cookie",node="%s",service="gui"}`, first):     "1",
			fmt.Sprintf(`caddy_tigergraph_selections_total{affinity="fail_open",node="%s",service="gsql"}`, first): "1",
		} {
			if got := a.metric(series); got != want {
				t.Errorf("%s %s is %q, want %s", when, series, got, want)
			}
		}
		for _, series := range []string{
			fmt.Sprintf(`caddy_tigergraph_probes_total{node="%s",result="pass",service="gui"}`, first),
			fmt.Sprintf(`caddy_tigergraph_probes_total{node="%s",result="fail",service="gsql"}`, first),
			fmt.Sprintf(`caddy_tigergraph_probe_duration_seconds_count{node="%s",service="restpp"}`, second),
		} {
			if got := a.metric(series); got == "" || got == "0" {
				t.Errorf("%s %s is %q", when, series, got)
			}
		}
	}
	check("at first")
	for range 3 {
		e.load(config)
	}
	check("after reloads")

	// A node that leaves takes its series along.
	e.load(behind(nodes[1:], quick))
	eventually(t, "the series of the node that left are gone", func() bool { return !strings.Contains(a.metrics(), first) })
}

// A cluster of so many nodes is scraped as often as a small one.
func TestTheMetricsOfAThousandNodesAreAMegabyte(t *testing.T) {
	const count = 1000
	server := &http.Server{ReadHeaderTimeout: enough, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write([]byte(`{"error":false,"message":"pong"}`))
	})}
	t.Cleanup(func() { _ = server.Close() })
	var addresses []string
	for i := range count {
		listener, err := net.Listen("tcp4", fmt.Sprintf("127.0.%d.%d:0", 100+i/200, 1+i%200))
		if err != nil {
			t.Skipf("this machine has no %d sockets at addresses of its own: %v", count, err)
		}
		addresses = append(addresses, listener.Addr().String())
		go func() { _ = server.Serve(listener) }()
	}
	e, a := newAdminEdge(t)
	e.load("reverse_proxy " + strings.Join(addresses, " ") + " {\ntransport tigergraph {\ndial_timeout 20s\n}\nlb_policy tigergraph header X-User {\nhealth_check {\ninterval 10m\ntimeout 1m\n}\n}\n}")
	var scraped string
	eventually(t, "every service is up", func() bool {
		scraped = a.metrics()
		return strings.Count(scraped, "\ncaddy_tigergraph_node_up{") == 3*count
	})
	// One service of nearly every node is used.
	client := e.newBrowser(1)
	for user := range 3 * count {
		client.get("/restpp/query/g/q", "X-User", strconv.Itoa(user))
	}
	scraped = a.metrics()
	if used := strings.Count(scraped, "\ncaddy_tigergraph_request_duration_seconds_count{"); used < 9*count/10 {
		t.Errorf("requests to %d nodes are counted, want those to nearly all", used)
	}
	ours, by := 0, make(map[string]int)
	for line := range strings.Lines(scraped) {
		if strings.HasPrefix(line, "caddy_tigergraph_") {
			ours += len(line)
			name, _, _ := strings.Cut(line, "{")
			by[name] += len(line)
		}
	}
	const most = 1e6
	if ours > most {
		t.Errorf("%d nodes have %d bytes of metrics, more than %d", count, ours, int(most))
	}
	t.Logf("%d bytes of %d: %v", ours, len(scraped), by)
}

func TestThePlaceholdersInAnAccessLog(t *testing.T) {
	_, nodes := startCluster(t, 2)
	e := newEdge(t)
	access := filepath.Join(t.TempDir(), "access.log")
	e.load("log {\noutput file " + access + `
}
log_append node {http.tigergraph.node}
log_append service {http.tigergraph.service}
log_append affinity {http.tigergraph.affinity}
reverse_proxy ` + addresses(nodes) + " {\nlb_policy tigergraph\nlb_retries 1\n}")
	b := e.newBrowser(2)
	b.get("/gsqlserver/gsql/version") // by the address
	home := named(t, nodes, b.login())
	other := nodes[0]
	if other == home {
		other = nodes[1]
	}
	b.get("/restpp/echo")
	home.Stop()
	b.get("/api/ping")

	type entry struct {
		Request                 struct{ URI string }
		Node, Service, Affinity string
	}
	var entries []entry
	eventually(t, "all requests are logged", func() bool {
		content, err := os.ReadFile(access)
		if err != nil {
			return false
		}
		entries = nil
		for line := range strings.Lines(string(content)) {
			var logged entry
			if err := json.Unmarshal([]byte(line), &logged); err != nil {
				return false
			}
			entries = append(entries, logged)
		}
		return len(entries) == 5
	})
	for i, want := range []string{
		"/gsqlserver/gsql/version gsql client_ip " + home.Addr(),
		"/api/auth/login gui client_ip " + home.Addr(),
		"/api/auth/whoami gui cookie " + home.Addr(),
		"/restpp/echo restpp cookie " + home.Addr(),
		"/api/ping gui failover " + other.Addr(),
	} {
		got := entries[i]
		if line := strings.Join([]string{got.Request.URI, got.Service, got.Affinity, got.Node}, " "); line != want {
			t.Errorf("entry %d is %q, want %q", i, line, want)
		}
	}
}
