package tigergraph

import (
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/balance"
	"github.com/caddy-tigergraph/caddy-tigergraph/internal/series"
	"github.com/caddy-tigergraph/caddy-tigergraph/internal/service"
)

// The counters live as long as the process and are registered with the registry
// of each configuration: Caddy makes a new one at every reload.
var (
	probesTotal = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "caddy_tigergraph_probes_total",
		Help: "Health probes by result, pass or fail.",
	}, []string{"node", "service", "result"})

	probeDuration = prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name:    "caddy_tigergraph_probe_duration_seconds",
		Help:    "How long health probes took.",
		Buckets: []float64{.05, .5, 1}, // few: a large cluster has three of these for each node
		// Those who scrape native histograms get them finer.
		NativeHistogramBucketFactor: nativeFactor, NativeHistogramMaxBucketNumber: nativeBuckets, NativeHistogramMinResetDuration: time.Hour,
	}, []string{"node", "service"})

	requestsTotal = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "caddy_tigergraph_requests_total",
		Help: "Attempts to have a node answer a request, by the status of the answer, or its class where that is unusual; 'error' if there was none, 'canceled' if the client left.",
	}, []string{"node", "service", "code"})

	requestDuration = prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name:                        "caddy_tigergraph_request_duration_seconds",
		Help:                        "How long it took a node to begin its answer to a request.",
		Buckets:                     []float64{.01, .1, .5, 2.5, 15}, // few, for the same reason
		NativeHistogramBucketFactor: nativeFactor, NativeHistogramMaxBucketNumber: nativeBuckets, NativeHistogramMinResetDuration: time.Hour,
	}, []string{"node", "service"})

	retriesTotal = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "caddy_tigergraph_retries_total",
		Help: "Attempts that failed on the node and went on to another.",
	}, []string{"node", "service"})

	transitionsTotal = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "caddy_tigergraph_transitions_total",
		Help: "Changes of a health verdict.",
	}, []string{"node", "service", "to"})

	displacedTotal = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "caddy_tigergraph_displaced_total",
		Help: "Browsers that belonged to the node and were sent to another, because it could not be used.",
	}, []string{"node"})

	lookupsTotal = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "caddy_tigergraph_lookups_total",
		Help: "Look-ups of nodes in dynamic sources by result, pass or fail.",
	}, []string{"source", "result"})

	selectionsTotal = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "caddy_tigergraph_selections_total",
		Help: "Choices of a node for an attempt to send a request, by the reason.",
	}, []string{"node", "service", "affinity"})
)

// Native histograms are as fine as this, and no finer than so many buckets.
const (
	nativeFactor  = 1.2
	nativeBuckets = 60
)

// forgetSelections deletes the series of a node that no configuration uses. Like others
// who delete, it names each: to look through all series for those of a node would take
// seconds where a thousand nodes leave.
func forgetSelections(node string) {
	for s := range service.Count {
		for why := range balance.Reasons {
			selectionsTotal.DeleteLabelValues(node, s.String(), why.String())
		}
	}
	displacedTotal.DeleteLabelValues(node)
}

// selectionCounters are a member's counters of selections, each made when it is
// first needed, so that there are no series of what never happens.
type selectionCounters [service.Count][balance.Reasons]atomic.Pointer[prometheus.Counter]

// count counts a selection.
func (c *selectionCounters) count(of *series.Node, s service.Service, why balance.Reason) {
	counter := series.Resolved(of, &c[s][why], func() prometheus.Counter {
		displacedTotal.WithLabelValues(of.Name) // increase() sees nothing of a series that begins with what it counts
		return selectionsTotal.WithLabelValues(of.Name, s.String(), why.String())
	})
	if counter != nil {
		(*counter).Inc()
	}
}
