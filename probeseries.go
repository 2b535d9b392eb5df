package tigergraph

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/health"
	"github.com/caddy-tigergraph/caddy-tigergraph/internal/service"
)

// Of a large cluster, what is of interest about few of its nodes has no series of the
// others: with more than so many nodes, how long the probes of a service took is told
// of those that have been slow, and changes of a verdict from the first one on.
const (
	mostInDetail = 100
	slowProbe    = 500 * time.Millisecond
)

// labelled counts the probers of each address, so that the series of a node that
// nobody checks any more can be deleted.
var labelled = labelCount{nodes: make(map[string]*labelledNode)}

type labelCount struct {
	mu    sync.RWMutex // of which the many who count hold their share
	nodes map[string]*labelledNode
	timed atomic.Int64 // how many services of nodes have a series of how long probes took
}

// labelledNode is a node that has series.
type labelledNode struct {
	probers  int
	services [service.Count]probeSeries
}

// probeSeries are the series of a service's probes. Each is looked up once: while a
// thousand nodes are probed, the look-ups would queue for the lock of all series.
type probeSeries struct {
	passed, failed, duration atomic.Pointer[prometheus.Metric]

	mu            sync.Mutex
	probed, timed bool
}

func countProbe(node string, s service.Service, passed bool, took time.Duration) {
	labelled.ifKnown(node, func(l *labelledNode) { l.services[s].count(node, s, passed, took) })
}

func countTransition(node string, s service.Service, to string) {
	labelled.ifKnown(node, func(*labelledNode) { transitionsTotal.WithLabelValues(node, s.String(), to).Inc() })
}

// count counts a probe. The caller has seen to it that the node is known still.
func (p *probeSeries) count(node string, s service.Service, passed bool, took time.Duration) {
	kept, result := &p.failed, "fail"
	if passed {
		kept, result = &p.passed, "pass"
	}
	found(kept, func() prometheus.Metric { return probesTotal.WithLabelValues(node, s.String(), result) }).(prometheus.Counter).Inc()
	if p.isTimed(took) {
		found(&p.duration, func() prometheus.Metric {
			return probeDuration.WithLabelValues(node, s.String()).(prometheus.Metric)
		}).(prometheus.Observer).Observe(took.Seconds())
	}
}

// isTimed reports whether there is a series of how long the probes take, or is to be
// one because this probe took so long or the nodes are few. The caller holds a share
// of labelled's lock.
func (p *probeSeries) isTimed(took time.Duration) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.timed {
		// All the first ones are made at once, and their slowness is not the node's.
		// Where everything is slow, it is that of the edge.
		slow := p.probed && took >= slowProbe && labelled.timed.Load() < mostInDetail
		if p.timed = slow || len(labelled.nodes) <= mostInDetail; p.timed {
			labelled.timed.Add(1)
		}
		p.probed = true
	}
	return p.timed
}

// found returns a metric that is kept, looked up the first time.
func found(kept *atomic.Pointer[prometheus.Metric], lookUp func() prometheus.Metric) prometheus.Metric {
	if known := kept.Load(); known != nil {
		return *known
	}
	metric := lookUp()
	kept.Store(&metric)
	return metric
}

// add notes one more prober, and reports whether the nodes are few.
func (l *labelCount) add(node string) (few bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.nodes[node] == nil {
		l.nodes[node] = new(labelledNode)
	}
	l.nodes[node].probers++
	return len(l.nodes) <= mostInDetail
}

// isFew reports whether the nodes are few.
func (l *labelCount) isFew() bool {
	l.mu.RLock()
	defer l.mu.RUnlock()
	return len(l.nodes) <= mostInDetail
}

// ifKnown counts something of a node, unless the last prober of it has just ended:
// a series made now would never be deleted.
func (l *labelCount) ifKnown(node string, count func(*labelledNode)) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	if known := l.nodes[node]; known != nil {
		count(known)
	}
}

func (l *labelCount) remove(node string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	known := l.nodes[node]
	if known.probers--; known.probers > 0 {
		return
	}
	for s := range known.services {
		if known.services[s].timed {
			l.timed.Add(-1)
		}
	}
	delete(l.nodes, node)
	for s := range service.Count {
		probesTotal.DeleteLabelValues(node, s.String(), "pass")
		probesTotal.DeleteLabelValues(node, s.String(), "fail")
		probeDuration.DeleteLabelValues(node, s.String())
		for to := range health.Verdicts {
			transitionsTotal.DeleteLabelValues(node, s.String(), to.String())
		}
	}
}
