// Package history remembers what has changed of the nodes lately.
package history

import (
	"slices"
	"sync"
	"time"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/address"
	"github.com/caddy-tigergraph/caddy-tigergraph/internal/clock"
)

// Transition is a change of a node, or of one of its services.
type Transition struct {
	Time time.Time `json:"time"`
	Node string    `json:"node"`
	// Service is gui, gsql or restpp, or All.
	Service string `json:"service"`
	From    string `json:"from"`
	To      string `json:"to"`
	// Why says in plain words what led to it.
	Why string `json:"why"`
}

// All is in place of a service where the change is the whole node's.
const All = "all"

// mostAlike is how many transitions of one outage are remembered for each entry that
// the log has room for, on the average.
const mostAlike = 10

// alikeFor is how long after the first transition of an outage others belong to it.
const alikeFor = 10 * time.Second

// Log holds the last transitions. What happens to several nodes or services at once,
// for the same reason, takes no more room than one of them: an outage of a hundred
// nodes does not push out what was before. It may be used by several goroutines at
// once.
type Log struct {
	mu      sync.Mutex
	entries []entry // the oldest first
	most    uint64
	counted uint64 // how many of the entries begin an outage
	seen    uint64 // how many there have been
	outages map[reason]*outage
}

type entry struct {
	Transition
	joins bool // an outage that another entry began
}

// reason is what the transitions of an outage have in common.
type reason struct{ from, to, why string }

type outage struct {
	began   time.Time
	members map[member]struct{}
}

type member struct{ node, service string }

// New returns a log with room for so many transitions that have nothing in common.
func New(most uint64) *Log { return &Log{most: most, outages: make(map[reason]*outage)} }

// Add adds a transition, and forgets the oldest ones if there are too many.
func (l *Log) Add(t Transition) {
	l.mu.Lock()
	defer l.mu.Unlock()
	joins := l.join(t)
	l.entries = append(l.entries, entry{t, joins})
	if !joins {
		l.counted++
	}
	l.seen++
	forgotten := 0
	forget := func() {
		if !l.entries[forgotten].joins {
			l.counted--
		}
		forgotten++
	}
	for uint64(len(l.entries)-forgotten) > mostAlike*l.most {
		forget()
	}
	for l.counted > l.most {
		forget()
		for l.entries[forgotten].joins { // an outage goes as a whole
			forget()
		}
	}
	clear(l.entries[:forgotten])
	l.entries = l.entries[forgotten:]
}

// join reports whether a transition belongs to an outage that is known, and notes that
// it does. The caller holds mu.
func (l *Log) join(t Transition) bool {
	if t.Why == "" { // nothing says what it would belong to
		return false
	}
	key, self := reason{t.From, t.To, address.Without(t.Why, t.Node)}, member{t.Node, t.Service}
	if known := l.outages[key]; known != nil && t.Time.Sub(known.began) < alikeFor {
		if _, again := known.members[self]; !again {
			known.members[self] = struct{}{}
			return true
		}
	}
	for other, known := range l.outages {
		if t.Time.Sub(known.began) >= alikeFor {
			delete(l.outages, other)
		}
	}
	l.outages[key] = &outage{t.Time, map[member]struct{}{self: {}}}
	return false
}

// Newest returns the transitions, the newest first, and how many there have ever
// been.
func (l *Log) Newest() (newest []Transition, seen uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	newest = make([]Transition, 0, len(l.entries))
	for _, entry := range slices.Backward(l.entries) {
		dated := entry.Transition
		dated.Time = clock.Date(dated.Time)
		newest = append(newest, dated)
	}
	return newest, l.seen
}
