package fleet

import (
	"runtime/debug"
	"sync"
)

// Event is a change of a verdict, or of the active cluster.
type Event struct {
	Name            string
	Node, Service   string
	Cluster, Before string
}

// Data is what subscribers get.
func (e Event) Data() map[string]any {
	if e.Cluster != "" {
		return map[string]any{"cluster": e.Cluster, "before": e.Before}
	}
	return map[string]any{"node": e.Node, "service": e.Service}
}

// mostEvents bounds the outbox, should a subscriber never return.
const mostEvents = 4096

// Subscribers are those who want to know of events.
type Subscribers interface {
	Emit(event Event)
	// Panicked is told of a subscriber who did.
	Panicked(event Event, value any, stack []byte)
	// Lost is told of an event that the outbox has no room for.
	Lost(event Event)
}

// Outbox holds the events of an app that have not gone out yet, and hands them to the
// subscribers in a goroutine of its own: one who is slow or panics holds up nobody
// else. It keeps all until it is opened.
type Outbox struct {
	subscribers Subscribers

	mu       sync.Mutex
	waiting  []Event
	opened   bool
	draining bool // the goroutine runs
	ended    bool
}

// NewOutbox returns an outbox that is closed until it is opened.
func NewOutbox(subscribers Subscribers) *Outbox { return &Outbox{subscribers: subscribers} }

// Add puts events into the outbox.
func (o *Outbox) Add(events ...Event) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.ended {
		return
	}
	for _, event := range events {
		if len(o.waiting) == mostEvents {
			o.subscribers.Lost(event)
			continue
		}
		o.waiting = append(o.waiting, event)
	}
	o.drain()
}

// Open lets the events go out.
func (o *Outbox) Open() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.opened = true
	o.drain()
}

// End closes the outbox for good and returns the events that have not gone out.
func (o *Outbox) End() (left []Event) {
	o.mu.Lock()
	defer o.mu.Unlock()
	left, o.waiting, o.ended = o.waiting, nil, true
	return left
}

// drain lets a goroutine hand out what waits, unless one does already. The caller
// holds mu.
func (o *Outbox) drain() {
	if !o.opened || o.ended || o.draining || len(o.waiting) == 0 {
		return
	}
	o.draining = true
	go func() {
		for {
			event, found := o.next()
			if !found {
				return
			}
			o.handOut(event)
		}
	}()
}

// next takes the oldest event out of the outbox. The goroutine that drains the outbox
// has to end if there is none.
func (o *Outbox) next() (event Event, found bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.draining = len(o.waiting) > 0; !o.draining {
		return event, false
	}
	event, o.waiting = o.waiting[0], o.waiting[1:]
	return event, true
}

// handOut hands an event to its subscribers.
func (o *Outbox) handOut(event Event) {
	defer func() {
		if panicked := recover(); panicked != nil {
			o.subscribers.Panicked(event, panicked, debug.Stack())
		}
	}()
	o.subscribers.Emit(event)
}
