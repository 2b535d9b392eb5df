package affinity

import (
	"testing"
	"time"
)

func TestAMovedClientIsRememberedPerService(t *testing.T) {
	moved := NewMoved(time.Hour, 10)
	if !moved.Empty() {
		t.Error("a new memory is not empty")
	}
	moved.Remember(Client{Key: 1, Service: 2}, "m2")
	if moved.Empty() {
		t.Error("the memory is empty although a client was remembered")
	}
	if address, found := moved.Find(Client{Key: 1, Service: 2}); !found || address != "m2" {
		t.Errorf("found %q, %t", address, found)
	}
	if address, found := moved.Find(Client{Key: 1, Service: 1}); found {
		t.Errorf("another service's client is at %q", address)
	}
	moved.Forget(Client{Key: 1, Service: 2})
	moved.Tidy()
	if _, found := moved.Find(Client{Key: 1, Service: 2}); found || !moved.Empty() {
		t.Error("a forgotten client is remembered")
	}
}

func TestTheMemoryOfMovedClientsIsBounded(t *testing.T) {
	moved := NewMoved(time.Hour, 100)
	for key := range uint64(1000) {
		moved.Remember(Client{Key: key}, "m2")
		moved.Find(Client{Key: 0}) // the first one is seen again and again
	}
	if moved.Len() != 100 {
		t.Errorf("%d clients are remembered, want 100", moved.Len())
	}
	for key, want := range map[uint64]bool{0: true, 1: false, 899: false, 950: true, 999: true} {
		if _, found := moved.Find(Client{Key: key}); found != want {
			t.Errorf("client %d is remembered: %t, want %t", key, found, want)
		}
	}
}

func TestAnIdleClientIsForgotten(t *testing.T) {
	moved := NewMoved(time.Millisecond, 10)
	moved.Remember(Client{Key: 1}, "m2")
	for deadline := time.Now().Add(20 * time.Second); !moved.Empty(); moved.Tidy() {
		if time.Now().After(deadline) {
			t.Fatal("an idle client is still remembered")
		}
	}
	if moved.Len() != 0 {
		t.Errorf("%d clients are remembered", moved.Len())
	}
}
