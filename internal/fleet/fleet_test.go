package fleet

import (
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/service"
)

// census counts what is there by what it was told.
type census struct{ nodes, probers atomic.Int64 }

func (c *census) NodeJoined(address string) (attached any) {
	c.nodes.Add(1)
	return address
}
func (c *census) NodeLeft(*Node)       { c.nodes.Add(-1) }
func (c *census) ProberJoined(*Prober) { c.probers.Add(1) }
func (c *census) ProberLeft(*Prober)   { c.probers.Add(-1) }

func TestAThousandReloadsOfManySitesLeaveNothingBehind(t *testing.T) {
	var seen census
	f := New(&seen)
	word := Word{}.Drained("m0", time.Hour, time.Now())
	all := func(service.Service) bool { return true }
	var group sync.WaitGroup
	for site := range 4 {
		group.Go(func() {
			type held struct {
				node   *Node
				prober *Prober
			}
			var before []held
			for reload := range 1000 {
				var after []held
				for i := range 2 + (reload+site)%2 {
					address := fmt.Sprintf("m%d", i)
					key := fmt.Sprint(address, reload%3)
					h := held{f.Node(address), f.Prober(address, key, [service.Count]string{address, address, address}, all)}
					if h.node.Attached != address || h.prober.Address != address {
						t.Errorf("asked for %s, got %v and %s", address, h.node.Attached, h.prober.Address)
					}
					h.node.Follow(word, time.Now())
					after = append(after, h)
				}
				for _, h := range before {
					h.prober.Release()
					f.ReleaseNode(h.node)
				}
				if before = after; !before[0].node.IsDrained() {
					t.Error("a reload ended a drain")
				}
				if reload%100 == site {
					f.Tidy()
				}
			}
			for _, h := range before {
				h.prober.Release()
				f.ReleaseNode(h.node)
			}
		})
	}
	for version := range 100 {
		word := word
		word.Version += int64(version)
		f.Follow(word, time.Now())
	}
	group.Wait()
	if nodes, probers := f.Count(); nodes+probers+len(f.byKin) != 0 || seen.nodes.Load() != 0 || seen.probers.Load() != 0 {
		t.Errorf("%d nodes, %d probers and %d kinds of them are left", nodes, probers, len(f.byKin))
	}
}
