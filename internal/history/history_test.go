package history

import (
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

func TestTheNewestComeFirstAndTheOldestAreForgotten(t *testing.T) {
	for _, test := range []struct {
		most, added uint64
		want        string
	}{
		{3, 0, ""},
		{3, 1, "0"},
		{3, 3, "2 1 0"},
		{3, 4, "3 2 1"},
		{3, 8, "7 6 5"},
		{1, 2, "1"},
	} {
		log := New(test.most)
		for i := range test.added {
			log.Add(Transition{Node: strconv.FormatUint(i, 10)})
		}
		newest, seen := log.Newest()
		var nodes []string
		for _, transition := range newest {
			nodes = append(nodes, transition.Node)
		}
		if got := strings.Join(nodes, " "); got != test.want || seen != test.added {
			t.Errorf("of %d with room for %d there are %q, seen %d; want %q", test.added, test.most, got, seen, test.want)
		}
	}
}

func TestAnOutageOfAHundredNodesTakesTheRoomOfOne(t *testing.T) {
	log := New(20)
	began := time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)
	for i := range 10 {
		log.Add(Transition{Time: began, Node: "m1:14240", Service: "gui", From: "up", To: "down", Why: strconv.Itoa(i)})
	}
	for i := range 100 {
		address := "10.0.0." + strconv.Itoa(i) + ":14240"
		log.Add(Transition{
			Time: began.Add(time.Duration(i) * 50 * time.Millisecond), Node: address, Service: "gui", From: "up", To: "down",
			Why: "dial tcp " + address + ": connect: connection refused",
		})
	}
	if newest, _ := log.Newest(); len(newest) != 110 {
		t.Errorf("%d are left of 110", len(newest))
	}
	// The same node again is another outage.
	for i := range 20 {
		log.Add(Transition{Time: began.Add(time.Second * time.Duration(i)), Node: "m1:14240", Service: "gui", From: "up", To: "down", Why: "it flaps"})
	}
	if newest, seen := log.Newest(); len(newest) != 20 || seen != 130 {
		t.Errorf("%d are left of %d", len(newest), seen)
	}
	for i := range 1000 {
		log.Add(Transition{Time: began, Node: strconv.Itoa(i), From: "up", To: "down", Why: "no answer within 2s"})
	}
	if newest, _ := log.Newest(); len(newest) != 200 {
		t.Errorf("an outage of a thousand nodes leaves %d", len(newest))
	}
}

func TestWhatWasReturnedDoesNotChange(t *testing.T) {
	log := New(2)
	log.Add(Transition{Node: "m1"})
	before, _ := log.Newest()
	log.Add(Transition{Node: "m2"})
	log.Add(Transition{Node: "m3"})
	if len(before) != 1 || before[0].Node != "m1" {
		t.Errorf("it became %+v", before)
	}
}

func TestSeveralMayAddAtOnce(t *testing.T) {
	log := New(10)
	var adding sync.WaitGroup
	for range 8 {
		adding.Go(func() {
			for range 100 {
				log.Add(Transition{Node: "m1"})
				log.Newest()
			}
		})
	}
	adding.Wait()
	if newest, seen := log.Newest(); len(newest) != 10 || seen != 800 {
		t.Errorf("%d are left of %d", len(newest), seen)
	}
}
