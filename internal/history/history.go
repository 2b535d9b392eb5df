// Package history remembers what has changed of the nodes lately.
package history

import (
	"sync"
	"time"
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

// Log holds the last transitions. It may be used by several goroutines at once.
type Log struct {
	mu   sync.Mutex
	ring []Transition
	most uint64
	seen uint64 // how many there have been
}

// New returns a log of so many transitions at most.
func New(most uint64) *Log { return &Log{most: most} }

// Add adds a transition, and forgets the oldest one if there are too many.
func (l *Log) Add(t Transition) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if uint64(len(l.ring)) < l.most {
		l.ring = append(l.ring, t)
	} else {
		l.ring[l.seen%l.most] = t
	}
	l.seen++
}

// Newest returns the transitions, the newest first, and how many there have ever
// been.
func (l *Log) Newest() (newest []Transition, seen uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	newest = make([]Transition, 0, len(l.ring))
	for back := range uint64(len(l.ring)) {
		newest = append(newest, l.ring[(l.seen-1-back)%l.most])
	}
	return newest, l.seen
}
