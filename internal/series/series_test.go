package series_test

import (
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/series"
)

// probe counts a probe, and reports whether it was counted and timed.
func probe(nodes *series.Nodes, node string, took time.Duration) (counted, timed bool) {
	nodes.Probed(node, "gui", took, func(is bool) { counted, timed = true, is })
	return counted, timed
}

func TestOfManyNodesOnlyTheSlowOnesAreTimed(t *testing.T) {
	nodes := series.NewNodes()
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
	nodes, forgotten := series.NewNodes(), ""
	forget := func(node string) { forgotten += node }
	nodes.Add("m1")
	nodes.Add("m1")
	probe(nodes, "m1", 0)
	nodes.Remove("m1", forget)
	known := false
	if nodes.IfKnown("m1", func() { known = true }); !known || forgotten != "" {
		t.Errorf("with a prober left it is known %t, and forgotten %q", known, forgotten)
	}
	nodes.Remove("m1", forget)
	known = false
	nodes.IfKnown("m1", func() { known = true })
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
	node.Leave(func(name string) { forgotten = name })
	if metric := series.Resolved(&node, &later, lookUp); metric != nil || lookUps != 1 || forgotten != "m1" {
		t.Errorf("of a node that is gone it is %v, after %d look-ups; forgotten is %q", metric, lookUps, forgotten)
	}
}
