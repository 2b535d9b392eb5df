package fleet

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"
)

// subscriber keeps what it is told.
type subscriber struct {
	on func(Event) // is called before an event is kept; may be nil

	mu             sync.Mutex
	names          []string
	panicked, lost []Event
}

func (s *subscriber) Emit(event Event) {
	if s.on != nil {
		s.on(event)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.names = append(s.names, event.Name)
}

func (s *subscriber) Panicked(event Event, _ any, _ []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.panicked = append(s.panicked, event)
}

func (s *subscriber) Lost(event Event) { s.lost = append(s.lost, event) }

// await waits until the names of the events are these, in any order.
func (s *subscriber) await(t *testing.T, want ...string) (got []string) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(time.Millisecond) {
		s.mu.Lock()
		got = slices.Clone(s.names)
		s.mu.Unlock()
		if fmt.Sprint(slices.Sorted(slices.Values(got))) == fmt.Sprint(want) {
			return got
		}
		if time.Now().After(deadline) {
			t.Fatalf("%q went out, want %q", got, want)
		}
	}
}

func TestEventsWaitForTheStartAndKeepTheirOrder(t *testing.T) {
	var s subscriber
	o := NewOutbox(&s)
	o.Add(Event{Name: "1"}, Event{Name: "2"})
	if len(s.names) > 0 {
		t.Fatalf("%q went out before the start", s.names)
	}
	o.Open()
	o.Add(Event{Name: "3"})
	if got := s.await(t, "1", "2", "3"); !slices.IsSorted(got) {
		t.Errorf("the order is %q", got)
	}
	o.Add(Event{Name: "4"})
	s.await(t, "1", "2", "3", "4")
}

// What a slow subscriber has not got at a reload is handed to the next configuration.
func TestASlowSubscriberHoldsUpNobodyAndLosesNothing(t *testing.T) {
	called, goOn := make(chan struct{}), make(chan struct{})
	slow := subscriber{on: func(Event) {
		called <- struct{}{}
		<-goOn
	}}
	before := NewOutbox(&slow)
	before.Open()
	before.Add(Event{Name: "1"})
	<-called
	before.Add(Event{Name: "2"}, Event{Name: "3"})
	left := before.End()
	before.Add(Event{Name: "late"})
	close(goOn)
	slow.await(t, "1")
	var s subscriber
	next := NewOutbox(&s)
	next.Open()
	next.Add(left...)
	if got := s.await(t, "2", "3"); !slices.IsSorted(got) {
		t.Errorf("the order is %q", got)
	}
}

func TestASubscriberThatPanicsIsToldOfAndGetsTheNextEvent(t *testing.T) {
	s := subscriber{on: func(event Event) {
		if event.Name == "1" {
			panic("the subscriber")
		}
	}}
	o := NewOutbox(&s)
	o.Open()
	o.Add(Event{Name: "1", Node: "m1:14240"}, Event{Name: "2"})
	s.await(t, "2")
	if len(s.panicked) != 1 || s.panicked[0].Node != "m1:14240" {
		t.Errorf("told of %v", s.panicked)
	}
}

func TestTheOutboxIsBounded(t *testing.T) {
	var s subscriber
	o := NewOutbox(&s)
	for range mostEvents + 3 {
		o.Add(Event{Name: "node_down"})
	}
	if waiting := len(o.End()); waiting != mostEvents || len(s.lost) != 3 {
		t.Errorf("%d events wait, %d are lost", waiting, len(s.lost))
	}
}
