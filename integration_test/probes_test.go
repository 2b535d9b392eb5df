package integration_test

import (
	"encoding/pem"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/tgnode"
)

// probeTargets are the default paths of the probes.
var probeTargets = map[tgnode.Service]string{
	tgnode.GUI: "/api/ping", tgnode.RESTPP: "/restpp/echo", tgnode.GSQL: "/gsqlserver/gsql/version",
}

// probesOf returns the probes of a service that arrived at a node.
func probesOf(node *tgnode.Node, service tgnode.Service) []tgnode.Request {
	var probes []tgnode.Request
	for _, r := range node.Requests() {
		if r.Target == probeTargets[service] && isProbe(r) {
			probes = append(probes, r)
		}
	}
	return probes
}

// visitsOf returns what arrived at a node but probes.
func visitsOf(node *tgnode.Node) []tgnode.Request {
	var visits []tgnode.Request
	for _, r := range node.Requests() {
		if !isProbe(r) {
			visits = append(visits, r)
		}
	}
	return visits
}

// isProbe tells the edge's own requests from those that it forwards.
func isProbe(r tgnode.Request) bool {
	return len(r.Values("X-Forwarded-For")) == 0
}

// deadPing makes the probes of the application server fail, and nothing else.
var deadPing = tgnode.Fault{Mode: tgnode.Dead, Path: "/api/ping"}

// withMetrics adds a page with Caddy's metrics to a site.
func withMetrics(directives string) string {
	return "handle /caddy-metrics {\nmetrics\n}\nhandle {\n" + directives + "\n}"
}

// scrape returns our series and their values.
func (e *edge) scrape() map[string]float64 {
	e.t.Helper()
	a := e.stranger(250).insist("/caddy-metrics")
	if a.StatusCode != http.StatusOK {
		e.t.Fatalf("metrics: %d %s", a.StatusCode, a.body)
	}
	series := make(map[string]float64)
	for line := range strings.Lines(string(a.body)) {
		name, text, _ := cutLast(strings.TrimSpace(line), " ")
		if !strings.HasPrefix(name, "caddy_tigergraph_") {
			continue
		}
		value, err := strconv.ParseFloat(text, 64)
		if err != nil {
			e.t.Fatalf("%s: %v", line, err)
		}
		series[name] = value
	}
	return series
}

// insist gets a page, once more if the connection breaks: with any policy, Caddy
// loses some that come in while a reload closes the old socket.
func (b *browser) insist(path string, fields ...string) (a *answer) {
	b.t.Helper()
	eventually(b.t, "an answer", func() bool {
		var err error
		a, err = b.try(http.MethodGet, path, nil, fields...)
		return err == nil
	})
	return a
}

func cutLast(s, separator string) (before, after string, found bool) {
	if i := strings.LastIndex(s, separator); i >= 0 {
		return s[:i], s[i+len(separator):], true
	}
	return s, "", false
}

// upSeries is the name of a gauge.
func upSeries(node *tgnode.Node, service tgnode.Service) string {
	return fmt.Sprintf(`caddy_tigergraph_node_up{node=%q,service=%q}`, node.Addr(), service)
}

// isVerdict reports whether a gauge is there and says this.
func (e *edge) isVerdict(node *tgnode.Node, service tgnode.Service, up float64) bool {
	e.t.Helper()
	value, known := e.scrape()[upSeries(node, service)]
	return known && value == up
}

// waitForVerdict waits until the check has decided.
func (e *edge) waitForVerdict(node *tgnode.Node, service tgnode.Service, up float64) {
	e.t.Helper()
	eventually(e.t, fmt.Sprintf("the verdict on %s of %s is %g", service, node.Name(), up), func() bool {
		return e.isVerdict(node, service, up)
	})
}

// stranger is a client without cookies, at 127.0.0.<host>.
func (e *edge) stranger(host byte) *browser {
	b := e.newBrowser(host)
	b.http.Jar = nil
	return b
}

// startTLSNodes starts nodes whose certificates are for this name, and returns
// the file with the authority that issued them.
func startTLSNodes(t *testing.T, count int, name string) (nodes []*tgnode.Node, authority string) {
	t.Helper()
	settings, _, err := tgnode.SelfSigned(name)
	if err != nil {
		t.Fatal(err)
	}
	authority = filepath.Join(t.TempDir(), "authority.pem")
	block := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: settings.Certificates[0].Certificate[0]})
	if err := os.WriteFile(authority, block, 0o600); err != nil {
		t.Fatal(err)
	}
	cluster := tgnode.NewCluster()
	t.Cleanup(cluster.Close)
	for range count {
		if _, err := cluster.Start(tgnode.Options{TLS: settings}); err != nil {
			t.Fatal(err)
		}
	}
	return cluster.Nodes(), authority
}

func TestProbesThatAreFarBetweenLeaveNoConnectionOpen(t *testing.T) {
	_, nodes := startCluster(t, 2)
	for _, proxy := range []string{"", "transport http\n", "transport tigergraph\n"} {
		for interval, kept := range map[string]bool{"20s": true, "30s": false, "1h": false} {
			e, a := newAdminEdge(t)
			e.load("reverse_proxy " + addresses(nodes) + " {\n" + proxy + "lb_policy tigergraph {\nhealth_check {\ninterval " + interval + "\n}\n}\n}")
			a.allUp()
			for _, node := range nodes {
				if kept && node.Connections() == 0 {
					t.Errorf("with %q and the interval %s no connection is kept", proxy, interval)
				}
				if !kept {
					eventually(t, "no connection is open", func() bool { return node.Connections() == 0 })
				}
				node.ResetConnections()
			}
		}
	}
}
