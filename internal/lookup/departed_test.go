package lookup_test

import (
	"slices"
	"testing"
	"time"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/lookup"
)

func TestNodesThatLeftAreRememberedForAWhile(t *testing.T) {
	now := time.Now()
	ago := func(d time.Duration) time.Time { return now.Add(-d) }
	const long = lookup.ForgetAfter
	for name, test := range map[string]struct {
		node      lookup.Presence
		forgotten bool
		seen      time.Time
	}{
		"met since the last look":           {lookup.Presence{InPool: true}, false, now},
		"met and gone since":                {lookup.Presence{}, false, now},
		"there, after a long time":          {lookup.Presence{Seen: ago(2 * long), There: true}, false, now},
		"gone for less than its time":       {lookup.Presence{Seen: ago(long - 1)}, false, ago(long - 1)},
		"gone for its time":                 {lookup.Presence{Seen: ago(long)}, true, ago(long)},
		"gone, and the last request had it": {lookup.Presence{Seen: ago(long), InPool: true}, true, ago(long)},
		"gone, and used without a source":   {lookup.Presence{Seen: ago(2 * long), Static: true}, false, ago(2 * long)},
		"seen by a clock that was set back": {lookup.Presence{Seen: now.Add(time.Hour)}, false, now.Add(time.Hour)},
	} {
		t.Run(name, func(t *testing.T) {
			nodes := []lookup.Presence{test.node}
			if forgotten := lookup.Forgotten(nodes, now); (len(forgotten) > 0) != test.forgotten {
				t.Errorf("forgotten: %v, want %t", forgotten, test.forgotten)
			}
			if !nodes[0].Seen.Equal(test.seen) {
				t.Errorf("seen at %s, want %s", nodes[0].Seen, test.seen)
			}
		})
	}
}

func TestOfManyNodesThatLeftThoseThatLeftLastAreRemembered(t *testing.T) {
	now := time.Now()
	var nodes []lookup.Presence
	for i := range lookup.MostDeparted + 10 { // the first left last
		nodes = append(nodes, lookup.Presence{Seen: now.Add(-time.Duration(i) * time.Second)})
	}
	last := len(nodes) - 1
	nodes[last].InPool, nodes[last-1].There, nodes[last-2].Static = true, true, true
	got := lookup.Forgotten(nodes, now)
	slices.Sort(got)
	var want []int // the last three do not count
	for i := lookup.MostDeparted; i < last-2; i++ {
		want = append(want, i)
	}
	if !slices.Equal(got, want) {
		t.Errorf("forgotten are %v, want %v", got, want)
	}
}
