package tigergraph

import (
	"slices"
	"sync"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
)

// subscriber keeps the names of the events that it gets.
type subscriber struct {
	mu    sync.Mutex
	names []string
}

func (s *subscriber) handle(event nodeEvent) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.names = append(s.names, event.name)
}

func (s *subscriber) got() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.names)
}

func TestEventsWaitForTheStartAndKeepTheirOrder(t *testing.T) {
	var s subscriber
	o := newOutbox(s.handle, zap.NewNop())
	o.add(nodeEvent{name: "1"}, nodeEvent{name: "2"})
	if got := s.got(); len(got) > 0 {
		t.Fatalf("%q went out before the start", got)
	}
	o.open()
	o.add(nodeEvent{name: "3"})
	until(t, "three events", func() bool { return slices.Equal(s.got(), []string{"1", "2", "3"}) })
	o.add(nodeEvent{name: "4"})
	until(t, "a fourth", func() bool { return slices.Equal(s.got(), []string{"1", "2", "3", "4"}) })
}

// What a slow subscriber has not got at a reload is handed to the next configuration.
func TestASlowSubscriberHoldsUpNobodyAndLosesNothing(t *testing.T) {
	var s subscriber
	called, goOn := make(chan struct{}), make(chan struct{})
	slow := newOutbox(func(event nodeEvent) {
		called <- struct{}{}
		<-goOn
		s.handle(event)
	}, zap.NewNop())
	slow.open()
	slow.add(nodeEvent{name: "1"})
	<-called
	slow.add(nodeEvent{name: "2"}, nodeEvent{name: "3"})
	left := slow.end()
	slow.add(nodeEvent{name: "late"})
	close(goOn)
	next := newOutbox(s.handle, zap.NewNop())
	next.open()
	next.add(left...)
	until(t, "all events", func() bool { return len(s.got()) == 3 })
	if got := s.got(); !slices.Contains(got, "1") || slices.Index(got, "2") > slices.Index(got, "3") {
		t.Errorf("%q went out", got)
	}
}

func TestASubscriberThatPanicsIsLoggedAndGetsTheNextEvent(t *testing.T) {
	core, logs := observer.New(zap.ErrorLevel)
	var s subscriber
	o := newOutbox(func(event nodeEvent) {
		if event.name == "1" {
			panic("the subscriber")
		}
		s.handle(event)
	}, zap.New(core))
	o.open()
	o.add(nodeEvent{name: "1", node: "m1:14240"}, nodeEvent{name: "2"})
	until(t, "the second event", func() bool { return slices.Equal(s.got(), []string{"2"}) })
	if lines := logs.FilterMessageSnippet("panicked").All(); len(lines) != 1 || lines[0].ContextMap()["node"] != "m1:14240" {
		t.Errorf("logged %v", lines)
	}
}

func TestTheOutboxIsBounded(t *testing.T) {
	core, logs := observer.New(zap.ErrorLevel)
	o := newOutbox(func(nodeEvent) {}, zap.New(core))
	for range mostEvents + 3 {
		o.add(nodeEvent{name: "node_down"})
	}
	if waiting := len(o.end()); waiting != mostEvents || logs.Len() != 3 {
		t.Errorf("%d events wait, %d are logged to be lost", waiting, logs.Len())
	}
}
