package integration_test

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyevents"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/tgnode"
)

func init() {
	caddy.RegisterModule(new(collector))
	caddy.RegisterModule(new(nuisance))
}

// collector is a subscriber that keeps what it is told, under its label.
type collector struct {
	Label string `json:"label"`
}

var collected struct {
	sync.Mutex
	events []string
}

func (*collector) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "events.handlers.collect_for_test", New: func() caddy.Module { return new(collector) }}
}

func (c *collector) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next()
	if !d.AllArgs(&c.Label) {
		return d.ArgErr()
	}
	return nil
}

func (c *collector) Handle(_ context.Context, event caddy.Event) error {
	collected.Lock()
	defer collected.Unlock()
	collected.events = append(collected.events,
		fmt.Sprintf("%s %s %v %v", c.Label, event.Name(), event.Data["node"], event.Data["service"]))
	return nil
}

var _ caddyevents.Handler = (*collector)(nil)

// nuisance is a subscriber that takes its time, or panics.
type nuisance struct {
	Pause  caddy.Duration `json:"pause,omitempty"`
	Panics bool           `json:"panics,omitempty"`
}

func (*nuisance) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "events.handlers.nuisance_for_test", New: func() caddy.Module { return new(nuisance) }}
}

func (n *nuisance) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next()
	for d.NextArg() {
		if d.Val() == "panic" {
			n.Panics = true
			continue
		}
		pause, err := caddy.ParseDuration(d.Val())
		if err != nil {
			return err
		}
		n.Pause = caddy.Duration(pause)
	}
	return nil
}

func (n *nuisance) Handle(ctx context.Context, _ caddy.Event) error {
	if n.Panics {
		panic("the subscriber")
	}
	select {
	case <-ctx.Done():
	case <-time.After(time.Duration(n.Pause)):
	}
	return nil
}

// takeEvents returns what has been collected, and forgets it.
func takeEvents() []string {
	collected.Lock()
	defer collected.Unlock()
	events := collected.events
	collected.events = nil
	slices.Sort(events)
	return events
}

// loadSubscribed loads a site with a subscriber to our events.
func (e *edge) loadSubscribed(label, directives string) {
	e.t.Helper()
	subscriber := fmt.Sprintf("events {\non node_up collect_for_test %s\non node_down collect_for_test %s\n}\n", label, label)
	if err := e.tryLoadCaddyfile(e.globals + subscriber + "}\nhttp://" + e.address + " {\n" + directives + "\n}\n"); err != nil {
		e.t.Fatal(err)
	}
}

// wait until these events, and no others, have been collected.
func expectEvents(t *testing.T, want ...string) {
	t.Helper()
	slices.Sort(want)
	eventually(t, fmt.Sprint(len(want), " events"), func() bool {
		collected.Lock()
		defer collected.Unlock()
		return len(collected.events) >= len(want)
	})
	if got := takeEvents(); !slices.Equal(got, want) {
		t.Errorf("events\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}

// allUp are the events of nodes whose services all come up.
func allUp(label string, nodes []*tgnode.Node) (events []string) {
	for _, node := range nodes {
		for service := range probeTargets {
			events = append(events, fmt.Sprintf("%s node_up %s %s", label, node.Addr(), service))
		}
	}
	return events
}

// Apps start in random order, so the first probe may end before the app that
// would hand on its event has started.
func TestNoEventIsLostAtTheStart(t *testing.T) {
	_, nodes := startCluster(t, 2)
	e := newEdge(t)
	takeEvents()
	for range 20 {
		e.loadSubscribed("start", behind(nodes, quick))
		expectEvents(t, allUp("start", nodes)...)
		if err := caddy.Stop(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestEventsReachTheSubscribersOfTheRunningConfiguration(t *testing.T) {
	_, nodes := startCluster(t, 2)
	e := newEdge(t)
	takeEvents()
	e.loadSubscribed("old", behind(nodes, quick))
	expectEvents(t, allUp("old", nodes)...)
	nodes[0].SetFault(tgnode.GSQL, tgnode.Fault{Mode: tgnode.Dead})
	expectEvents(t, "old node_down "+nodes[0].Addr()+" gsql")
	e.loadSubscribed("new", behind(nodes, quick))
	nodes[0].ClearFaults()
	expectEvents(t, "new node_up "+nodes[0].Addr()+" gsql")
	nodes[1].Stop()
	expectEvents(t, "new node_down "+nodes[1].Addr()+" gsql",
		"new node_down "+nodes[1].Addr()+" gui", "new node_down "+nodes[1].Addr()+" restpp")
	if logged := e.logs("handler error"); len(logged) > 0 {
		t.Error(logged)
	}
}

// Nobody but the subscriber itself waits for it.
func TestASubscriberThatIsSlowOrPanicsHoldsUpNoProbe(t *testing.T) {
	for _, how := range []string{"8s", "panic"} {
		t.Run(how, func(t *testing.T) {
			_, nodes := startCluster(t, 3)
			e := newEdge(t)
			site := withMetrics(behind(nodes, "health_check {\ninterval 50ms\n}"))
			config := e.globals + "events {\non node_up nuisance_for_test " + how + "\non node_down nuisance_for_test " + how +
				"\n}\n}\nhttp://" + e.address + " {\n" + site + "\n}\n"
			if err := e.tryLoadCaddyfile(config); err != nil {
				t.Fatal(err)
			}
			for _, node := range nodes {
				e.waitForVerdict(node, tgnode.GUI, 1)
			}
			nodes[0].SetFault(tgnode.GUI, deadPing)
			e.waitForVerdict(nodes[0], tgnode.GUI, 0)
			probes := probesOf(nodes[0], tgnode.GUI)
			for i := 1; i < len(probes); i++ {
				if gap := probes[i].Time.Sub(probes[i-1].Time); gap > 5*time.Second {
					t.Errorf("no probe for %s", gap)
				}
			}
			if how == "panic" {
				eventually(t, "it is logged", func() bool { return len(e.logs("subscriber of an event panicked")) > 0 })
			}
		})
	}
}

// A probe that began before a reload may end after it.
func TestAResultBelongsToTheConfigurationThatRuns(t *testing.T) {
	_, nodes := startCluster(t, 1)
	nodes[0].SetFault(tgnode.GUI, tgnode.Fault{Mode: tgnode.Hang, Path: "/api/ping"})
	e := newEdge(t)
	takeEvents()
	site := behind(nodes, "health_check {\nfails 1\ntimeout 30s\ngsql off\nrestpp off\n}")
	e.loadSubscribed("old", site)
	eventually(t, "a probe hangs", func() bool { return len(probesOf(nodes[0], tgnode.GUI)) > 0 })
	e.loadSubscribed("new", site)
	nodes[0].ResetConnections()
	expectEvents(t, "new node_down "+nodes[0].Addr()+" gui")
	if lost := e.logs("context canceled"); len(lost) > 0 {
		t.Error(lost)
	}
}

func TestMetricsAreRightAfterReloads(t *testing.T) {
	_, nodes := startCluster(t, 3)
	e := newEdge(t)
	e.load(withMetrics(behind(nodes, quick)))
	for _, node := range nodes {
		e.waitForVerdict(node, tgnode.GUI, 1)
	}
	nodes[0].SetFault(tgnode.GUI, deadPing)
	e.waitForVerdict(nodes[0], tgnode.GUI, 0)
	before := e.scrape()
	for range 3 {
		e.load(withMetrics(behind(nodes, quick)))
	}
	after := e.scrape()
	for series, value := range before {
		now, there := after[series]
		switch {
		case !there:
			t.Errorf("%s is gone", series)
		case strings.Contains(series, "node_up") && now != value:
			t.Errorf("%s was %g and is %g", series, value, now)
		case now < value:
			t.Errorf("%s was %g and is %g", series, value, now)
		}
	}
	for series, want := range map[string]float64{
		fmt.Sprintf(`caddy_tigergraph_transitions_total{node=%q,service="gui",to="up"}`, nodes[0].Addr()):   1,
		fmt.Sprintf(`caddy_tigergraph_transitions_total{node=%q,service="gui",to="down"}`, nodes[0].Addr()): 1,
		fmt.Sprintf(`caddy_tigergraph_transitions_total{node=%q,service="gsql",to="up"}`, nodes[0].Addr()):  1,
		upSeries(nodes[0], tgnode.GUI):  0,
		upSeries(nodes[0], tgnode.GSQL): 1,
	} {
		if after[series] != want {
			t.Errorf("%s is %g, want %g", series, after[series], want)
		}
	}
	nodes[0].ClearFaults()
	e.waitForVerdict(nodes[0], tgnode.GUI, 1)

	e.load(withMetrics(behind(nodes[1:], quick)))
	for series := range e.scrape() {
		if strings.Contains(series, nodes[0].Addr()) {
			t.Errorf("%s is left of a node that was removed", series)
		}
	}
	if after := e.scrape(); after[probesSeries(nodes[1], "gui", "pass")] < before[probesSeries(nodes[1], "gui", "pass")] {
		t.Error("the counters of the nodes that stay were reset")
	}

	e.load(withMetrics(behind(nodes[1:], "health_check off")))
	for series := range e.scrape() {
		ofNode := strings.Contains(series, "_draining") || strings.Contains(series, "_requests_in_flight") ||
			strings.Contains(series, "_selections_") || strings.Contains(series, "_displaced_")
		if strings.Contains(series, `node="`) && !ofNode {
			t.Errorf("%s is left although nothing is checked", series)
		}
	}
}

func TestLogsSayOnceWhatHappenedAndNothingElse(t *testing.T) {
	_, nodes := startCluster(t, 1)
	node := nodes[0]
	t.Setenv("CREDENTIAL", "credential-secret") // the log shows the configuration, but not this
	t.Setenv("COOKIE", "cookie-secret")
	e := newEdge(t)
	e.globals = strings.Replace(e.globals, "level INFO", "level DEBUG", 1)
	e.load(withMetrics(behind(nodes, `health_check {
		interval 50ms
		timeout  500ms
		header   Authorization "Bearer {env.CREDENTIAL}"
		header   Cookie session={env.COOKIE}
	}`)))
	for service := range probeTargets {
		e.waitForVerdict(node, service, 1)
	}
	node.SetFault(tgnode.GUI, tgnode.Fault{
		Mode: tgnode.Answer, Status: 200, ContentType: "text/html", Body: "body-secret",
		Fields: []tgnode.Field{{Name: "Set-Cookie", Value: "a=answer-secret"}}, Path: "/api/ping",
	})
	node.SetFault(tgnode.GSQL, tgnode.Fault{Mode: tgnode.Raw, Body: "HTTP/1.1 200 OK\r\nTransfer-Encoding: coding-secret\r\n\r\n"})
	node.SetFault(tgnode.RESTPP, tgnode.Fault{Mode: tgnode.Raw, Body: "status-secret\r\n\r\n"})
	for service := range probeTargets {
		e.waitForVerdict(node, service, 0)
	}
	if sent := probesOf(node, tgnode.GUI)[0].Values("Authorization"); !slices.Equal(sent, []string{"Bearer credential-secret"}) {
		t.Errorf("the probe's credential was %q", sent)
	}
	node.ClearFaults()
	for service := range probeTargets {
		e.waitForVerdict(node, service, 1)
	}
	for _, secret := range []string{"body-secret", "answer-secret", "coding-secret", "status-secret", "credential-secret", "cookie-secret"} {
		for _, line := range e.logs(secret) {
			t.Errorf("the log has the %s: %s", secret, line)
		}
	}
	for service := range probeTargets {
		name := fmt.Sprintf(`"service":%q`, service)
		if up := linesWith(e.logs("node is up"), name); len(up) != 2 || !strings.Contains(up[0], `"level":"info"`) ||
			strings.Contains(up[0], "was_down") || !strings.Contains(up[1], `"was_down":`) {
			t.Errorf("%s came up twice: %q", service, up)
		}
		down := linesWith(e.logs("node is down"), name)
		if len(down) != 1 || !strings.Contains(down[0], `"level":"warn"`) ||
			!strings.Contains(down[0], `"last_error":"`) || !strings.Contains(down[0], `"streak":3`) {
			t.Errorf("%s went down once: %q", service, down)
		}
	}
	if content, _ := os.ReadFile(e.log); !strings.Contains(string(content), `"msg":"probed"`) {
		t.Error("at the level of debug, probes are not logged")
	}
}

func linesWith(lines []string, text string) []string {
	return slices.DeleteFunc(lines, func(line string) bool { return !strings.Contains(line, text) })
}
