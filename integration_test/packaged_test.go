package integration_test

import (
	"net"
	"os"
	"regexp"
	"strings"
	"testing"
)

// The packages' Caddyfile, with the site for Prometheus that is commented out there.
func TestThePackagesCaddyfileHasTheMetricsThatTheAlertsAskFor(t *testing.T) {
	content, err := os.ReadFile("../deploy/packages/Caddyfile")
	if err != nil {
		t.Fatal(err)
	}
	_, nodes := startCluster(t, 1)
	site, metrics := freeAddress(t), freeAddress(t)
	_, port, _ := net.SplitHostPort(metrics)
	caddyfile := regexp.MustCompile(`(?m)^#(http://.*\{|\t(?:bind|metrics) .*|\})$`).ReplaceAllString(string(content), "$1")
	for _, change := range [][2]string{
		{"graph.example.com {", "http://" + site + " {"},
		{"tigergraph m1 m2 m3", "tigergraph " + addresses(nodes)},
		{"\nhttp://:9180 {", "\nhttp://:" + port + " {"},
		{"\tbind 10.0.0.5", "\tbind 127.0.0.1"},
		{"\n{\n", "\n" + processOptions(t.TempDir())},
	} {
		if strings.Count(caddyfile, change[0]) != 1 {
			t.Fatalf("the Caddyfile has %q %d times:\n%s", change[0], strings.Count(caddyfile, change[0]), caddyfile)
		}
		caddyfile = strings.Replace(caddyfile, change[0], change[1], 1)
	}
	startProcess(t, caddyBinary, caddyfile).listening(site)
	newBrowser(t, "http://"+site, 2, nil).login()
	prometheus := newBrowser(t, "http://"+metrics, 2, nil)
	for _, metric := range []string{`\ncaddy_http_request_duration_seconds_count\{.*handler="subroute"`, `\ncaddy_tigergraph_node_draining\{`, `\ncaddy_config_last_reload_successful `} {
		eventually(t, "there is "+metric, func() bool {
			return regexp.MustCompile(metric).Match(prometheus.get("/metrics").body)
		})
	}
}
