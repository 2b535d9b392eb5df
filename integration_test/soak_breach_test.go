package integration_test

import (
	"net/http"
	"syscall"
	"testing"
	"time"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/tgnode"
)

// The invariants must be able to fail: these are runs that breach them, and some
// that come close.
func TestSoakNoticesABreach(t *testing.T) {
	zero := time.Date(2026, 1, 2, 3, 0, 0, 0, time.UTC)
	at := func(seconds float64) time.Time { return zero.Add(time.Duration(seconds * float64(time.Second))) }
	// A session of m1, a request of it, and one that is answered by m1.
	usual := func() *soakRecords {
		r := newSoakRecords()
		r.nodes, r.standby = []string{"m1", "m2", "m3"}, "m4"
		r.logins["session"] = "login"
		r.arrived("m1", tgnode.Entry{Time: at(0), Marker: "login", Executed: tgnode.Login})
		r.arrived("m1", tgnode.Entry{Time: at(1), Marker: "a", Session: "session", Known: true})
		r.arrived("m1", tgnode.Entry{Time: at(1), Marker: "a", Session: "session", Known: true, Executed: tgnode.Other})
		r.ended(soakRequest{marker: "a", start: at(1), end: at(1.1), answered: true, edge: "edge0"})
		return r
	}
	displaced := func(r *soakRecords) {
		r.arrived("m2", tgnode.Entry{Time: at(100), Marker: "b", Session: "session"})
		r.ended(soakRequest{marker: "b", start: at(99.9), end: at(100.1), answered: true, edge: "edge0"})
	}
	failed := func(r *soakRecords) {
		r.ended(soakRequest{marker: "c", service: tgnode.GSQL, start: at(100), end: at(101), failure: "EOF", edge: "edge0"})
	}
	// The edge's log has the failed request.
	chose := func(r *soakRecords, node string, status int) {
		failed(r)
		r.chosen["c"] = soakChoice{node, status}
	}
	// A node does not know the session any more.
	forgotten := func(r *soakRecords) {
		r.arrived("m1", tgnode.Entry{Time: at(200), Marker: "d", Session: "session"})
	}
	standby := func(r *soakRecords) {
		r.arrived("m4", tgnode.Entry{Time: at(100), Marker: "b"})
		r.ended(soakRequest{marker: "b", start: at(99.9), end: at(100.1), answered: true, edge: "edge0"})
	}
	refused := func(r *soakRecords, err error) {
		r.refused = append(r.refused, soakRefusal{"edge0", at(100), at(100), err})
	}
	fault := func(r *soakRecords, node string, service tgnode.Service, from, to float64) {
		r.span(soakSpan{node: node, services: []tgnode.Service{service}, from: at(from), to: at(to)})
	}
	for _, test := range []struct {
		name     string
		run      func(*soakRecords)
		breaches int
	}{
		{"nothing happens", func(*soakRecords) {}, 0},
		{"a session moves", displaced, 1},
		{"a session moves while its node fails", func(r *soakRecords) { displaced(r); fault(r, "m1", tgnode.GUI, 99, 110) }, 0},
		{"a session moves right after that", func(r *soakRecords) { displaced(r); fault(r, "m1", tgnode.GUI, 90, 96) }, 0},
		{"a session moves long after that", func(r *soakRecords) { displaced(r); fault(r, "m1", tgnode.GUI, 80, 90) }, 1},
		{"a session moves before", func(r *soakRecords) { displaced(r); fault(r, "m1", tgnode.GUI, 100.5, 110) }, 1},
		{"a session moves while another node fails", func(r *soakRecords) { displaced(r); fault(r, "m2", tgnode.GUI, 99, 110) }, 1},
		{"a session moves while another service fails", func(r *soakRecords) { displaced(r); fault(r, "m1", tgnode.GSQL, 99, 110) }, 1},
		{"a moved session comes again", func(r *soakRecords) {
			displaced(r)
			fault(r, "m1", tgnode.GUI, 99, 110)
			r.arrived("m2", tgnode.Entry{Time: at(200), Marker: "d", Session: "session"})
		}, 0},
		{"a node forgets a session", forgotten, 1},
		{"a node forgets a session as it was killed", func(r *soakRecords) {
			forgotten(r)
			r.span(soakSpan{node: "m1", services: allServices, from: at(90), to: at(100), forgets: true})
		}, 0},
		{"a node was killed while the user logged in", func(r *soakRecords) {
			forgotten(r)
			r.span(soakSpan{node: "m1", services: allServices, from: at(-1), to: at(1), forgets: true})
		}, 0},
		{"a node forgets a session begun after it was killed", func(r *soakRecords) {
			forgotten(r)
			r.span(soakSpan{node: "m1", services: allServices, from: at(-10), to: at(-1), forgets: true})
		}, 1},
		{"a node forgets a session, and is killed later", func(r *soakRecords) {
			forgotten(r)
			r.span(soakSpan{node: "m1", services: allServices, from: at(201), to: at(210), forgets: true})
		}, 1},
		{"a node forgets a session when it was paused", func(r *soakRecords) { forgotten(r); fault(r, "m1", tgnode.GUI, 90, 100) }, 1},
		{"a node forgets a session as another was killed", func(r *soakRecords) {
			forgotten(r)
			r.span(soakSpan{node: "m2", services: allServices, from: at(90), to: at(100), forgets: true})
		}, 1},
		{"a request is done by two nodes", func(r *soakRecords) {
			r.arrived("m2", tgnode.Entry{Time: at(2), Marker: "a", Executed: tgnode.Other})
		}, 1},
		{"a request is done twice by its node, which fails", func(r *soakRecords) {
			r.arrived("m1", tgnode.Entry{Time: at(2), Marker: "a", Executed: tgnode.Other})
			fault(r, "m1", tgnode.GUI, 0, 10)
		}, 1},
		{"a harmless request reaches two nodes", func(r *soakRecords) {
			r.arrived("m1", tgnode.Entry{Time: at(2), Marker: "e"})
			r.arrived("m2", tgnode.Entry{Time: at(2), Marker: "e"})
		}, 0},
		{"a request fails", failed, 1},
		{"a request is lost, unknown to the edge, while a node fails", func(r *soakRecords) { failed(r); fault(r, "m3", tgnode.GSQL, 99, 110) }, 1},
		{"a request fails at the node that the edge chose, which does", func(r *soakRecords) {
			chose(r, "m3", http.StatusBadGateway)
			fault(r, "m3", tgnode.GSQL, 99, 110)
		}, 0},
		{"a request fails at the node that the edge chose, while another does", func(r *soakRecords) {
			chose(r, "m2", http.StatusBadGateway)
			fault(r, "m3", tgnode.GSQL, 99, 110)
		}, 1},
		{"a request fails at the node that the edge chose, while another service does", func(r *soakRecords) {
			chose(r, "m3", http.StatusBadGateway)
			fault(r, "m3", tgnode.GUI, 99, 110)
		}, 1},
		{"a request fails at the last node, after one that fails", func(r *soakRecords) {
			chose(r, "m2", http.StatusBadGateway)
			r.reached["c"] = []string{"m3"}
			fault(r, "m3", tgnode.GSQL, 99, 110)
		}, 1},
		{"a request fails although its node answered it, while a service there fails", func(r *soakRecords) {
			chose(r, "m3", http.StatusBadGateway)
			r.served["c"] = []string{"m3"}
			r.span(soakSpan{node: "m3", services: allServices, from: at(99), to: at(110), made: true, inner: true})
			fault(r, "m3", tgnode.GSQL, 99.5, 110.5) // as it was seen
		}, 1},
		{"an answer is lost while its node fails", func(r *soakRecords) {
			chose(r, "m3", http.StatusBadGateway)
			r.served["c"] = []string{"m3"}
			fault(r, "m3", tgnode.GSQL, 99, 110)
		}, 0},
		{"an answer breaks off", func(r *soakRecords) {
			chose(r, "", http.StatusOK)
			r.reached["c"] = []string{"m3"}
			fault(r, "m3", tgnode.GSQL, 99, 110)
		}, 0},
		{"an answer breaks off while another node fails", func(r *soakRecords) {
			chose(r, "", http.StatusOK)
			r.reached["c"] = []string{"m2"}
			fault(r, "m3", tgnode.GSQL, 99, 110)
		}, 1},
		{"no node is left, while all fail", func(r *soakRecords) {
			chose(r, "", http.StatusServiceUnavailable)
			fault(r, "m1", tgnode.GSQL, 99, 110)
			fault(r, "m2", tgnode.GSQL, 90, 96)
			fault(r, "m3", tgnode.GSQL, 99, 110)
		}, 0},
		{"no node is left right after a switch back, while all fail", func(r *soakRecords) {
			r.switched(soakSwitch{"edge0", at(80), at(81), at(97), at(98)})
			chose(r, "", http.StatusServiceUnavailable)
			for _, node := range r.nodes {
				fault(r, node, tgnode.GSQL, 99, 110)
			}
		}, 0},
		{"no node is left, while one fails for another service", func(r *soakRecords) {
			chose(r, "", http.StatusServiceUnavailable)
			fault(r, "m1", tgnode.GSQL, 99, 110)
			fault(r, "m2", tgnode.GSQL, 99, 110)
			fault(r, "m3", tgnode.RESTPP, 99, 110)
		}, 1},
		{"no node is left, while all of the other cluster fail", func(r *soakRecords) {
			r.switched(soakSwitch{"edge0", at(80), at(81), at(120), at(121)})
			chose(r, "", http.StatusServiceUnavailable)
			for _, node := range r.nodes {
				fault(r, node, tgnode.GSQL, 99, 110)
			}
		}, 1},
		{"a standby is reached", standby, 1},
		{"a standby is reached after a switch", func(r *soakRecords) { standby(r); r.switched(soakSwitch{"edge0", at(80), at(81), at(120), at(121)}) }, 0},
		{"a standby is reached after a switch of the other edge", func(r *soakRecords) {
			standby(r)
			r.switched(soakSwitch{"edge1", at(80), at(81), at(120), at(121)})
		}, 1},
		{"a standby is reached after a switch back", func(r *soakRecords) { standby(r); r.switched(soakSwitch{"edge0", at(80), at(81), at(90), at(91)}) }, 1},
		{"a session moves to the standby after a switch", func(r *soakRecords) {
			displaced(r)
			r.arrivals[len(r.arrivals)-1].node = "m4"
			r.switched(soakSwitch{"edge0", at(80), at(81), at(120), at(121)})
		}, 0},
		{"a session of the standby's moves back, whose login came late", func(r *soakRecords) {
			r.logins["late"] = "late login"
			r.ended(soakRequest{marker: "late login", start: at(90), end: at(97), answered: true, edge: "edge0"})
			r.arrived("m4", tgnode.Entry{Time: at(96), Marker: "late login", Executed: tgnode.Login})
			r.arrived("m1", tgnode.Entry{Time: at(98), Marker: "late", Session: "late"})
			r.switched(soakSwitch{"edge0", at(80), at(81), at(94), at(95)})
		}, 0},
		{"a session moves to another node of its cluster after a switch", func(r *soakRecords) {
			displaced(r)
			r.switched(soakSwitch{"edge0", at(80), at(81), at(82), at(83)})
		}, 1},
		{"a primary is reached during a switch", func(r *soakRecords) { r.switched(soakSwitch{"edge0", at(-2), at(-1), at(120), at(121)}) }, 2},
		{"a primary is reached before the switch is done", func(r *soakRecords) { r.switched(soakSwitch{"edge0", at(0.5), at(1.5), at(120), at(121)}) }, 0},
		{"no node is left, while all but one fail", func(r *soakRecords) {
			chose(r, "", http.StatusServiceUnavailable)
			fault(r, "m1", tgnode.GSQL, 99, 110)
			fault(r, "m2", tgnode.GSQL, 99, 110)
		}, 1},
		{"no node is left, while one failed long before", func(r *soakRecords) {
			chose(r, "", http.StatusServiceUnavailable)
			fault(r, "m1", tgnode.GSQL, 99, 110)
			fault(r, "m2", tgnode.GSQL, 99, 110)
			fault(r, "m3", tgnode.GSQL, 80, 90)
		}, 1},
		{"no node is left after the one that failed", func(r *soakRecords) {
			chose(r, "m3", http.StatusServiceUnavailable)
			fault(r, "m3", tgnode.GSQL, 99, 110)
		}, 1},
		{"a request fails at one node while another does", func(r *soakRecords) {
			failed(r)
			r.reached["c"] = []string{"m2"}
			fault(r, "m3", tgnode.GSQL, 99, 110)
		}, 1},
		{"a request fails at a node that does", func(r *soakRecords) {
			failed(r)
			r.arrived("m3", tgnode.Entry{Time: at(100), Marker: "c"})
			fault(r, "m3", tgnode.GSQL, 99, 110)
		}, 0},
		{"a request fails while another service does", func(r *soakRecords) { failed(r); fault(r, "m3", tgnode.GUI, 99, 110) }, 1},
		{"a request fails long after", func(r *soakRecords) { failed(r); fault(r, "m3", tgnode.GSQL, 80, 90) }, 1},
		{"a request fails without the edge", func(r *soakRecords) { failed(r); r.edgeSpan(&r.down, "edge0", "", at(99), at(102)) }, 0},
		{"a request is answered badly by an edge that ends", func(r *soakRecords) {
			r.ended(soakRequest{marker: "c", start: at(100), end: at(101), answered: true, whole: true, failure: "status 502", edge: "edge0"})
			r.edgeSpan(&r.down, "edge0", "", at(99), at(102))
		}, 1},
		{"a request fails right after a restart", func(r *soakRecords) { failed(r); r.edgeSpan(&r.down, "edge0", "", at(95), at(99.9)) }, 1},
		{"a request fails while the other edge is down", func(r *soakRecords) { failed(r); r.edgeSpan(&r.down, "edge1", "", at(99), at(102)) }, 1},
		{"a request is not answered while the other edge reloads", func(r *soakRecords) { failed(r); r.edgeSpan(&r.reloads, "edge1", "", at(99), at(102)) }, 1},
		{"a request is not answered in a reload", func(r *soakRecords) { failed(r); r.edgeSpan(&r.reloads, "edge0", "", at(99), at(102)) }, 0},
		{"a request is answered badly in a reload", func(r *soakRecords) {
			r.ended(soakRequest{marker: "c", start: at(100), end: at(101), answered: true, failure: "status 502", edge: "edge0"})
			r.edgeSpan(&r.reloads, "edge0", "", at(99), at(102))
		}, 1},
		{"the edge refuses a connection", func(r *soakRecords) { refused(r, syscall.ECONNREFUSED) }, 1},
		{"the edge refuses a connection in a restart", func(r *soakRecords) {
			refused(r, syscall.ECONNREFUSED)
			r.edgeSpan(&r.down, "edge0", "", at(99), at(102))
		}, 0},
		{"an edge refuses a connection while the other is down", func(r *soakRecords) {
			refused(r, syscall.ECONNREFUSED)
			r.edgeSpan(&r.down, "edge1", "", at(99), at(102))
		}, 1},
		{"a client waits for a connection since a restart", func(r *soakRecords) {
			r.refused = append(r.refused, soakRefusal{"edge0", at(95), at(100), syscall.ETIMEDOUT})
			r.edgeSpan(&r.down, "edge0", "", at(94), at(96))
		}, 0},
		{"the edge refuses a connection in a reload", func(r *soakRecords) {
			refused(r, syscall.ECONNREFUSED)
			r.edgeSpan(&r.reloads, "edge0", "", at(99), at(102))
		}, 1},
		{"the edge resets a connection", func(r *soakRecords) { refused(r, syscall.ECONNRESET) }, 1},
		{"the edge resets a connection in a reload", func(r *soakRecords) {
			refused(r, syscall.ECONNRESET)
			r.edgeSpan(&r.reloads, "edge0", "", at(99), at(102))
		}, 0},
		{"the edge resets a connection that is being written to", func(r *soakRecords) { refused(r, syscall.EPIPE) }, 1},
		{"the edge resets a connection that is being written to in a reload", func(r *soakRecords) {
			refused(r, syscall.EPIPE)
			r.edgeSpan(&r.reloads, "edge0", "", at(99), at(102))
		}, 0},
		{"an edge does not follow the other", func(r *soakRecords) { r.breach("edge1 uses dr") }, 1},
		{"a client gets another's answer", func(r *soakRecords) { r.breach("an answer for another") }, 1},
	} {
		r := usual()
		test.run(r)
		if breaches := r.check(); len(breaches) != test.breaches {
			t.Errorf("%s: %d breaches, want %d: %q", test.name, len(breaches), test.breaches, breaches)
		}
	}
}

func TestSoakTimeline(t *testing.T) {
	zero := time.Date(2026, 1, 2, 3, 0, 0, 0, time.UTC)
	at := func(seconds int) time.Time { return zero.Add(time.Duration(seconds) * time.Second) }
	line := newSoakTimeline([]soakSpan{
		{node: "m1", from: at(50), to: at(60)},
		{node: "m1", from: at(10), to: at(30)},
		{node: "m1", from: at(12), to: at(14)}, // within the one before
		{node: "m1", from: at(28), to: at(35)},
		{node: "m2", from: at(70), to: at(80)},
	}, 2*time.Second, func(s soakSpan) bool { return s.node == "m1" })
	for _, test := range []struct {
		from, to int
		want     bool
	}{
		{0, 9, false},
		{0, 10, true},
		{0, 100, true},
		{20, 22, true},
		{37, 37, true},
		{38, 49, false},
		{38, 50, true},
		{62, 70, true},
		{63, 100, false},
	} {
		if got := line.overlaps(at(test.from), at(test.to)); got != test.want {
			t.Errorf("from %d to %d: %t, want %t", test.from, test.to, got, test.want)
		}
	}
	if !line.holds(at(10), at(37)) || !line.holds(at(51), at(52)) || line.holds(at(37), at(51)) || line.holds(at(9), at(11)) || line.holds(at(63), at(64)) {
		t.Error("the spans hold something else")
	}
	if soakTimeline(nil).overlaps(at(0), at(100)) {
		t.Error("there is a span in none")
	}
}
