package history

import (
	"strconv"
	"strings"
	"sync"
	"testing"
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
