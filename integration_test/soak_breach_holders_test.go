package integration_test

import (
	"net/http"
	"testing"
	"time"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/tgnode"
)

// What only one node knows is asked of that node: runs that breach this, and some that
// come close.
func TestSoakNoticesWhatStrays(t *testing.T) {
	zero := time.Date(2026, 1, 2, 3, 0, 0, 0, time.UTC)
	at := func(seconds float64) time.Time { return zero.Add(time.Duration(seconds * float64(time.Second))) }
	type run struct {
		*soakRecords
		service tgnode.Service
		node    string
		forgot  bool
		edge    string
		failure string
	}
	fault := func(r *run, node string, service tgnode.Service, from, to float64) {
		r.span(soakSpan{node: node, services: []tgnode.Service{service}, from: at(from), to: at(to)})
	}
	killed := func(r *run, node string, service tgnode.Service, from, to float64) {
		r.span(soakSpan{node: node, services: []tgnode.Service{service}, from: at(from), to: at(to), forgets: true})
	}
	session := func(r *run) { r.service, r.node = tgnode.GSQL, "m2" }
	refused := func(r *run) {
		r.node, r.failure = "", "status 503"
		r.chosen["next"] = soakChoice{"", http.StatusServiceUnavailable}
	}
	// A request is carried out by m1 at 1, and another that is about it follows at 100.
	for _, test := range []struct {
		name     string
		run      func(*run)
		breaches int
	}{
		{"it reaches its node", func(*run) {}, 0},
		{"it reaches its node by the other edge", func(r *run) { r.edge = "edge1" }, 0},
		{"it reaches another", func(r *run) { r.node = "m2" }, 1},
		{"it reaches another by the other edge", func(r *run) { r.node, r.edge = "m2", "edge1" }, 1},
		{"it reaches another as its node fails", func(r *run) { r.node = "m2"; fault(r, "m1", tgnode.RESTPP, 99, 110) }, 0},
		{"it reaches another as its node failed right before", func(r *run) { r.node = "m2"; fault(r, "m1", tgnode.RESTPP, 90, 96) }, 0},
		{"it reaches another as its node failed long before", func(r *run) { r.node = "m2"; fault(r, "m1", tgnode.RESTPP, 80, 90) }, 1},
		{"it reaches another as that fails", func(r *run) { r.node = "m2"; fault(r, "m2", tgnode.RESTPP, 99, 110) }, 1},
		{"it reaches another as another service fails", func(r *run) { r.node = "m2"; fault(r, "m1", tgnode.GSQL, 99, 110) }, 1},
		{"it reaches another after a restart of the edge", func(r *run) {
			r.node = "m2"
			r.edgeSpan(&r.down, "edge0", "", at(50), at(60))
		}, 1},
		{"its node does not know it", func(r *run) { r.forgot = true }, 1},
		{"its node does not know it, killed since", func(r *run) { r.forgot = true; killed(r, "m1", tgnode.RESTPP, 50, 60) }, 0},
		{"its node does not know it, paused since", func(r *run) { r.forgot = true; fault(r, "m1", tgnode.RESTPP, 50, 60) }, 1},
		{"its node does not know it, killed before", func(r *run) { r.forgot = true; killed(r, "m1", tgnode.RESTPP, -9, -1) }, 1},
		{"its node does not know it, as another was killed", func(r *run) { r.forgot = true; killed(r, "m2", tgnode.RESTPP, 50, 60) }, 1},
		{"no node carried it out", func(r *run) { r.arrivals = nil }, 1},
		{"it reaches the standby in a switch", func(r *run) {
			r.node = "m4"
			r.switched(soakSwitch{"edge0", at(80), at(81), at(120), at(121)})
		}, 0},
		{"it reaches another after a switch and back", func(r *run) {
			r.node = "m2"
			r.switched(soakSwitch{"edge0", at(80), at(81), at(90), at(91)})
		}, 1},
		{"it is refused as its node fails", func(r *run) { refused(r); fault(r, "m1", tgnode.RESTPP, 99, 110) }, 0},
		{"it is refused as another node fails", func(r *run) { refused(r); fault(r, "m2", tgnode.RESTPP, 99, 110) }, 1},
		{"it is refused as its cluster is off", func(r *run) {
			refused(r)
			r.switched(soakSwitch{"edge0", at(80), at(81), at(120), at(121)})
		}, 0},
		{"it is refused for nothing", refused, 1},
		{"a session reaches another node", session, 1},
		{"a session reaches another node, by an edge that does not know it", func(r *run) { session(r); r.edge = "edge1" }, 0},
		{"a session reaches another node, its edge restarted since", func(r *run) {
			session(r)
			r.edgeSpan(&r.down, "edge0", "", at(50), at(60))
		}, 0},
		{"a session reaches another node, its edge restarted before", func(r *run) {
			session(r)
			r.edgeSpan(&r.down, "edge0", "", at(-9), at(-1))
		}, 1},
		{"a session reaches another node, the other edge restarted since", func(r *run) {
			session(r)
			r.edgeSpan(&r.down, "edge1", "", at(50), at(60))
		}, 1},
	} {
		r := &run{soakRecords: newSoakRecords(), service: tgnode.RESTPP, node: "m1", edge: "edge0"}
		r.nodes, r.standby = []string{"m1", "m2", "m3"}, "m4"
		r.arrived("m1", tgnode.Entry{Time: at(1), Marker: "first", Executed: tgnode.Query})
		test.run(r)
		r.ended(soakRequest{marker: "first", service: r.service, start: at(0.9), end: at(1.1), answered: true, edge: "edge0"})
		if r.node != "" {
			r.arrived(r.node, tgnode.Entry{Time: at(100), Marker: "next"})
		}
		r.ended(soakRequest{
			marker: "next", service: r.service, start: at(99.9), end: at(100.1), answered: true,
			edge: r.edge, of: "first", forgot: r.forgot, failure: r.failure,
		})
		if breaches := r.check(); len(breaches) != test.breaches {
			t.Errorf("%s: %d breaches, want %d: %q", test.name, len(breaches), test.breaches, breaches)
		}
	}
}
