package series_test

import (
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/series"
	"github.com/caddy-tigergraph/caddy-tigergraph/internal/service"
)

// probe counts a probe, and reports whether it was counted and timed.
func probe(nodes *series.Nodes[int], node string, took time.Duration) (counted, timed bool) {
	nodes.Probed(node, service.GUI, true, took, func(_ *int, _, is bool) { counted, timed = true, is })
	return counted, timed
}

func TestOfManyNodesProbesThatPassAreToldOfThoseThatFailed(t *testing.T) {
	nodes := series.NewNodes[int]()
	told := func(node string, passed bool) (told bool) {
		nodes.Probed(node, service.GUI, passed, 0, func(kept *int, is, _ bool) { *kept++; told = is })
		return told
	}
	nodes.Add("early")
	if !told("early", true) {
		t.Error("of one of few nodes it is not told")
	}
	for i := range series.MostInDetail {
		nodes.Add(fmt.Sprint(i))
	}
	for _, step := range []struct {
		node         string
		passed, want bool
	}{{"early", true, true}, {"1", true, false}, {"1", false, true}, {"1", true, true}, {"2", true, false}} {
		if got := told(step.node, step.passed); got != step.want {
			t.Errorf("that a probe of %s passed, %t, is told: %t, want %t", step.node, step.passed, got, step.want)
		}
	}
	kept := 0
	nodes.Probed("1", service.GUI, true, 0, func(of *int, _, _ bool) { kept = *of })
	if kept != 3 {
		t.Errorf("what is kept of a service's series is %d after 3 probes", kept)
	}
}

func TestOfManyNodesOnlyTheSlowOnesAreTimed(t *testing.T) {
	nodes := series.NewNodes[int]()
	if few := nodes.Add("early"); !few || !nodes.AreFew() {
		t.Error("one node is many")
	}
	if _, timed := probe(nodes, "early", time.Millisecond); !timed {
		t.Error("one of few nodes is not timed")
	}
	for i := range series.MostInDetail {
		nodes.Add(fmt.Sprint(i))
	}
	if nodes.AreFew() {
		t.Error("many nodes are few")
	}
	for i := range series.MostInDetail {
		if counted, timed := probe(nodes, fmt.Sprint(i), time.Minute); !counted || timed {
			t.Errorf("a first probe is counted %t, and timed %t", counted, timed)
		}
	}
	for i := range series.MostInDetail {
		if _, timed := probe(nodes, fmt.Sprint(i), series.SlowProbe-1); timed {
			t.Error("a quick probe is timed")
		}
		if _, timed := probe(nodes, fmt.Sprint(i), series.SlowProbe); timed != (i < series.MostInDetail-1) {
			t.Errorf("the slow probe of node %d is timed: %t", i, timed)
		}
	}
	if _, timed := probe(nodes, "early", time.Millisecond); !timed {
		t.Error("what was timed is so no longer")
	}
}

func TestNothingIsCountedOfANodeThatIsGone(t *testing.T) {
	nodes, forgotten := series.NewNodes[int](), ""
	forget := func(node string) { forgotten += node }
	nodes.Add("m1")
	nodes.Add("m1")
	probe(nodes, "m1", 0)
	nodes.Remove("m1", forget)
	known := false
	if nodes.IfKnown("m1", func(bool) { known = true }); !known || forgotten != "" {
		t.Errorf("with a prober left it is known %t, and forgotten %q", known, forgotten)
	}
	nodes.Remove("m1", forget)
	known = false
	nodes.IfKnown("m1", func(bool) { known = true })
	if counted, _ := probe(nodes, "m1", 0); known || counted || forgotten != "m1" {
		t.Errorf("known %t, counted %t, forgotten %q", known, counted, forgotten)
	}
}

func TestAMetricIsLookedUpOnceAndNeverForANodeThatIsGone(t *testing.T) {
	var kept, later atomic.Pointer[int]
	node, lookUps, forgotten := series.Node{Name: "m1"}, 0, ""
	lookUp := func() int { lookUps++; return lookUps }
	for range 2 {
		if metric := series.Resolved(&node, &kept, lookUp); metric == nil || *metric != 1 {
			t.Fatalf("the metric is %v", metric)
		}
	}
	node.Leave(func() { forgotten = node.Name })
	if metric := series.Resolved(&node, &later, lookUp); metric != nil || lookUps != 1 || forgotten != "m1" {
		t.Errorf("of a node that is gone it is %v, after %d look-ups; forgotten is %q", metric, lookUps, forgotten)
	}
}
