package fleet

import (
	"slices"
	"strconv"
	"testing"
)

// Clients choose how many queries and sessions they begin.
func TestEachMemoryOfAFleetIsBounded(t *testing.T) {
	f := New(new(census))
	const most, clients = 1 << 16, 1<<16 + 1000
	for i := range clients {
		id := strconv.Itoa(i)
		f.Queries.Remember(id, "m1:14240")
		f.Sessions.Remember(id, "m1:14240")
	}
	if count := f.Sessions.Len(); count > most {
		t.Errorf("%d sessions are remembered, more than %d", count, most)
	}
	count := 0
	for i := range clients {
		count += len(slices.Collect(f.Queries.Nodes("requestid=" + strconv.Itoa(i))))
	}
	if count > most {
		t.Errorf("%d queries are remembered, more than %d", count, most)
	}
}
