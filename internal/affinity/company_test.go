package affinity

import "testing"

// A browser is remembered while it waits for an answer, and those that lost their nodes
// for a moment more: so many of them, and no more.
func TestTheMemoryOfUnansweredRequestsIsBounded(t *testing.T) {
	var companies Companies[int]
	for i := range uint64(mostStraggling + 1000) {
		companies.Join(Browser[int]{Address: i, Lost: 1, Cookies: 1}).Leave()
	}
	if length := companies.Len(); length > mostStraggling {
		t.Errorf("%d browsers that wait for nothing are remembered", length)
	}
	var others Companies[int]
	for i := range uint64(1000) {
		others.Join(Browser[int]{Address: i}).Leave()
	}
	if length := others.Len(); length != 0 {
		t.Errorf("%d browsers without a session are remembered", length)
	}
}
