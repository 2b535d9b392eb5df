package integration_test

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/tgnode"
)

var allServices = []tgnode.Service{tgnode.GUI, tgnode.GSQL, tgnode.RESTPP}

// soakRequest is a request of TestSoak's as its client saw it.
type soakRequest struct {
	kind       string // what it was for, for the report
	service    tgnode.Service
	marker     string // in its query; no other request has it
	start, end time.Time
	failure    string // "" if it was answered as it should be
	answered   bool   // at least the head of an answer came
	whole      bool   // all of it came
	edge       string // which it went through
	// of is the marker of the request that began what only one node knows, "" where there
	// is none, and forgot whether the answer says that nobody knows it.
	of     string
	forgot bool
}

// soakChoice is what the edge's log says of a request.
type soakChoice struct {
	node   string // the last that was chosen for it, "" if none was, or the answer broke off
	status int    // of the answer
}

// soakArrival is an entry of a service's journal: a request that reached it, or
// that it carried out.
type soakArrival struct {
	node string
	tgnode.Entry
}

// soakRefusal is a connection that an edge did not take.
type soakRefusal struct {
	edge     string
	from, to time.Time
	err      error
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
	inner    bool // the node's nginx is well
	forgets  bool // what the services had in memory is gone: sessions, asynchronous queries
}

// soakRecords are what a run leaves behind, for its invariants to be checked.
type soakRecords struct {
	nodes   []string // of the primary cluster
	standby string   // that of the other

	mu       sync.Mutex
	requests []soakRequest
	arrivals []soakArrival
	// executions are those arrivals at which something was done, by marker.
	executions map[string][]soakArrival
	logins     map[string]string // marker of the login, by session
	// Of the requests that failed, by their markers: the nodes whose nginx answered
	// them, by 200 or the like, and what the edge says.
	reached map[string][]string
	served  map[string][]string
	chosen  map[string]soakChoice
	spans   []soakSpan
	// down is when an edge itself did not serve, reloads when it changed its
	// configuration. Their node is the edge.
	down, reloads []soakSpan
	refused       []soakRefusal
	switches      []soakSwitch
	quietTimes    []soakSpan     // in which nothing was made to fail
	offences      map[string]int // how often somebody did wrong, by what
	breaches      []string       // found on the way: an answer that was another client's
	// excuses are how many failed requests were excused by what, for the report.
	excuses map[string]int
}

func newSoakRecords() *soakRecords {
	return &soakRecords{
		logins: make(map[string]string), reached: make(map[string][]string), served: make(map[string][]string),
		chosen: make(map[string]soakChoice), excuses: make(map[string]int), offences: make(map[string]int),
	}
}

// failed returns the markers of the requests that failed.
func (r *soakRecords) failed() map[string]bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	failed := make(map[string]bool)
	for _, request := range r.requests {
		if request.failure != "" {
			failed[request.marker] = true
		}
	}
	return failed
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

func (r *soakRecords) wasRefused(edge string, from time.Time, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.refused = append(r.refused, soakRefusal{edge, from, time.Now(), err})
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

func (r *soakRecords) quiet(span soakSpan) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.quietTimes = append(r.quietTimes, span)
}

func (r *soakRecords) edgeSpan(list *[]soakSpan, edge, what string, from, to time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	*list = append(*list, soakSpan{node: edge, what: what, from: from, to: to})
}

func (r *soakRecords) switched(change soakSwitch) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.switches = append(r.switches, change)
}

func (r *soakRecords) offended(how string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.offences[how]++
}

func (r *soakRecords) breach(format string, arguments ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.breaches = append(r.breaches, fmt.Sprintf(format, arguments...))
}

// The bounds of what a fault explains.
const (
	// soakRecovery is how long after a fault its node need not be used, and what it
	// broke may show: two
	// probes have to pass (a quarter of a second apart, each at most two seconds
	// long on a machine that has other things to do), and TCP repeats a packet that
	// was lost in a cut of 8 seconds up to 8 seconds later.
	soakRecovery = 5 * time.Second
	// soakTCP is that for a request which was under way in the fault.
	soakTCP = 20 * time.Second
	// soakEdgeRecovery is how long after a reload of an edge its clients may find a
	// connection closed: the old server closes those that are idle, and the kernel
	// resets those that its listener had not accepted. A restart has nothing of the
	// kind: when the new process listens, the old one is gone.
	soakEdgeRecovery = 2 * time.Second
)

// check returns every breach of the invariants.
func (r *soakRecords) check() []string {
	r.mu.Lock()
	defer r.mu.Unlock()
	breaches := slices.Clone(r.breaches)
	slices.SortStableFunc(r.arrivals, func(a, b soakArrival) int { return a.Time.Compare(b.Time) })
	slices.SortFunc(r.requests, func(a, b soakRequest) int { return cmp.Compare(a.marker, b.marker) })
	r.executions = make(map[string][]soakArrival)
	for _, a := range r.arrivals {
		if a.Executed != tgnode.Read {
			r.executions[a.Marker] = append(r.executions[a.Marker], a)
		}
	}
	failures := r.failures()
	breaches = append(breaches, r.checkSessions(failures)...)
	breaches = append(breaches, r.checkExecutions()...)
	breaches = append(breaches, r.checkClusters()...)
	breaches = append(breaches, r.checkHolders(failures)...)
	return append(breaches, r.checkFailures(failures)...)
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
// with its answer the browser belongs there. And its own knows it, unless that
// lost its sessions after the login.
func (r *soakRecords) checkSessions(failures soakFailures) (breaches []string) {
	own := make(map[string]soakArrival) // by marker of the login
	for _, a := range r.arrivals {
		if a.Executed == tgnode.Login {
			own[a.Marker] = a
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
		case home.node == "":
			breaches = append(breaches, fmt.Sprintf("the login %s was answered, but no node took it", login))
		case a.node != home.node:
			displaced[a.Session] = true
			// A switch moves everybody, a login too that was under way and arrives late.
			loggedIn := home.Time
			if request, found := r.request(login); found {
				loggedIn = request.start
			}
			if (home.node == r.standby) != (a.node == r.standby) && r.switchedIn(anyEdge, loggedIn, a.Time) {
				continue
			}
			if !failures.fails([]string{home.node}, tgnode.GUI, began.Add(-soakRecovery), a.Time) {
				breaches = append(breaches, fmt.Sprintf("%s: the session of %s, begun by %s, went to %s by request %s, while %[2]s was up",
					a.Time.Format(soakTime), home.node, login, a.node, a.Marker))
			}
		case !a.Known && !failures.forgets[home.node][tgnode.GUI].overlaps(home.Time, a.Time):
			breaches = append(breaches, fmt.Sprintf("%s: %s forgot the session begun by %s at %s without a reason",
				a.Time.Format(soakTime), home.node, login, home.Time.Format(soakTime)))
		}
	}
	return breaches
}

const soakTime = "15:04:05.000"

// checkExecutions: nothing that must not be repeated is carried out twice, at two
// nodes or at one.
func (r *soakRecords) checkExecutions() (breaches []string) {
	for marker, executions := range r.executions {
		if len(executions) < 2 {
			continue
		}
		var times []string
		for _, a := range executions {
			times = append(times, a.node+" at "+a.Time.Format(soakTime))
		}
		request, _ := r.request(marker)
		breaches = append(breaches, fmt.Sprintf("request %s (%s) was carried out %d times: %v", marker, request.kind, len(times), times))
	}
	return breaches
}

// checkFailures: each failed request is one whose node failed.
func (r *soakRecords) checkFailures(failures soakFailures) (breaches []string) {
	nodes := make(map[string][]string)
	for _, request := range r.requests {
		if request.failure != "" {
			nodes[request.marker] = slices.Clone(r.reached[request.marker])
		}
	}
	for _, a := range r.arrivals {
		if reached, failed := nodes[a.Marker]; failed {
			nodes[a.Marker] = append(reached, a.node)
		}
	}
	clear(r.excuses)
	quiet := newSoakTimeline(r.quietTimes, 0, func(soakSpan) bool { return true })
	for _, request := range r.requests {
		if request.failure == "" {
			continue
		}
		if excuse := r.excuse(request, nodes[request.marker], failures); excuse != "" {
			if quiet.holds(request.start, request.end) {
				excuse += fmt.Sprintf(", without a fault: %s after %s", request.failure, request.end.Sub(request.start).Round(100*time.Millisecond))
			}
			r.excuses[excuse]++
			continue
		}
		said := "the edge's log lacks it"
		if choice, logged := r.chosen[request.marker]; logged {
			said = fmt.Sprintf("the edge chose %q last and answered %d", choice.node, choice.status)
		}
		breaches = append(breaches, fmt.Sprintf("request %s (%s), from %s to %s, failed although no node of it did (it reached %v, %s): %s", request.marker,
			request.kind, request.start.Format(soakTime), request.end.Format(soakTime), nodes[request.marker], said, request.failure))
	}
	for _, refusal := range r.refused {
		// The listener of a reload is there before the old one goes, so that nobody
		// is refused; but the kernel resets whom the old one had not accepted, and
		// some of those still dial.
		reset := errors.Is(refusal.err, syscall.ECONNRESET) || errors.Is(refusal.err, syscall.EPIPE)
		if failures.down[refusal.edge].overlaps(refusal.from, refusal.to) ||
			reset && failures.reloads[refusal.edge].overlaps(refusal.from, refusal.to) {
			continue
		}
		breaches = append(breaches, fmt.Sprintf("%s took no connection from %s to %s: %v",
			refusal.edge, refusal.from.Format(soakTime), refusal.to.Format(soakTime), refusal.err))
	}
	return breaches
}

// excuse says why a request may have failed, "" if there is no reason. While its
// edge itself is not there an answer may be missing or break off, and around a reload a
// connection may bring none. Else it is a matter of nodes:
//
//   - of the one that alone knows what the request is about, where the edge says by 503
//     that it cannot be asked;
//   - of every node, where the edge says that there is none left, by 503, which the
//     nodes here never say;
//   - of the last one that the edge has chosen, for its answer was the last; but not of
//     the services there, if its nginx has answered by 200;
//   - of one that the request reached, where the edge names none because the answer
//     broke off.
//
// A request that the edge knows nothing of, and no node, is lost without an excuse.
func (r *soakRecords) excuse(request soakRequest, reached []string, failures soakFailures) string {
	before := soakRecovery
	if request.end.Sub(request.start) > soakRecovery { // it waited for TCP
		before = soakTCP
	}
	from := request.start.Add(-before)
	choice := r.chosen[request.marker]
	switch {
	case !request.whole && failures.down[request.edge].overlaps(request.start, request.end):
		return "the edge was down"
	case !request.answered && failures.reloads[request.edge].overlaps(request.start, request.end):
		return "the edge was reloaded"
	case choice.status == http.StatusServiceUnavailable && r.holderFailed(request, from, failures):
		return "the node that alone knows it failed"
	case choice.status == http.StatusServiceUnavailable:
		if failures.allFail(r.active(request.edge, request.start, request.end), request.service, from, request.end) && (choice.node == "" || failures.fails([]string{choice.node}, request.service, from, request.end)) {
			return "every node failed"
		}
	case choice.node != "" && choice.status >= 500 && slices.Contains(r.served[request.marker], choice.node):
		if failures.outer[choice.node][request.service].overlaps(from, request.end) {
			return "the answer of the node that the edge chose last was lost on its way"
		}
	case choice.node != "":
		if failures.fails([]string{choice.node}, request.service, from, request.end) {
			return "the node that the edge chose last failed"
		}
	case failures.fails(reached, request.service, from, request.end):
		return "the answer broke off, and a node it reached failed"
	}
	return ""
}
