package fleet

import "testing"

func TestTheNewestIsTheLastThatStartedAndHasNotEnded(t *testing.T) {
	var started Started[int]
	if newest := started.Newest(); newest != nil {
		t.Errorf("of none the newest is %v", newest)
	}
	older, newer := new(int), new(int)
	started.Add(older)
	started.Add(newer)
	if started.Newest() != newer {
		t.Error("the newest is another")
	}
	started.Remove(newer) // as where a reload has failed
	if started.Newest() != older {
		t.Error("the older one is not the newest again")
	}
	started.Remove(older)
	if started.Newest() != nil {
		t.Error("one is left")
	}
}
