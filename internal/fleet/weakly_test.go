package fleet

import (
	"runtime"
	"testing"
)

func TestWhatIsHeldWeaklyGoesWithItsHolder(t *testing.T) {
	var held Weakly[[64]int]
	kept := new([64]int)
	held.Add(kept)
	for range 10 {
		held.Add(new([64]int))
	}
	if all := held.All(); len(all) == 0 || all[0] != kept {
		t.Fatalf("%d are there, the first of them is %p, want %p", len(all), all[0], kept)
	}
	runtime.GC()
	if all := held.All(); len(all) != 1 || all[0] != kept {
		t.Errorf("%d are left, want the one that is in use", len(all))
	}
	held.Add(kept)
	if len(held.values) != 2 {
		t.Errorf("%d places are taken, of which 2 are in use", len(held.values))
	}
	runtime.KeepAlive(kept)
}
