package tigergraph

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/service"
	"github.com/caddy-tigergraph/caddy-tigergraph/internal/statuspage"
)

func TestTheTrafficIsThatOfTheMetrics(t *testing.T) {
	counters := newRequestCounters("10.9.0.1:14240")
	defer counters.Leave(counters.forget)
	now := time.Now()
	if traffic := counters.trafficOf(service.RESTPP, now.Add(2*time.Second)); traffic != nil {
		t.Errorf("before any request there is %+v", traffic)
	}
	for range 95 {
		counters.countAnswer(service.RESTPP, 200, 10*time.Millisecond)
	}
	for range 25 {
		counters.countAnswer(service.RESTPP, 503, 2*time.Second)
	}
	counters.countAnswer(service.GSQL, 404, time.Second)
	counters.count(service.RESTPP, 0)
	traffic := counters.trafficOf(service.RESTPP, now.Add(20*time.Second))
	if traffic == nil || traffic.PerSecond < 5 || traffic.PerSecond > 6.2 || traffic.ErrorsPerSecond < 1 || traffic.ErrorsPerSecond > 1.4 ||
		traffic.P95MS == nil || *traffic.P95MS < 1600 || *traffic.P95MS > 2400 {
		t.Errorf("121 requests in 20 s, 26 of them errors, are %+v", traffic)
	}
	if traffic := counters.trafficOf(service.GSQL, now.Add(20*time.Second)); traffic == nil || traffic.ErrorsPerSecond != 0 {
		t.Errorf("a 404 is an error: %+v", traffic)
	}
	// However many ask, the metrics are read every two seconds.
	counters.countAnswer(service.GSQL, 200, time.Second)
	before := *counters.trafficOf(service.GSQL, now.Add(20*time.Second))
	if after := *counters.trafficOf(service.GSQL, now.Add(21*time.Second)); after.PerSecond != before.PerSecond {
		t.Errorf("a second later the metrics were read again: %+v, %+v", before, after)
	}
}

func TestCountingARequestAllocatesNothing(t *testing.T) {
	counters := newRequestCounters("10.9.0.2:14240")
	defer counters.Leave(counters.forget)
	count := func() {
		counters.countAnswer(service.RESTPP, 200, 10*time.Millisecond)
		counters.countAnswer(service.RESTPP, 599, 10*time.Millisecond)
		counters.count(service.GUI, 1)
		counters.countRetry(service.GSQL)
	}
	count()
	if allocations := testing.AllocsPerRun(1000, count); allocations > 0 {
		t.Errorf("%v allocations", allocations)
	}
}

// BenchmarkStatusOfAHundredBusyNodes measures what one page costs a second, all told:
// the snapshot, what has changed of it, and reading the metrics of a hundred nodes, all of
// whose services have answered since. 20 ms would be 2 % of a core.
func BenchmarkStatusOfAHundredBusyNodes(b *testing.B) {
	var dials []string
	for i := range 100 {
		dials = append(dials, fmt.Sprintf("10.9.1.%d:14240", i+1))
	}
	p, _ := loadPolicy(b, `"load_balancing":{"selection_policy":{"policy":"tigergraph","health_check_off":true}}`, dials...)
	random := rand.New(rand.NewPCG(1, 2))
	answer := func() {
		for _, m := range p.allMembers() {
			for s := range service.Count {
				for _, status := range []int{200, 200, 404, 503} {
					m.requests.countAnswer(s, status, time.Duration(random.ExpFloat64()*float64(50*time.Millisecond)))
				}
			}
		}
	}
	for range 200 {
		answer() // so that the histograms have all their buckets
	}
	for _, reads := range []bool{false, true} {
		b.Run(fmt.Sprintf("reads=%t", reads), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				b.StopTimer()
				answer()
				for _, m := range p.allMembers() {
					for s := range service.Count {
						if reads { // as if two seconds had passed
							m.requests.traffic[s] = statuspage.Counts{}
						}
					}
				}
				b.StartTimer()
				feed := statuspage.NewFeed(p.app.snapshot, func(err error) { b.Error(err) })
				if _, err := feed.Snapshot(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
