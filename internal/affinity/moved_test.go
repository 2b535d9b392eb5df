package affinity

import (
	"testing"
	"time"
)

func TestAMovedClientIsRememberedPerService(t *testing.T) {
	memory := NewMoved(10)
	moved := memory.Join("client_ip", []string{"m1", "m2"}, time.Hour)
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
	memory.Tidy()
	if _, found := moved.Find(Client{Key: 1, Service: 2}); found || !moved.Empty() {
		t.Error("a forgotten client is remembered")
	}
}

func TestPoliciesShareMovedClientsByWhatTheyMean(t *testing.T) {
	client := Client{Key: 1}
	before := []string{"m1", "m2", "m3"}
	for name, test := range map[string]struct {
		kind   string
		nodes  []string
		shared bool
	}{
		"the same nodes":                {"client_ip", before, true},
		"the same nodes, another order": {"client_ip", []string{"m3", "m1", "m2"}, true},
		"a node more":                   {"client_ip", []string{"m0", "m1", "m2", "m3"}, true},
		"a node less":                   {"client_ip", []string{"m2", "m3"}, true},
		"other nodes":                   {"client_ip", []string{"n1", "n2", "n3"}, false},
		"other clients":                 {"header X-User", before, false},
	} {
		t.Run(name, func(t *testing.T) {
			memory := NewMoved(10)
			old := memory.Join("client_ip", before, time.Hour)
			old.Remember(client, "m2")
			reloaded := memory.Join(test.kind, test.nodes, time.Minute)
			old.Leave()
			old.Leave() // once more changes nothing
			if _, found := reloaded.Find(client); found != test.shared || reloaded.Empty() == test.shared {
				t.Errorf("shared: %t, empty: %t, want shared: %t", found, reloaded.Empty(), test.shared)
			}
			reloaded.Leave()
			if memory.Len() != 0 || len(memory.groups) != 0 {
				t.Errorf("%d clients of %d groups are left although no policy is", memory.Len(), len(memory.groups))
			}
		})
	}
}

func TestOfTwoGroupsWithNodesInCommonTheOneWithMoreIsJoined(t *testing.T) {
	memory := NewMoved(10)
	two := memory.Join("client_ip", []string{"m1", "m2"}, time.Hour)
	other := memory.Join("client_ip", []string{"n1", "n2", "n3"}, time.Hour)
	two.Remember(Client{Key: 1}, "m1")
	other.Remember(Client{Key: 1}, "n1")
	joined := memory.Join("client_ip", []string{"m1", "n1", "n2"}, time.Hour)
	if address, _ := joined.Find(Client{Key: 1}); address != "n1" {
		t.Errorf("the client is at %q", address)
	}
}

func TestTheMemoryOfMovedClientsHasOneBound(t *testing.T) {
	memory := NewMoved(100)
	moved := memory.Join("client_ip", []string{"m1"}, time.Hour)
	other := memory.Join("client_ip", []string{"n1"}, time.Hour)
	for key := range uint64(1000) {
		moved.Remember(Client{Key: key}, "m2")
		moved.Find(Client{Key: 0}) // the first one is seen again and again
	}
	if memory.Len() != 100 {
		t.Errorf("%d clients are remembered, want 100", memory.Len())
	}
	for key, want := range map[uint64]bool{0: true, 1: false, 899: false, 950: true, 999: true} {
		if _, found := moved.Find(Client{Key: key}); found != want {
			t.Errorf("client %d is remembered: %t, want %t", key, found, want)
		}
	}
	for key := range uint64(1000) {
		other.Remember(Client{Key: key}, "n2")
	}
	if memory.Len() != 100 {
		t.Errorf("%d clients of both are remembered, want 100", memory.Len())
	}
}

func TestAnIdleClientIsForgotten(t *testing.T) {
	memory := NewMoved(10)
	moved := memory.Join("client_ip", []string{"m1"}, time.Millisecond)
	moved.Remember(Client{Key: 1}, "m2")
	for deadline := time.Now().Add(20 * time.Second); !moved.Empty(); memory.Tidy() {
		if time.Now().After(deadline) {
			t.Fatal("an idle client is still remembered")
		}
	}
	if memory.Len() != 0 {
		t.Errorf("%d clients are remembered", memory.Len())
	}
}
