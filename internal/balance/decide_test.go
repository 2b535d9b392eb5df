package balance

import (
	"math"
	"slices"
	"testing"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/affinity"
)

// The standings that tests combine.
var (
	up           = Standing{Healthy: true, Weight: 1}
	unhealthy    = Standing{Weight: 1}
	full         = Standing{Healthy: true, Full: true, Weight: 1}
	failed       = Standing{Healthy: true, Failed: true, Weight: 1}
	down         = Standing{Healthy: true, Down: true, Weight: 1}
	downFailed   = Standing{Healthy: true, Down: true, Failed: true, Weight: 1}
	unchecked    = Standing{Healthy: true, Unchecked: true, Weight: 1}
	draining     = Standing{Healthy: true, Draining: true, Weight: 1}
	drainingDown = Standing{Healthy: true, Draining: true, Down: true, Weight: 1}
	drainingFull = Standing{Healthy: true, Draining: true, Full: true, Weight: 1}
	backup       = Standing{Healthy: true, Backup: true, Weight: 1}
	backupDown   = Standing{Healthy: true, Backup: true, Down: true, Weight: 1}
	fullDown     = Standing{Healthy: true, Full: true, Down: true, Weight: 1}
	standby      = Standing{Healthy: true, Standby: true, Weight: 1}
	reads        = Standing{Healthy: true, Standby: true, Reads: true, Weight: 1}
	kept         = Standing{Healthy: true, Standby: true, Kept: true, Weight: 1}
	keptDown     = Standing{Healthy: true, Standby: true, Kept: true, Down: true, Weight: 1}
)

// aRequest is one of a client that has nothing but its key.
func aRequest(change func(*Request)) Request {
	r := Request{Query: None, Session: None, Pin: None, Moved: None, Home: None, Hashed: ClientIP}
	if change != nil {
		change(&r)
	}
	return r
}

func with(s Standing, change func(*Standing)) Standing {
	change(&s)
	return s
}

func pinnedTo(i int) func(*Request)  { return func(r *Request) { r.Pin = i } }
func sessionOn(i int) func(*Request) { return func(r *Request) { r.Session = i } }
func asksFor(i int) func(*Request)   { return func(r *Request) { r.IsQuery, r.Query = true, i } }
func homeIs(i int) func(*Request)    { return func(r *Request) { r.Home, r.Keyed = i, true } }
func failClosed(r *Request)          { r.FailClosed = true }
func all(changes ...func(*Request)) func(*Request) {
	return func(r *Request) {
		for _, change := range changes {
			change(r)
		}
	}
}

func TestWhoIsACandidate(t *testing.T) {
	for _, test := range []struct {
		name       string
		nodes      []Standing
		request    func(*Request)
		best       Tier
		candidates []int
	}{
		{"every healthy primary is one", []Standing{up, up, up}, nil, Primary, []int{0, 1, 2}},
		{"no node, no candidate", nil, nil, Excluded, nil},
		{"unhealthy, full, failed and down nodes are none", []Standing{unhealthy, full, failed, down, up}, nil, Primary, []int{4}},
		{"a draining node takes no new client", []Standing{draining, up}, nil, Primary, []int{1}},
		{"a draining node keeps its own", []Standing{draining, up}, pinnedTo(0), Primary, []int{0, 1}},
		{"and its GSQL sessions", []Standing{draining, up}, sessionOn(0), Primary, []int{0, 1}},
		{"and its queries", []Standing{draining, up}, asksFor(0), Primary, []int{0, 1}},
		{"a full node of nobody's is none", []Standing{full}, nil, Excluded, nil},

		{"backups wait", []Standing{backup, up}, nil, Primary, []int{1}},
		{"backups step in when no primary is a candidate", []Standing{backup, down, draining, full}, nil, Backup, []int{0}},

		{"all down: the pool fails open", []Standing{down, down}, nil, OpenDown, []int{0, 1}},
		{"to what Caddy finds unhealthy first, if it is up", []Standing{down, unhealthy}, nil, OpenUp, []int{1}},
		{"whatever Caddy says of the others", []Standing{{Down: true, Weight: 1}, down}, nil, OpenDown, []int{0, 1}},
		{"but not to what failed this request", []Standing{down, downFailed}, nil, OpenDown, []int{0}},
		{"primaries first then too", []Standing{backupDown, down}, nil, OpenDown, []int{1}},
		{"draining nodes last of their kind", []Standing{drainingDown, backupDown}, nil, OpenDownBackup, []int{1}},
		{"a draining node that is up comes before one that is down", []Standing{draining, down}, nil, OpenUpDraining, []int{0}},
		{"a draining node is better than none", []Standing{draining, draining}, nil, OpenUpDraining, []int{0, 1}},
		{"fail_closed does not open", []Standing{down, draining}, failClosed, Excluded, nil},
		{"nor for passive checks", []Standing{unhealthy}, failClosed, Excluded, nil},

		{"an unchecked node gets nothing", []Standing{unchecked, up}, nil, Primary, []int{1}},
		{"nor does it open the pool", []Standing{unchecked, down}, nil, Excluded, nil},
		{"not even for its own", []Standing{unchecked, down}, pinnedTo(0), Excluded, nil},

		{"a standby cluster gets nothing", []Standing{standby, up}, nil, Primary, []int{1}},
		{"whatever happens to the active one", []Standing{standby, down}, nil, OpenDown, []int{1}},
		{"but for reads, where these are let", []Standing{reads, down}, nil, StandbyReads, []int{0}},
		{"while no active node can serve", []Standing{reads, backup}, nil, Backup, []int{1}},
		{"a cluster that was left keeps its sessions", []Standing{kept, up}, pinnedTo(0), Primary, []int{0, 1}},
		{"and gets no new ones", []Standing{kept, down}, nil, OpenDown, []int{1}},
		{"nor those of a node that is down", []Standing{keptDown, up}, pinnedTo(0), Primary, []int{1}},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := aRequest(test.request)
			tiers := make([]Tier, len(test.nodes))
			best := Decide(&r, slices.Clone(test.nodes), tiers).Best
			var candidates []int
			for i, tier := range tiers {
				if best != Excluded && tier == best {
					candidates = append(candidates, i)
				}
			}
			if best != test.best || !slices.Equal(candidates, test.candidates) {
				t.Errorf("tier %d, candidates %v; want tier %d, candidates %v", best, candidates, test.best, test.candidates)
			}
		})
	}
}

func TestWhichNodeAndWhy(t *testing.T) {
	silent := func(s Standing) Standing { s.SilentSince = 100; return s }
	spoke := func(s Standing, at int64) Standing { s.GoodWord = at; return s }
	for _, test := range []struct {
		name    string
		nodes   []Standing
		request func(*Request)
		node    int
		why     Reason
	}{
		{"a query goes to the node that knows it", []Standing{up, up}, all(asksFor(1), pinnedTo(0)), 1, RequestID},
		{"and to no other", []Standing{up, down}, asksFor(1), None, 0},
		{"not even if no pool has it", []Standing{up, up}, asksFor(None), None, 0},
		{"while all are down it is asked all the same", []Standing{down, down}, asksFor(1), 1, FailOpen},
		{"a session comes before a cookie", []Standing{up, up}, all(sessionOn(1), pinnedTo(0)), 1, Session},
		{"a session whose node is down follows the cookie", []Standing{up, down}, all(sessionOn(1), pinnedTo(0)), 0, Cookie},
		{"a pinned node that is down is left", []Standing{down, up}, pinnedTo(0), 1, Failover},
		{"one that failed this request is left", []Standing{failed, up}, pinnedTo(0), 1, Failover},
		{"one that Caddy finds unhealthy is left", []Standing{unhealthy, up}, pinnedTo(0), 1, Failover},
		{"one that is full is waited for", []Standing{full, up}, pinnedTo(0), None, 0},
		{"also while it is draining", []Standing{drainingFull, up}, pinnedTo(0), None, 0},
		{"one that is full and down is left", []Standing{fullDown, up}, pinnedTo(0), 1, Failover},
		{"a pin to a backup is left once a primary is a candidate", []Standing{backup, up}, pinnedTo(0), 1, Failover},
		{"a pin to a backup holds while none is", []Standing{backup, down}, pinnedTo(0), 0, Cookie},
		{"a pin to a primary that is down is left for a backup", []Standing{backup, down}, pinnedTo(1), 0, Failover},

		{"pins are kept while the pool is open", []Standing{down, down}, pinnedTo(1), 1, FailOpen},
		{"to a draining node too", []Standing{down, drainingDown}, pinnedTo(1), 1, FailOpen},
		{"to a backup too", []Standing{down, backupDown}, pinnedTo(1), 1, FailOpen},
		{"a full pinned node is waited for then too", []Standing{down, fullDown}, pinnedTo(1), None, 0},
		{"fail_closed keeps a draining node's own", []Standing{down, draining}, all(failClosed, pinnedTo(1)), 1, Cookie},
		{
			"a retry that has only a node left that is down does not mean an open pool",
			[]Standing{failed, down},
			all(homeIs(0), func(r *Request) { r.Retry = true }), 1, Failover,
		},

		{"a client goes home", []Standing{up}, homeIs(0), 0, ClientIP},
		{"or to where it was moved", []Standing{up, up}, all(homeIs(0), func(r *Request) { r.Moved = 1 }), 1, Moved},
		{"unless that is down", []Standing{up, down}, all(homeIs(0), func(r *Request) { r.Moved = 1 }), 0, ClientIP},
		{"a request of nobody's is spread", []Standing{up}, func(r *Request) { r.Spread = true }, 0, Spread},
		{
			"on a retry it is one that failed over",
			[]Standing{failed, up},
			func(r *Request) { r.Spread, r.Retry = true, true }, 1, Failover,
		},
		{"reads go to a standby", []Standing{down, reads}, nil, 1, Standby},

		{
			"nobody leaves a silent node for one that is no better",
			[]Standing{silent(down), spoke(up, 99)},
			pinnedTo(0), 0, Cookie,
		},
		{"but for one that has spoken since", []Standing{silent(down), spoke(up, 101)}, pinnedTo(0), 1, Failover},
		{"if that is a candidate", []Standing{silent(down), spoke(draining, 101)}, pinnedTo(0), 0, Cookie},
		{"a node that refuses is left at once", []Standing{down, spoke(up, 99)}, pinnedTo(0), 1, Failover},
		{"one whose dial timed out is tried again", []Standing{silent(failed), spoke(up, 99)}, pinnedTo(0), 0, Cookie},
		{"a home is no worse", []Standing{silent(down), spoke(up, 99)}, homeIs(0), 0, ClientIP},
		{
			"nobody stays on a backup for that, while a primary is up",
			[]Standing{silent(backupDown), spoke(up, 99)},
			pinnedTo(0), 1, Failover,
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := aRequest(test.request)
			d := Decide(&r, slices.Clone(test.nodes), make([]Tier, len(test.nodes)))
			if d.Node != test.node || d.Node != None && d.Why != test.why {
				t.Errorf("node %d because of %s; want node %d because of %s", d.Node, d.Why, test.node, test.why)
			}
		})
	}
}

func TestAFallbackIsAskedWhereAClientHasNoNode(t *testing.T) {
	for _, test := range []struct {
		name    string
		nodes   []Standing
		request func(*Request)
		ask     bool
		why     Reason
	}{
		{"a new one", []Standing{up, up}, nil, true, Fallback},
		{"one that lost its node", []Standing{down, up}, pinnedTo(0), true, Failover},
		{"not one whose node is well", []Standing{up, up}, pinnedTo(0), false, Cookie},
		{"nor where nothing is left", []Standing{failed}, nil, false, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := aRequest(test.request)
			r.Fallback = true
			d := Decide(&r, slices.Clone(test.nodes), make([]Tier, len(test.nodes)))
			if d.AskFallback != test.ask || d.Why != test.why {
				t.Errorf("asked %t because of %s, want %t because of %s", d.AskFallback, d.Why, test.ask, test.why)
			}
		})
	}
}

func TestWhoIsRememberedWhereItWasMoved(t *testing.T) {
	for _, test := range []struct {
		name             string
		home             Standing
		moved            int
		remember, forget bool
	}{
		{"one whose home is well is not", up, None, false, false},
		{"one whose home is down is", down, None, true, false},
		{"one whose home drains is", draining, None, true, false},
		{"one whose home is only full is not", full, None, false, false},
		{"nor one whose home failed this one request", failed, None, false, false},
		{"one that has come home is forgotten", up, 1, false, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			nodes := []Standing{test.home, down, up}
			for i := range nodes {
				nodes[i].Seed = uint64(i)
			}
			key := uint64(0)
			for hashed(key, nodes[:1:1], []Tier{Primary}, Primary) != 0 || affinity.Score(key, 0) < affinity.Score(key, 2) {
				key++ // until it is the first node's
			}
			r := aRequest(homeIs(0))
			r.Key, r.Moved = key, test.moved
			d := Decide(&r, nodes, make([]Tier, len(nodes)))
			if d.Remember != test.remember || d.Forget != test.forget {
				t.Errorf("remember %t, forget %t; want %t, %t", d.Remember, d.Forget, test.remember, test.forget)
			}
		})
	}
}

func TestAFewCandidatesAreAskedForAGoodWordWhereAClientStays(t *testing.T) {
	silent := Standing{Healthy: true, Weight: 1, Down: true, SilentSince: 2}
	earlier := Standing{Healthy: true, Weight: 1, GoodWord: 1}
	later := Standing{Healthy: true, Weight: 1, GoodWord: 3}
	for name, test := range map[string]struct {
		nodes []Standing
		node  int
		want  []int
	}{
		"others have said nothing since":     {[]Standing{earlier, silent, earlier}, 1, []int{0, 2}},
		"nobody else is there":               {[]Standing{down, silent, standby, draining}, 1, nil},
		"backups too":                        {[]Standing{backup, silent, down}, 1, []int{0}},
		"three of many":                      {[]Standing{up, silent, up, down, up, up}, 1, []int{0, 2, 4}},
		"one has, and the client goes there": {[]Standing{down, silent, later}, 2, nil},
		"nobody, where it cannot stay":       {[]Standing{earlier, with(silent, func(s *Standing) { s.Backup = true }), down}, 0, nil},
		"nobody, where its own is full":      {[]Standing{earlier, with(silent, func(s *Standing) { s.Full = true }), down}, None, nil},
	} {
		t.Run(name, func(t *testing.T) {
			nodes := slices.Clone(test.nodes)
			r := aRequest(pinnedTo(1))
			d := Decide(&r, nodes, make([]Tier, len(nodes)))
			if d.Node != test.node {
				t.Errorf("the node is %d, want %d", d.Node, test.node)
			}
			if got := slices.Collect(d.Asked(nodes)); !slices.Equal(got, test.want) {
				t.Errorf("asked are %v, want %v", got, test.want)
			}
		})
	}
}

func TestSpreadingGoesByRequestsInFlightForTheWeight(t *testing.T) {
	for _, test := range []struct {
		name    string
		loads   []int
		weights []float64
		want    []int // nodes that are chosen, and no other
	}{
		{"the least loaded", []int{2, 1, 3}, []float64{1, 1, 1}, []int{1}},
		{"one of those that tie", []int{1, 0, 0, 5, 0}, []float64{1, 1, 1, 1, 1}, []int{1, 2, 4}},
		{"twice the weight bears twice as many", []int{2, 1}, []float64{2, 1}, []int{0}},
		{"and a tie is one", []int{1, 0}, []float64{2, 1}, []int{0, 1}},
		{"a node that warms up gets less", []int{0, 5}, []float64{0.1, 1}, []int{1}},
	} {
		t.Run(test.name, func(t *testing.T) {
			var nodes []Standing
			var loads []int32
			tally := NewTally()
			for i := range test.loads {
				node := up
				node.Load, node.Weight = test.loads[i], test.weights[i]
				nodes, loads = append(nodes, node), append(loads, int32(node.Load))
				tally.Add(loads[i])
			}
			counts, lined := make([]int, len(nodes)), make([]int, len(nodes))
			lineup := NewLineup(slices.Clone(nodes), make([]Tier, len(nodes)))
			const draws = 3000
			for range draws {
				r := aRequest(func(r *Request) { r.Spread = true })
				counts[Decide(&r, slices.Clone(nodes), make([]Tier, len(nodes))).Node]++
				lined[lineup.Nodes[lineup.Least(loads, tally)]]++
			}
			for i := range nodes {
				share := 0.0
				if slices.Contains(test.want, i) {
					share = 1 / float64(len(test.want))
				}
				for what, count := range map[string]int{"decided": counts[i], "lined up": lined[i]} {
					if got := float64(count) / draws; math.Abs(got-share) > 0.06 || share == 0 && count > 0 {
						t.Errorf("%s: node %d got %.2f of the requests, want %.2f", what, i, got, share)
					}
				}
			}
		})
	}
}

func TestALineupHoldsCandidatesByRightOnly(t *testing.T) {
	for _, test := range []struct {
		name  string
		nodes []Standing
		want  []int32
	}{
		{"primaries", []Standing{up, down, draining, backup, up}, []int32{0, 4}},
		{"full ones too, for that passes", []Standing{full, up}, []int32{0, 1}},
		{"backups where there is none", []Standing{down, backup}, []int32{1}},
		{"none of an open pool", []Standing{down, down}, nil},
		{"none of a standby", []Standing{standby, down}, nil},
	} {
		var got []int32
		if l := NewLineup(slices.Clone(test.nodes), make([]Tier, len(test.nodes))); l != nil {
			got = l.Nodes
		}
		if !slices.Equal(got, test.want) {
			t.Errorf("%s: %v, want %v", test.name, got, test.want)
		}
	}
}

func TestTheForecastSharesOutNewClients(t *testing.T) {
	heavy := up
	heavy.Weight = 3
	for _, test := range []struct {
		name     string
		nodes    []Standing
		weighted bool
		best     Tier
		want     []float64
	}{
		{"by weight", []Standing{heavy, up, down}, true, Primary, []float64{.75, .25, 0}},
		{"alike where weights do not count", []Standing{heavy, up, down}, false, Primary, []float64{.5, .5, 0}},
		{"to all while the pool is open", []Standing{down, down}, true, OpenDown, []float64{.5, .5}},
		{"to nobody", []Standing{full}, true, Excluded, []float64{0}},
	} {
		f := NewForecast(test.nodes, false, test.weighted)
		if f.Best != test.best || !slices.Equal(f.Shares, test.want) {
			t.Errorf("%s: tier %d, %v; want tier %d, %v", test.name, f.Best, f.Shares, test.best, test.want)
		}
	}
}

func TestDecidingAllocatesNothing(t *testing.T) {
	nodes := make([]Standing, 100)
	for i := range nodes {
		nodes[i] = up
		nodes[i].Seed = uint64(i)
	}
	tiers := make([]Tier, len(nodes))
	r := aRequest(homeIs(3))
	decide := func() {
		d := Decide(&r, nodes, tiers)
		for i := range d.Asked(nodes) {
			nodes[i].Load++
		}
	}
	if allocations := testing.AllocsPerRun(100, decide); allocations != 0 {
		t.Errorf("%.0f allocations", allocations)
	}
	r = aRequest(pinnedTo(3))
	silent := func() {
		nodes[3].Down, nodes[3].SilentSince = true, 1
		decide()
	}
	if allocations := testing.AllocsPerRun(100, silent); allocations != 0 || nodes[0].Load != 101 {
		t.Errorf("%.0f allocations where a client's own node is silent, and %d times another is asked", allocations, nodes[0].Load)
	}
}
