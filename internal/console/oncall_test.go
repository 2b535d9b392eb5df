package console

import (
	"strings"
	"testing"
	"time"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/statuspage"
)

func TestAServiceThatPassesItsProbesAndFailsItsRequestsIsTold(t *testing.T) {
	show := func(verdict string, since time.Duration, traffic statuspage.Traffic) string {
		s := service{Verdict: verdict, Since: ago(since), Traffic: &traffic}
		return shown(func(p *Printer) {
			p.Status(&Cluster{Nodes: []node{
				{Address: "m1:14240", Services: map[string]service{"restpp": s}},
				{Address: "m2:14240", Services: map[string]service{"restpp": s}},
			}}, noon)
		})
	}
	const told = "restpp fails 90 % of its requests on m1:14240 and m2:14240"
	if text := show("up", time.Hour, statuspage.Traffic{PerSecond: 10, ErrorsPerSecond: 9}); !strings.Contains(text, told) || strings.Count(text, "gadmin license status") != 1 {
		t.Errorf("%s\nwant %q in it, and once what to do", text, told)
	}
	for why, text := range map[string]string{
		"few fail":            show("up", time.Hour, statuspage.Traffic{PerSecond: 10, ErrorsPerSecond: 0.5}),
		"one in a minute":     show("up", time.Hour, statuspage.Traffic{PerSecond: 0.02, ErrorsPerSecond: 0.02}),
		"it has just come up": show("up", time.Minute, statuspage.Traffic{PerSecond: 10, ErrorsPerSecond: 9}),
		"it is down":          show("down", time.Hour, statuspage.Traffic{PerSecond: 10, ErrorsPerSecond: 9}),
	} {
		if strings.Contains(text, "of its requests") {
			t.Errorf("%s, and yet it is told:\n%s", why, text)
		}
	}
}

// Sites that check a node differently list it once each.
func TestANodeThatIsListedTwiceIsToldOnce(t *testing.T) {
	s := service{Verdict: "up", Since: ago(time.Hour), Traffic: &statuspage.Traffic{PerSecond: 10, ErrorsPerSecond: 9}}
	twice := []node{{Address: "m1:14240", Services: map[string]service{"restpp": s}}, {Address: "m1:14240", Services: map[string]service{"restpp": s}}}
	text := shown(func(p *Printer) { p.Status(&Cluster{Nodes: twice}, noon) })
	if !strings.Contains(text, "on m1:14240:") {
		t.Error(text)
	}
	for i := range twice {
		twice[i].Cluster, twice[i].Services = "dr", map[string]service{"gui": {Verdict: "down", LastError: "refused"}}
	}
	if lines, everywhere := (&Cluster{Nodes: twice}).DownIn("dr"); len(lines) != 1 || everywhere != "gui is down" {
		t.Errorf("%q, everywhere %q", lines, everywhere)
	}
}

func TestAFailureThatAProbeAndARequestMetIsToldOnce(t *testing.T) {
	probe := service{Verdict: "down", Since: ago(time.Minute), Advice: "start it", LastError: "dial tcp 192.0.2.1:14240: connect: connection refused"}
	request := probe
	request.LastError = "a request met this: dialling: connection refused"
	text := shown(func(p *Printer) {
		p.Status(&Cluster{Nodes: []node{{Address: "m1:14240", Services: map[string]service{"gui": probe, "gsql": request, "restpp": probe}}}}, noon)
	})
	if strings.Count(text, "start it") != 1 || !strings.Contains(text, "gui, gsql, restpp are down") {
		t.Error(text)
	}
}

func TestWhatIsDownInTheClusterThatIsSwitchedTo(t *testing.T) {
	up, down := service{Verdict: "up"}, service{Verdict: "down", LastError: "refused"}
	c := &Cluster{Nodes: []node{
		{Address: "dr1:14240", Cluster: "dr", Services: map[string]service{"gui": down, "gsql": down, "restpp": up}},
		{Address: "dr2:14240", Cluster: "dr", Services: map[string]service{"gui": down, "gsql": up, "restpp": up}},
		{Address: "m1:14240", Cluster: "primary", Services: all(up)},
	}}
	lines, everywhere := c.DownIn("dr")
	if strings.Join(lines, "; ") != "dr1:14240: gui and gsql are down: refused; dr2:14240: gui is down: refused" || everywhere != "gui is down" {
		t.Errorf("%q, everywhere %q", lines, everywhere)
	}
	if lines, everywhere := c.DownIn("primary"); len(lines) > 0 || everywhere != "" {
		t.Errorf("of a cluster that is well: %q, everywhere %q", lines, everywhere)
	}
}
