package affinity

import (
	"slices"
	"testing"
)

func TestCandidates(t *testing.T) {
	var (
		up              = Standing{Healthy: true}
		unavailable     = Standing{}
		full            = Standing{Healthy: true, Full: true}
		failed          = Standing{Healthy: true, Failed: true}
		down            = Standing{Healthy: true, Down: true}
		unchecked       = Standing{Healthy: true, Unchecked: true}
		draining        = Standing{Healthy: true, Draining: true}
		drainingDown    = Standing{Healthy: true, Draining: true, Down: true}
		drainingFull    = Standing{Healthy: true, Draining: true, Full: true}
		backup          = Standing{Healthy: true, Backup: true}
		backupDown      = Standing{Healthy: true, Backup: true, Down: true}
		fullDown        = Standing{Healthy: true, Full: true, Down: true}
		unavailableDown = Standing{Down: true}
	)
	for _, test := range []struct {
		name       string
		nodes      []Standing
		pinned     int
		failClosed bool
		best       Tier
		candidates []int
		honoured   bool
	}{
		{name: "every healthy primary is a candidate", nodes: []Standing{up, up, up}, pinned: NoPin, best: Primary, candidates: []int{0, 1, 2}},
		{name: "no node, no candidate", pinned: NoPin, best: Excluded},
		{name: "unavailable, full, failed and down nodes are none", nodes: []Standing{unavailable, full, failed, down, up}, pinned: NoPin, best: Primary, candidates: []int{4}},
		{name: "a draining node takes no new client", nodes: []Standing{draining, up}, pinned: NoPin, best: Primary, candidates: []int{1}},
		{name: "a draining node keeps its own", nodes: []Standing{draining, up}, pinned: 0, best: Primary, candidates: []int{0, 1}, honoured: true},
		{name: "a pinned node that is down is left", nodes: []Standing{down, up}, pinned: 0, best: Primary, candidates: []int{1}},
		{name: "a pinned node that failed this request is left", nodes: []Standing{failed, up}, pinned: 0, best: Primary, candidates: []int{1}},
		{name: "a pinned node that is unavailable is left", nodes: []Standing{unavailable, up}, pinned: 0, best: Primary, candidates: []int{1}},
		{name: "a pinned node that is full is waited for", nodes: []Standing{full, up}, pinned: 0, best: Primary, candidates: []int{0, 1}, honoured: true},
		{name: "also while it is draining", nodes: []Standing{drainingFull, up}, pinned: 0, best: Primary, candidates: []int{0, 1}, honoured: true},
		{name: "a pinned node that is full and down is left", nodes: []Standing{fullDown, up}, pinned: 0, best: Primary, candidates: []int{1}},
		{name: "a full node of nobody's is none", nodes: []Standing{full}, pinned: NoPin, best: Excluded},

		{name: "backups wait", nodes: []Standing{backup, up}, pinned: NoPin, best: Primary, candidates: []int{1}},
		{name: "backups step in when no primary is a candidate", nodes: []Standing{backup, down, draining, full}, pinned: NoPin, best: Backup, candidates: []int{0}},
		{name: "a pin to a backup is left once a primary is a candidate", nodes: []Standing{backup, up}, pinned: 0, best: Primary, candidates: []int{1}},
		{name: "a pin to a backup holds while none is", nodes: []Standing{backup, down}, pinned: 0, best: Backup, candidates: []int{0}, honoured: true},
		{name: "a pin to a primary that is down is left for a backup", nodes: []Standing{backup, down}, pinned: 1, best: Backup, candidates: []int{0}},

		{name: "all down: the pool fails open", nodes: []Standing{down, down}, pinned: NoPin, best: FailOpen, candidates: []int{0, 1}},
		{name: "but not to what Caddy finds unavailable", nodes: []Standing{down, unavailableDown}, pinned: NoPin, best: FailOpen, candidates: []int{0}},
		{name: "nor to what failed this request", nodes: []Standing{down, {Healthy: true, Down: true, Failed: true}}, pinned: NoPin, best: FailOpen, candidates: []int{0}},
		{name: "primaries first then too", nodes: []Standing{backupDown, down}, pinned: NoPin, best: FailOpen, candidates: []int{1}},
		{name: "draining nodes last", nodes: []Standing{drainingDown, backupDown}, pinned: NoPin, best: FailOpenBackup, candidates: []int{1}},
		{name: "a draining node is better than none", nodes: []Standing{draining, drainingDown}, pinned: NoPin, best: FailOpenDraining, candidates: []int{0, 1}},
		{name: "pins are kept", nodes: []Standing{down, down}, pinned: 1, best: FailOpen, candidates: []int{0, 1}, honoured: true},
		{name: "to a draining node too", nodes: []Standing{down, drainingDown}, pinned: 1, best: FailOpen, candidates: []int{0, 1}, honoured: true},
		{name: "to a backup too", nodes: []Standing{down, backupDown}, pinned: 1, best: FailOpen, candidates: []int{0}, honoured: true},
		{name: "a full pinned node is waited for then too", nodes: []Standing{down, fullDown}, pinned: 1, best: FailOpen, candidates: []int{0, 1}, honoured: true},
		{name: "fail_closed does not open", nodes: []Standing{down, draining}, pinned: NoPin, failClosed: true, best: Excluded},
		{name: "fail_closed keeps a draining node's own", nodes: []Standing{down, draining}, pinned: 1, failClosed: true, best: Primary, candidates: []int{1}, honoured: true},

		{name: "an unchecked node gets nothing", nodes: []Standing{unchecked, up}, pinned: NoPin, best: Primary, candidates: []int{1}},
		{name: "nor does it open the pool", nodes: []Standing{unchecked, down}, pinned: NoPin, best: Excluded},
		{name: "not even for its own", nodes: []Standing{unchecked, down}, pinned: 0, best: Excluded},
	} {
		t.Run(test.name, func(t *testing.T) {
			tiers := make([]Tier, len(test.nodes))
			best, honoured := Candidates(test.nodes, test.pinned, test.failClosed, tiers)
			var candidates []int
			for i, tier := range tiers {
				if best != Excluded && tier == best {
					candidates = append(candidates, i)
				}
			}
			if best != test.best || honoured != test.honoured || !slices.Equal(candidates, test.candidates) {
				t.Errorf("tier %d, candidates %v, honoured %t; want tier %d, candidates %v, honoured %t",
					best, candidates, honoured, test.best, test.candidates, test.honoured)
			}
		})
	}
}
