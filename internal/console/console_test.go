package console

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/health"
	"github.com/caddy-tigergraph/caddy-tigergraph/internal/statuspage"
)

type (
	node    = statuspage.NodeStatus
	service = statuspage.ServiceStatus
)

var noon = time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)

func ago(d time.Duration) *time.Time {
	then := noon.Add(-d)
	return &then
}

// all is the same for all services.
func all(s service) map[string]service { return map[string]service{"gui": s, "gsql": s, "restpp": s} }

// aCluster is what the admin endpoint may say of one.
func aCluster() *Cluster {
	up := service{Verdict: "up", Since: ago(90 * time.Second), Streak: 45, LastProbe: ago(time.Second), LatencyMS: 1.25}
	down := service{
		Verdict: "down", Since: ago(90 * time.Second), Streak: 45, LastProbe: ago(time.Second), LatencyMS: 2000,
		LastError: "Get \"http://graph-1.prod.example.com:14240/gsqlserver/gsql/version\": dial tcp 192.0.2.123:14240: connect: connection \x1b[31mrefused",
	}
	return &Cluster{Nodes: []node{
		{
			Address: "graph-1.prod.example.com:14240", Role: "primary", Weight: 1, Requests: 1234,
			Services: map[string]service{"gui": up, "gsql": down, "restpp": up},
		},
		{
			Address: "m2:14240", Role: "primary", Weight: 65535, Draining: true, DrainUntil: ago(-time.Hour),
			Services: map[string]service{"gui": up, "gsql": up, "restpp": {Verdict: "unknown"}},
		},
		{
			Address: "m3:14240", Role: "backup", Weight: 1,
			Services: map[string]service{"gui": {Verdict: "off"}, "gsql": up, "restpp": up},
		},
	}}
}

// shown returns what is printed without colours.
func shown(show func(p *Printer)) string {
	var out bytes.Buffer
	show(&Printer{out: &out})
	return out.String()
}

// Tables read well on a terminal of 80 columns, and colours do not move them.
func TestTables(t *testing.T) {
	findings := []Finding{
		{Node: "graph-1.prod.example.com:14240", Service: "gui", Passed: true, LatencyMS: 1.234},
		{
			Node: "graph-1.prod.example.com:14240", Service: "gsql", LatencyMS: 2000.1,
			Error: strings.Repeat("dial tcp 192.0.2.123:14240: ", 5) + "connect: connection refused", Advice: strings.Repeat("check this and that, ", 12),
		},
		{
			Node: "graph-1.prod.example.com:14240", Service: "restpp", LatencyMS: 2000.1,
			Error: strings.Repeat("dial tcp 192.0.2.123:14240: ", 5) + "connect: connection refused", Advice: strings.Repeat("check this and that, ", 12),
		},
	}
	for name, show := range map[string]func(p *Printer){
		"status": func(p *Printer) { p.Status(aCluster(), noon) },
		"check":  func(p *Printer) { p.Findings(findings) },
	} {
		plain := shown(show)
		var coloured bytes.Buffer
		show(&Printer{out: &coloured, colour: true})
		for line := range strings.Lines(plain) {
			if columns := utf8.RuneCountInString(strings.TrimRight(line, "\n")); columns > 80 {
				t.Errorf("%s: a line has %d columns: %s", name, columns, line)
			}
		}
		if strings.ContainsRune(plain, '\x1b') {
			t.Errorf("%s: an escape sequence without a terminal: %q", name, plain)
		}
		if !strings.Contains(coloured.String(), "\x1b[31m") {
			t.Errorf("%s: no red in %q", name, coloured.String())
		}
		if bare := stripColours(coloured.String()); bare != plain {
			t.Errorf("%s: with colours the columns are\n%s\nwithout\n%s", name, bare, plain)
		}
	}

	status := shown(func(p *Printer) { p.Status(aCluster(), noon) })
	for _, want := range []string{
		"m2:14240                        draining  up   up    unknown  0         65535",
		"m2:14240 is draining for another 1h0m0s",
		"graph-1.prod.example.com:14240 gsql is down for 1m30s",
		"backup    off  up    up       0         1",
	} {
		if !strings.Contains(status, want) {
			t.Errorf("no %q in\n%s", want, status)
		}
	}
	check := shown(func(p *Printer) { p.Findings(findings) })
	if count := strings.Count(check, "graph-1.prod.example.com:14240 gsql, restpp:\n  dial"); count != 1 {
		t.Errorf("a failure of two services is explained %d times:\n%s", count, check)
	}
	if none := shown(func(p *Printer) { p.Status(new(Cluster), noon) }); !strings.Contains(none, "no TigerGraph nodes") {
		t.Errorf("%q", none)
	}
}

func stripColours(text string) string {
	for _, colour := range []string{"31", "32", "33", "39"} {
		text = strings.ReplaceAll(text, "\x1b["+colour+"m", "")
	}
	return text
}

// off is a node that is not there.
func off(address string) node {
	return node{Address: address, Role: "primary", Weight: 1, Services: all(service{
		Verdict: "down", Since: ago(time.Minute), Advice: "is TigerGraph started?",
		LastError: "dial tcp " + address + ": connect: connection refused",
	})}
}

func TestADeadNodeIsToldOfOnce(t *testing.T) {
	well := node{Address: "m4:14240", Role: "primary", Services: all(service{Verdict: "up"})}
	text := shown(func(p *Printer) {
		p.Status(&Cluster{Nodes: []node{off("m1:14240"), off("m2:14240"), off("m3:14240"), well}}, noon)
	})
	for _, name := range []string{"m1", "m2", "m3"} {
		want := fmt.Sprintf("\n%s:14240 gui, gsql, restpp are down for 1m0s:\n  dial tcp %[1]s:14240: connect: connection refused\n  is TigerGraph started?\n", name)
		if strings.Count(text, want) != 1 {
			t.Errorf("not once %q in\n%s", want, text)
		}
	}
}

func TestAnOutageOfAHundredNodesIsOneParagraph(t *testing.T) {
	cluster := new(Cluster)
	for i := range 100 {
		cluster.Nodes = append(cluster.Nodes, off(fmt.Sprintf("10.0.0.%d:14240", i+1)))
	}
	text := shown(func(p *Printer) { p.Status(cluster, noon) })
	want := "10.0.0.1:14240 to 10.0.0.100:14240 (100 nodes) gui, gsql, restpp are down for"
	if strings.Count(text, "are down for") != 1 || !strings.Contains(text, want) {
		t.Errorf("no single %q in\n%s", want, text)
	}
}

func TestWhatIsWorstIsSaidFirst(t *testing.T) {
	cluster := &Cluster{Nodes: []node{off("m1:14240")}, Services: map[string]statuspage.ServiceState{
		"gui": {FailOpen: true}, "gsql": {Unavailable: true}, "restpp": {},
	}}
	text := shown(func(p *Printer) { p.Status(cluster, noon) })
	lines := strings.Split(text, "\n")
	if !strings.HasPrefix(text, "FAILING OPEN: gui: every node is down") || strings.Count(text, "NOBODY SERVES gsql") != 1 || strings.Contains(text, "restpp:") || len(lines) < 6 {
		t.Errorf("it is said\n%s", text)
	}
}

func TestClustersAreShownWhereThereAreSeveral(t *testing.T) {
	m1 := node{Address: "m1:14240", Cluster: "primary", Role: "standby", Weight: 1, Services: all(service{Verdict: "up"})}
	dr1 := node{Address: "dr1:14240", Cluster: "dr", Role: "primary", Weight: 1, Services: all(service{Verdict: "up"})}
	cluster := &Cluster{Nodes: []node{dr1, m1}, Clusters: []statuspage.ClusterStatus{
		{Name: "primary", Nodes: []string{"m1:14240"}, Since: ago(time.Minute), DrainingUntil: ago(-29 * time.Minute)},
		{Name: "dr", Active: true, Nodes: []string{"dr1:14240"}, Since: ago(time.Minute)},
	}}
	text := shown(func(p *Printer) { p.Status(cluster, noon) })
	for _, want := range []string{
		"m1:14240   standby  up   up    up      0         1       primary",
		"Cluster primary: standby, for 1m0s; its sessions stay for another 29m0s (1 node).",
		"Cluster dr: active, for 1m0s (1 node).",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	cluster.Clusters = cluster.Clusters[1:]
	if text := shown(func(p *Printer) { p.Status(cluster, noon) }); strings.Contains(text, "luster") || strings.Contains(text, "CLUSTER") {
		t.Errorf("one cluster is spoken of:\n%s", text)
	}
}

func TestWhatRequestsMetIsTold(t *testing.T) {
	s := service{Verdict: "up", Evidence: &statuspage.Evidence{Last: "status 502", At: noon.Add(-3 * time.Second), Count: 1}}
	text := shown(func(p *Printer) {
		p.Status(&Cluster{Nodes: []node{{Address: "m1:14240", Services: map[string]service{"gui": s}}}}, noon)
	})
	if want := "m1:14240 gui failed 1 request in the last five minutes, the last one 3s ago:\n  status 502\n"; !strings.Contains(text, want) {
		t.Errorf("no %q in\n%s", want, text)
	}
}

func TestWhatIsWrongWithAServiceIsPrinted(t *testing.T) {
	refused := health.EvidenceError{Outcome: health.Refused}
	one := node{Address: "m1:14240", Role: "primary", Weight: 1, Services: map[string]service{
		"gui": {
			Verdict: "up", Since: ago(90 * time.Second), LastError: "status 502",
			Evidence: &statuspage.Evidence{Last: health.BadGateway.String(), At: noon.Add(-7 * time.Second), Count: 12},
		},
		"gsql": {Verdict: "unknown", LastError: health.ErrNoRoute.Error(), Advice: health.Advice("gsql", health.ErrNoRoute)},
		"restpp": {
			Verdict: "down", Since: ago(90 * time.Second), LastError: refused.Error(), Advice: health.Advice("restpp", refused),
			Evidence: &statuspage.Evidence{Last: health.Refused.String(), At: noon.Add(-time.Hour)},
		},
	}}
	text := shown(func(p *Printer) { p.Status(&Cluster{Nodes: []node{one}}, noon) })
	for _, want := range []string{
		"m1:14240 gui failed 12 requests in the last five minutes, the last one 7s ago:\n  status 502: the node's nginx does not reach the service\n",
		"m1:14240 gsql is unknown:\n  the node's nginx does not know the path of the probe\n  nobody knows whether it lives",
		"m1:14240 restpp is down for 1m30s:\n  a request met this: dialling: connection refused\n  nothing listens there",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("printed\n%swant\n%s", text, want)
		}
	}
	if strings.Contains(text, "restpp failed") {
		t.Errorf("what was an hour ago is printed:\n%s", text)
	}
}

// A request that nobody listens for is the failure of all services of a node.
func TestWhatRequestsMetIsPrintedOnce(t *testing.T) {
	met := &statuspage.Evidence{Last: health.Refused.String(), At: noon.Add(-4 * time.Second), Count: 2}
	state := func(verdict, why string) string {
		s := service{Verdict: verdict, LastError: why, Since: ago(time.Minute), Evidence: met}
		one := node{Address: "m1:14240", Role: "primary", Weight: 1, Services: map[string]service{"gui": s, "gsql": s, "restpp": s}}
		return shown(func(p *Printer) { p.Status(&Cluster{Nodes: []node{one}}, noon) })
	}
	want := "m1:14240 gui, gsql, restpp failed 2 requests in the last five minutes, the\nlast one 4s ago:\n  dialling: connection refused\n"
	for _, text := range []string{state("up", ""), state("down", "no answer within 2s")} {
		if !strings.Contains(text, want) || strings.Count(text, "failed 2 requests") != 1 {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	for _, why := range []string{"dial tcp 127.0.0.1:14240: connect: connection refused", "a request met this: dialling: connection refused"} {
		if text := state("down", why); strings.Contains(text, "failed 2 requests") {
			t.Errorf("what is the reason anyway is printed again:\n%s", text)
		}
	}
}

func TestTrafficIsShownWhereItIsCounted(t *testing.T) {
	p95 := 34.25
	one := node{Address: "m1:14240", Services: map[string]service{
		"gui":    {Verdict: "up", Traffic: &statuspage.Traffic{}},
		"gsql":   {Verdict: "up"},
		"restpp": {Verdict: "up", Traffic: &statuspage.Traffic{PerSecond: 12.5, ErrorsPerSecond: 0.5, P95MS: &p95}},
	}}
	text := shown(func(p *Printer) { p.Status(&Cluster{Nodes: []node{one}}, noon) })
	if want := "NODE      SERVICE  REQUESTS/S  ERRORS/S  95 % WITHIN\nm1:14240  restpp   12.5        0.5       34.2 ms\n"; !strings.Contains(text, want) {
		t.Errorf("no %q in\n%s", want, text)
	}
	one.Services["restpp"].Traffic.ErrorsPerSecond = 0.006
	if text := shown(func(p *Printer) { p.Status(&Cluster{Nodes: []node{one}}, noon) }); !strings.Contains(text, "  12.5        <0.1      34.2 ms\n") {
		t.Errorf("one error in three minutes is shown as\n%s", text)
	}
	delete(one.Services, "restpp")
	if text := shown(func(p *Printer) { p.Status(&Cluster{Nodes: []node{one}}, noon) }); strings.Contains(text, "REQUESTS/S") {
		t.Errorf("a table of nothing:\n%s", text)
	}
}

func TestWhatCameInsteadIsShown(t *testing.T) {
	text := shown(func(p *Printer) {
		p.Findings([]Finding{{Node: "https://m1:14240", Service: "gui", Error: "no JSON object", Advice: "look", Came: "status 200 OK: <html>\x1b"}})
	})
	if want := "https://m1:14240 gui:\n  no JSON object\n  look\n  the answer was: status 200 OK: <html>�\n"; !strings.Contains(text, want) {
		t.Errorf("no %q in\n%s", want, text)
	}
}
