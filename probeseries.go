package tigergraph

import (
	"fmt"
	"runtime/debug"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"go.uber.org/zap"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/fleet"
	"github.com/caddy-tigergraph/caddy-tigergraph/internal/health"
	"github.com/caddy-tigergraph/caddy-tigergraph/internal/series"
	"github.com/caddy-tigergraph/caddy-tigergraph/internal/service"
)

// labelled are the nodes that probers have series of.
var labelled = series.NewNodes[probeSeries]()

// probeSeries are the series of a service's probes. Each is looked up once: while a
// thousand nodes are probed, the look-ups would queue for the lock of all series.
type probeSeries struct {
	passed, failed atomic.Pointer[prometheus.Counter]
	duration       atomic.Pointer[prometheus.Observer]
}

func countProbe(node string, s service.Service, passed bool, took time.Duration) {
	labelled.Probed(node, s, passed, took, func(kept *probeSeries, told, timed bool) {
		counter, result := &kept.failed, "fail"
		if passed {
			counter, result = &kept.passed, "pass"
		}
		if told {
			series.Kept(counter, func() prometheus.Counter {
				for _, both := range []string{"pass", "fail"} { // increase() sees nothing of a series that begins with what it counts
					probesTotal.WithLabelValues(node, s.String(), both)
				}
				return probesTotal.WithLabelValues(node, s.String(), result)
			}).Inc()
		}
		if timed {
			series.Kept(&kept.duration, func() prometheus.Observer { return probeDuration.WithLabelValues(node, s.String()) }).Observe(took.Seconds())
		}
	})
}

func countTransition(node string, s service.Service, from, to health.Verdict) {
	labelled.IfKnown(node, func(few bool) {
		if few || from != health.Unknown || to != health.Up {
			addTransitions(node, s)
			transitionsTotal.WithLabelValues(node, s.String(), to.String()).Inc()
		}
	})
}

// addTransitions makes the series of a service: increase() sees nothing of one that begins
// with what it counts.
func addTransitions(node string, s service.Service) {
	transitionsTotal.WithLabelValues(node, s.String(), health.Up.String())
	transitionsTotal.WithLabelValues(node, s.String(), health.Down.String())
}

// forgetProbes deletes the series of a node that nobody checks any more.
func forgetProbes(node string) {
	for s := range service.Count {
		probesTotal.DeleteLabelValues(node, s.String(), "pass")
		probesTotal.DeleteLabelValues(node, s.String(), "fail")
		probeDuration.DeleteLabelValues(node, s.String())
		for to := range health.Verdicts {
			transitionsTotal.DeleteLabelValues(node, s.String(), to.String())
		}
	}
}

// inFewLines is histograms that have no buckets but native ones while the nodes are
// many: each bucket would be thousands of lines.
type inFewLines struct{ *prometheus.HistogramVec }

// Collect implements prometheus.Collector.
func (h inFewLines) Collect(metrics chan<- prometheus.Metric) {
	if labelled.AreFew() {
		h.HistogramVec.Collect(metrics)
		return
	}
	whole := make(chan prometheus.Metric)
	go func() {
		defer close(whole)
		defer func() {
			if panicked := recover(); panicked != nil {
				caddy.Log().Error("collecting metrics panicked", zap.Any("error", panicked), zap.ByteString("stack", debug.Stack()))
			}
		}()
		h.HistogramVec.Collect(whole)
	}()
	for metric := range whole {
		metrics <- bucketless{metric}
	}
}

// bucketless is a histogram without buckets.
type bucketless struct{ prometheus.Metric }

// Write implements prometheus.Metric.
func (b bucketless) Write(to *dto.Metric) error {
	if err := b.Metric.Write(to); err != nil {
		return fmt.Errorf("reading a histogram: %w", err)
	}
	to.Histogram.Bucket = nil
	return nil
}

// fleetSeries keeps the series of the nodes that there are.
type fleetSeries struct{}

// NodeJoined implements fleet.Observer. It returns the counters of the node's requests.
func (fleetSeries) NodeJoined(address string) (attached any) {
	if labelled.AreFew() { // increase() sees nothing of a series that begins with what it counts
		displacedTotal.WithLabelValues(address)
	}
	return newRequestCounters(address)
}

// NodeLeft implements fleet.Observer.
func (fleetSeries) NodeLeft(n *fleet.Node) {
	counters := n.Attached.(*requestCounters)
	counters.Leave(counters.forget)
}

// ProberJoined implements fleet.Observer.
func (fleetSeries) ProberJoined(p *fleet.Prober) {
	if !labelled.Add(p.Address) {
		return
	}
	for s := range service.Count {
		if p.Checks(s) {
			addTransitions(p.Address, s)
		}
	}
}

// ProberLeft implements fleet.Observer.
func (fleetSeries) ProberLeft(p *fleet.Prober) { labelled.Remove(p.Address, forgetProbes) }
