package address

import (
	"math/rand/v2"
	"slices"
	"testing"
)

func TestNamesAreOrderedAsPeopleDo(t *testing.T) {
	want := []string{
		"10.0.0.2:14240", "10.0.0.9:14240", "10.0.0.10:14240", "10.0.1.1:14240",
		"m1:9000", "m1:14240", "m2:14240", "m03:14240", "m3:14240", "m10:14240",
		"node", "node-2.rack-10", "node-10.rack-9", "node2",
	}
	for range 100 {
		got := slices.Clone(want)
		rand.Shuffle(len(got), func(i, j int) { got[i], got[j] = got[j], got[i] })
		slices.SortFunc(got, Compare)
		if !slices.Equal(got, want) {
			t.Fatalf("the order is %q, want %q", got, want)
		}
	}
	for _, name := range want {
		if Compare(name, name) != 0 {
			t.Errorf("%s is not itself", name)
		}
	}
}
