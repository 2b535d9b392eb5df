package tigergraph

import (
	"runtime/debug"
	"sync"

	"go.uber.org/zap"
)

// nodeEvent is a change of a verdict, or of the active cluster.
type nodeEvent struct {
	name            string
	node, service   string
	cluster, before string
}

// data is what subscribers get.
func (e nodeEvent) data() map[string]any {
	if e.cluster != "" {
		return map[string]any{"cluster": e.cluster, "before": e.before}
	}
	return map[string]any{"node": e.node, "service": e.service}
}

// mostEvents bounds the outbox, should a subscriber never return.
const mostEvents = 4096

// outbox holds the events of an app that have not gone out yet, and hands them to the
// subscribers in a goroutine of its own: one who is slow or panics holds up nobody
// else. It keeps all until it is opened.
type outbox struct {
	emit   func(nodeEvent)
	logger *zap.Logger

	mu       sync.Mutex
	waiting  []nodeEvent
	opened   bool
	draining bool // the goroutine runs
	ended    bool
}

func newOutbox(emit func(nodeEvent), logger *zap.Logger) *outbox {
	return &outbox{emit: emit, logger: logger}
}

// add puts events into the outbox.
func (o *outbox) add(events ...nodeEvent) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.ended {
		return
	}
	for _, event := range events {
		if len(o.waiting) == mostEvents {
			o.logger.Error("event is lost: its subscribers are too slow",
				zap.String("event", event.name), zap.String("node", event.node), zap.String("service", event.service))
			continue
		}
		o.waiting = append(o.waiting, event)
	}
	o.drain()
}

// open lets the events go out.
func (o *outbox) open() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.opened = true
	o.drain()
}

// end closes the outbox for good and returns the events that have not gone out.
func (o *outbox) end() (left []nodeEvent) {
	o.mu.Lock()
	defer o.mu.Unlock()
	left, o.waiting, o.ended = o.waiting, nil, true
	return left
}

// drain lets a goroutine hand out what waits, unless one does already. The caller
// holds mu.
func (o *outbox) drain() {
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
func (o *outbox) next() (event nodeEvent, found bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.draining = len(o.waiting) > 0; !o.draining {
		return event, false
	}
	event, o.waiting = o.waiting[0], o.waiting[1:]
	return event, true
}

// handOut hands an event to its subscribers.
func (o *outbox) handOut(event nodeEvent) {
	defer func() {
		if panicked := recover(); panicked != nil {
			o.logger.Error("subscriber of an event panicked", zap.String("event", event.name), zap.String("node", event.node),
				zap.Any("error", panicked), zap.ByteString("stack", debug.Stack()))
		}
	}()
	o.emit(event)
}
