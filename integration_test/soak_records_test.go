package integration_test

import (
	"cmp"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/tgnode"
)

// soakRequest is a request of TestSoak's as its client saw it.
type soakRequest struct {
	kind       string // what it was for, for the report
	service    tgnode.Service
	marker     string // in its query; no other request has it
	start, end time.Time
	failure    string // "" if it was answered as it should be
	answered   bool   // at least the head of an answer came
}

// soakArrival is an entry of a service's journal: a request that reached it, or
// that it carried out.
type soakArrival struct {
	node string
	tgnode.Entry
}

// soakSpan is a time in which services of a node need not serve. It begins right
// before the fault is made and ends when all its services answer a client that
// asks them without the edge. Such a client looks twice a second besides: where
// it waits for more than a second, or in vain, although no fault was made, that
// is a span as well, for a node that has no processor is not up.
type soakSpan struct {
	node     string
	services []tgnode.Service
	from, to time.Time
	what     string
	made     bool // it is a fault that was made
}

// soakRecords are what a run leaves behind, for its invariants to be checked.
type soakRecords struct {
	mu       sync.Mutex
	requests []soakRequest
	arrivals []soakArrival
	logins   map[string]string   // marker of the login, by session
	reached  map[string][]string // nodes whose nginx answered a request, by marker
	spans    []soakSpan
	// down is when the edge itself did not serve, reloads when it changed its
	// configuration.
	down, reloads []soakSpan
	refused       []time.Time // when the edge took no connection
	breaches      []string    // found on the way: an answer that was another client's
}

func (r *soakRecords) arrived(node string, entry tgnode.Entry) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.arrivals = append(r.arrivals, soakArrival{node, entry})
}

func (r *soakRecords) ended(request soakRequest) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.requests = append(r.requests, request)
}

func (r *soakRecords) wasRefused() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.refused = append(r.refused, time.Now())
}

func (r *soakRecords) loggedIn(session, marker string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.logins[session] = marker
}

func (r *soakRecords) span(span soakSpan) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.spans = append(r.spans, span)
}

func (r *soakRecords) edgeSpan(list *[]soakSpan, what string, from, to time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	*list = append(*list, soakSpan{what: what, from: from, to: to})
}

func (r *soakRecords) breach(format string, arguments ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.breaches = append(r.breaches, fmt.Sprintf(format, arguments...))
}

// The bounds of what a fault explains.
const (
	// soakRecovery is how long after a fault its node need not be used, and what it
	// broke may show: passive checks forget after a second (as configured), two
	// probes have to pass (a quarter of a second apart, each at most two seconds
	// long on a machine that has other things to do), and TCP repeats a packet that
	// was lost in a cut of 8 seconds up to 8 seconds later.
	soakRecovery = 5 * time.Second
	// soakTCP is that for a request which was under way in the fault.
	soakTCP = 20 * time.Second
	// soakEdgeRecovery is how long after a reload or a start of the edge its
	// clients may find a connection closed: the old server closes those that are
	// idle, and the kernel resets those that its listener had not accepted.
	soakEdgeRecovery = 2 * time.Second
)

// fails reports whether one of these nodes (any, if there are none) was in a span
// of this service's between two moments.
func (r *soakRecords) fails(nodes []string, service tgnode.Service, from, to time.Time) bool {
	return slices.ContainsFunc(r.spans, func(s soakSpan) bool {
		return (len(nodes) == 0 || slices.Contains(nodes, s.node)) && slices.Contains(s.services, service) &&
			!from.After(s.to) && !to.Before(s.from)
	})
}

func overlaps(spans []soakSpan, from, to time.Time, after time.Duration) bool {
	return slices.ContainsFunc(spans, func(s soakSpan) bool { return !from.After(s.to.Add(after)) && !to.Before(s.from) })
}

// check returns every breach of the invariants.
func (r *soakRecords) check() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	breaches := slices.Clone(r.breaches)
	slices.SortStableFunc(r.arrivals, func(a, b soakArrival) int { return a.Time.Compare(b.Time) })
	slices.SortFunc(r.requests, func(a, b soakRequest) int { return cmp.Compare(a.marker, b.marker) })
	breaches = append(breaches, r.checkSessions()...)
	breaches = append(breaches, r.checkExecutions()...)
	return append(breaches, r.checkFailures()...)
}

func (r *soakRecords) request(marker string) (soakRequest, bool) {
	i, found := slices.BinarySearchFunc(r.requests, marker, func(r soakRequest, marker string) int { return cmp.Compare(r.marker, marker) })
	if !found {
		return soakRequest{}, false
	}
	return r.requests[i], true
}

// checkSessions: no session is served by a node that is not its own while its own
// is up. What counts is the first request of a session that reaches another node:
// with its answer the browser belongs there.
func (r *soakRecords) checkSessions() (breaches []string) {
	own := make(map[string]string) // node, by marker of the login
	for _, a := range r.arrivals {
		if a.Executed == tgnode.Login {
			own[a.Marker] = a.node
		}
	}
	displaced := make(map[string]bool)
	for _, a := range r.arrivals {
		login, known := r.logins[a.Session]
		if !known || a.Executed != tgnode.Read || displaced[a.Session] {
			continue
		}
		began := a.Time
		if request, found := r.request(a.Marker); found {
			began = request.start
		}
		home := own[login]
		switch {
		case home == "":
			breaches = append(breaches, fmt.Sprintf("the login %s was answered, but no node took it", login))
		case a.node != home:
			displaced[a.Session] = true
			if !r.fails([]string{home}, tgnode.GUI, began.Add(-soakRecovery), a.Time) {
				breaches = append(breaches, fmt.Sprintf("%s: the session of %s, begun by %s, went to %s by request %s, while %[2]s was up",
					a.Time.Format(soakTime), home, login, a.node, a.Marker))
			}
		case !a.Known && !r.fails([]string{home}, tgnode.GUI, time.Time{}, a.Time):
			breaches = append(breaches, fmt.Sprintf("%s forgot the session begun by %s without a reason", home, login))
		}
	}
	return breaches
}

const soakTime = "15:04:05.000"

// checkExecutions: nothing that must not be repeated is carried out twice, at two
// nodes or at one.
func (r *soakRecords) checkExecutions() (breaches []string) {
	executed := make(map[string][]string)
	for _, a := range r.arrivals {
		if a.Executed != tgnode.Read {
			executed[a.Marker] = append(executed[a.Marker], a.node+" at "+a.Time.Format(soakTime))
		}
	}
	for marker, times := range executed {
		if len(times) > 1 {
			request, _ := r.request(marker)
			breaches = append(breaches, fmt.Sprintf("request %s (%s) was carried out %d times: %v", marker, request.kind, len(times), times))
		}
	}
	return breaches
}

// checkFailures: each failed request is one whose node failed. That is the node,
// or one of those, whose service or nginx got it; if none did, it was lost on the
// way, and some node has to have failed. While the edge itself is not there
// anything may fail, and around a reload a connection that brings no answer.
func (r *soakRecords) checkFailures() (breaches []string) {
	nodes := make(map[string][]string, len(r.reached))
	for marker, reached := range r.reached {
		nodes[marker] = slices.Clone(reached)
	}
	for _, a := range r.arrivals {
		nodes[a.Marker] = append(nodes[a.Marker], a.node)
	}
	for _, request := range r.requests {
		if request.failure == "" || r.explains(request, nodes[request.marker]) {
			continue
		}
		breaches = append(breaches, fmt.Sprintf("request %s (%s), from %s to %s, failed although no node of it did (it reached %v): %s",
			request.marker, request.kind, request.start.Format(soakTime), request.end.Format(soakTime), nodes[request.marker], request.failure))
	}
	for _, at := range r.refused {
		if !overlaps(r.down, at, at, soakEdgeRecovery) {
			breaches = append(breaches, "the edge refused a connection at "+at.Format(soakTime))
		}
	}
	return breaches
}

func (r *soakRecords) explains(request soakRequest, nodes []string) bool {
	before := soakRecovery
	if request.end.Sub(request.start) > soakRecovery { // it waited for TCP
		before = soakTCP
	}
	return r.fails(nodes, request.service, request.start.Add(-before), request.end) ||
		overlaps(r.down, request.start, request.end, soakEdgeRecovery) ||
		!request.answered && overlaps(r.reloads, request.start, request.end, soakEdgeRecovery)
}

// The invariants must be able to fail: these are runs that breach them, and some
// that come close.
func TestSoakNoticesABreach(t *testing.T) {
	zero := time.Date(2026, 1, 2, 3, 0, 0, 0, time.UTC)
	at := func(seconds float64) time.Time { return zero.Add(time.Duration(seconds * float64(time.Second))) }
	// A session of m1, a request of it, and one that is answered by m1.
	usual := func() *soakRecords {
		r := &soakRecords{logins: map[string]string{"session": "login"}, reached: make(map[string][]string)}
		r.arrived("m1", tgnode.Entry{Time: at(0), Marker: "login", Executed: tgnode.Login})
		r.arrived("m1", tgnode.Entry{Time: at(1), Marker: "a", Session: "session", Known: true})
		r.arrived("m1", tgnode.Entry{Time: at(1), Marker: "a", Session: "session", Known: true, Executed: tgnode.Other})
		r.ended(soakRequest{marker: "a", start: at(1), end: at(1.1), answered: true})
		return r
	}
	displaced := func(r *soakRecords) {
		r.arrived("m2", tgnode.Entry{Time: at(100), Marker: "b", Session: "session"})
		r.ended(soakRequest{marker: "b", start: at(99.9), end: at(100.1), answered: true})
	}
	failed := func(r *soakRecords) {
		r.ended(soakRequest{marker: "c", service: tgnode.GSQL, start: at(100), end: at(101), failure: "EOF"})
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
		{"a node forgets a session", func(r *soakRecords) {
			r.arrived("m1", tgnode.Entry{Time: at(200), Marker: "d", Session: "session"})
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
		{"a request fails while a node does", func(r *soakRecords) { failed(r); fault(r, "m3", tgnode.GSQL, 99, 110) }, 0},
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
		{"a request fails without the edge", func(r *soakRecords) { failed(r); r.edgeSpan(&r.down, "", at(99), at(102)) }, 0},
		{"a request is not answered in a reload", func(r *soakRecords) { failed(r); r.edgeSpan(&r.reloads, "", at(99), at(102)) }, 0},
		{"a request is answered badly in a reload", func(r *soakRecords) {
			r.ended(soakRequest{marker: "c", start: at(100), end: at(101), answered: true, failure: "status 502"})
			r.edgeSpan(&r.reloads, "", at(99), at(102))
		}, 1},
		{"the edge refuses a connection", func(r *soakRecords) { r.refused = append(r.refused, at(100)) }, 1},
		{"the edge refuses a connection in a restart", func(r *soakRecords) {
			r.refused = append(r.refused, at(100))
			r.edgeSpan(&r.down, "", at(99), at(102))
		}, 0},
		{"a client gets another's answer", func(r *soakRecords) { r.breach("an answer for another") }, 1},
	} {
		r := usual()
		test.run(r)
		if breaches := r.check(); len(breaches) != test.breaches {
			t.Errorf("%s: %d breaches, want %d: %q", test.name, len(breaches), test.breaches, breaches)
		}
	}
}
