package affinity

import (
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

func TestAMovedClientIsRememberedPerService(t *testing.T) {
	memory := NewMoved(10)
	moved := memory.Join(1, "client_ip", []string{"m1", "m2"}, time.Hour)
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
			old := memory.Join(1, "client_ip", before, time.Hour)
			old.Remember(client, "m2")
			reloaded := memory.Join(2, test.kind, test.nodes, time.Minute)
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
	two := memory.Join(1, "client_ip", []string{"m1", "m2"}, time.Hour)
	other := memory.Join(1, "client_ip", []string{"n1", "n2", "n3"}, time.Hour)
	two.Remember(Client{Key: 1}, "m1")
	other.Remember(Client{Key: 1}, "n1")
	joined := memory.Join(2, "client_ip", []string{"m1", "n1", "n2"}, time.Hour)
	if address, _ := joined.Find(Client{Key: 1}); address != "n1" {
		t.Errorf("the client is at %q", address)
	}
}

func TestSitesOfOneConfigurationShareNothingUnlessTheirNodesAreTheSame(t *testing.T) {
	memory := NewMoved(10)
	site := memory.Join(1, "client_ip", []string{"m1", "m2", "m3"}, time.Hour)
	site.Remember(Client{Key: 1}, "m2")
	if same := memory.Join(1, "client_ip", []string{"m3", "m2", "m1"}, time.Hour); same.group != site.group {
		t.Error("two sites over the same nodes do not share what they know")
	}
	if other := memory.Join(1, "client_ip", []string{"m2", "m3"}, time.Hour); other.group == site.group {
		t.Error("a site over other nodes shares what another one knows")
	}
}

// The order in which a configuration's sites are read is that of their names.
func TestAReloadThatAddsASiteTakesNothingFromOthers(t *testing.T) {
	memory := NewMoved(10)
	client := Client{Key: 1}
	three, one := []string{"m1", "m2", "m3"}, []string{"m1"}
	before := memory.Join(1, "client_ip", three, time.Hour)
	before.Remember(client, "m2")
	added := memory.Join(2, "client_ip", one, time.Hour)
	after := memory.Join(2, "client_ip", three, time.Hour)
	before.Leave()
	added.Forget(client) // for it knows no such node
	if address, _ := after.Find(client); address != "m2" {
		t.Errorf("the client is at %q", address)
	}
	added.Leave()
	after.Leave()
	if memory.Len() != 0 || len(memory.groups) != 0 {
		t.Errorf("%d clients of %d groups are left", memory.Len(), len(memory.groups))
	}
}

// What two sites have in common may be what a reload removes.
func TestAReloadThatRemovesTheCommonNodeOfTwoSitesMovesNobody(t *testing.T) {
	memory := NewMoved(10)
	first := memory.Join(1, "client_ip", []string{"m1", "m2", "m3"}, time.Hour)
	second := memory.Join(1, "client_ip", []string{"m3", "m4", "m5"}, time.Hour)
	first.Remember(Client{Key: 1}, "m2")
	second.Remember(Client{Key: 1}, "m4")
	reloaded := memory.Join(2, "client_ip", []string{"m1", "m2"}, time.Hour)
	other := memory.Join(2, "client_ip", []string{"m4", "m5"}, time.Hour)
	first.Leave()
	second.Leave()
	for at, site := range map[string]*MovedClients{"m2": reloaded, "m4": other} {
		if address, _ := site.Find(Client{Key: 1}); address != at {
			t.Errorf("the client that was at %s is at %q", at, address)
		}
	}
}

func TestAFailedReloadChangesNothingForThoseWhoWereMoved(t *testing.T) {
	memory := NewMoved(10)
	running := memory.Join(1, "client_ip", []string{"m1", "m2"}, time.Hour)
	running.Remember(Client{Key: 1}, "m2")
	for configuration := range 1000 {
		memory.Join(-configuration, "client_ip", []string{"m2", "n1"}, time.Hour).Leave()
	}
	reloaded := memory.Join(2, "client_ip", []string{"m1", "m2"}, time.Hour)
	running.Leave()
	if address, _ := reloaded.Find(Client{Key: 1}); address != "m2" || len(memory.groups) != 1 || len(memory.groups[0].members) != 1 {
		t.Errorf("the client is at %q, of %d groups", address, len(memory.groups))
	}
}

func TestAThousandReloadsWhileRequestsComeLeaveNothingBehind(t *testing.T) {
	const sites = 3
	memory := NewMoved(1000)
	nodes := []string{"m1", "m2", "m3", "m4"}
	var current atomic.Pointer[MovedClients]
	join := func(configuration int) (parts []*MovedClients) {
		for site := range sites {
			parts = append(parts, memory.Join(configuration, "client_ip", nodes[:2+(configuration+site)%3], time.Hour))
		}
		current.Store(parts[0])
		return parts
	}
	parts := join(0)
	stop := make(chan struct{})
	var group sync.WaitGroup
	for worker := range 4 {
		group.Go(func() {
			for key := uint64(worker); ; key += 4 {
				select {
				case <-stop:
					return
				default:
				}
				part, client := current.Load(), Client{Key: key % 2000}
				part.Remember(client, "m1")
				part.Find(client)
				if key%3 == 0 {
					part.Forget(client)
				}
				if key%100 == 0 {
					memory.Tidy()
				}
			}
		})
	}
	part := parts[0]
	part.Remember(Client{Key: 1 << 40}, "m2")
	for configuration := range 1000 {
		after := join(configuration + 1)
		for _, part := range parts {
			part.Leave()
		}
		parts = after
	}
	close(stop)
	group.Wait()
	if groups := len(memory.groups); groups > sites {
		t.Errorf("%d groups are left of %d sites", groups, sites)
	}
	for _, part := range parts {
		part.Leave()
	}
	if len(memory.groups) != 0 || memory.Len() > 1000 {
		t.Errorf("%d groups and %d clients are left", len(memory.groups), memory.Len())
	}
}

func TestASourceHasItsNamesInCommonWithTheOneBefore(t *testing.T) {
	before := NodesOf([]byte(`{"source":"multi","sources":[{"source":"a","name":"tg.internal","port":"14240"},{"source":"srv","name":"_tg._tcp"}]}`))
	slices.Sort(before)
	for source, want := range map[string]int{
		`{"source":"a","name":"tg.internal","port":"14240","refresh":5000}`: 1,
		`{"source":"a","name":"other","port":"14240"}`:                      0,
		`{"source":"some"}`: 0,
		`"broken`:           0,
	} {
		nodes := NodesOf([]byte(source))
		slices.Sort(nodes)
		if got := inCommon(before, nodes); got != want {
			t.Errorf("%s has %d in common, want %d", source, got, want)
		}
	}
}

func TestTheMemoryOfMovedClientsHasOneBound(t *testing.T) {
	memory := NewMoved(100)
	moved := memory.Join(1, "client_ip", []string{"m1"}, time.Hour)
	other := memory.Join(1, "client_ip", []string{"n1"}, time.Hour)
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
	moved := memory.Join(1, "client_ip", []string{"m1"}, time.Millisecond)
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
