package tigergraph

import (
	"errors"
	"fmt"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/health"
	"github.com/caddy-tigergraph/caddy-tigergraph/internal/service"
)

// The gauges are computed when they are asked for.
var (
	nodeUp = prometheus.NewDesc("caddy_tigergraph_node_up",
		"Whether a node's service is up: 1 up, 0 down. Missing while it is unknown.", []string{"node", "service"}, nil)
	nodeDraining = prometheus.NewDesc("caddy_tigergraph_node_draining",
		"Whether a node takes no new clients, by the configuration or by a call.", []string{"node"}, nil)
	requestsInFlight = prometheus.NewDesc("caddy_tigergraph_requests_in_flight",
		"Requests that a node has not answered to their end.", []string{"node"}, nil)
	failOpen = prometheus.NewDesc("caddy_tigergraph_fail_open",
		"Whether a service's requests go to nodes that are down, draining or out by Caddy's checks, because all are.", []string{"cluster", "service"}, nil)
	clusterActive = prometheus.NewDesc("caddy_tigergraph_cluster_active",
		"Whether a cluster is the active one.", []string{"cluster"}, nil)
)

// stateCollector reports the present state of the running configuration.
type stateCollector struct{}

// Describe implements prometheus.Collector.
func (stateCollector) Describe(descriptions chan<- *prometheus.Desc) {
	descriptions <- nodeUp
	descriptions <- nodeDraining
	descriptions <- requestsInFlight
	descriptions <- failOpen
	descriptions <- clusterActive
}

// Collect implements prometheus.Collector.
func (stateCollector) Collect(metrics chan<- prometheus.Metric) {
	app := liveApps.Newest()
	if app == nil {
		return
	}
	type series struct {
		node    string
		service service.Service
	}
	up := make(map[series]float64)
	type openSeries struct {
		cluster string
		service service.Service
	}
	open := make(map[openSeries]float64)
	draining, inFlight := make(map[string]float64), make(map[string]float64)
	for _, policy := range app.allPolicies() {
		roster := policy.roster.Load()
		for _, m := range policy.allMembers() {
			if upstream := roster.upstream(m); upstream != nil && upstream.Host != nil {
				inFlight[m.Address] = float64(upstream.NumRequests())
			}
			if draining[m.Address] = max(draining[m.Address], 0); m.isDraining() {
				draining[m.Address] = 1
			}
			if m.prober == nil {
				continue
			}
			for s := range service.Count {
				switch m.prober.Verdict(s) {
				case health.Up:
					// Where sites check a node differently, down is what matters.
					if _, known := up[series{m.Address, s}]; !known {
						up[series{m.Address, s}] = 1
					}
				case health.Down:
					up[series{m.Address, s}] = 0
				case health.Unknown, health.Off: // has no series
				}
			}
		}
		for s := range service.Count {
			id := openSeries{policy.clusters()[roster.active], s}
			if open[id] = max(open[id], 0); policy.failsOpen(s) {
				open[id] = 1
			}
		}
	}
	for s, value := range up {
		metrics <- prometheus.MustNewConstMetric(nodeUp, prometheus.GaugeValue, value, s.node, s.service.String())
	}
	for node, value := range draining {
		metrics <- prometheus.MustNewConstMetric(nodeDraining, prometheus.GaugeValue, value, node)
	}
	for node, value := range inFlight {
		metrics <- prometheus.MustNewConstMetric(requestsInFlight, prometheus.GaugeValue, value, node)
	}
	for s, value := range open {
		metrics <- prometheus.MustNewConstMetric(failOpen, prometheus.GaugeValue, value, s.cluster, s.service.String())
	}
	for _, status := range app.clusterStatuses() {
		value := 0.0
		if status.Active {
			value = 1
		}
		metrics <- prometheus.MustNewConstMetric(clusterActive, prometheus.GaugeValue, value, status.Name)
	}
}

// registerMetrics makes the metrics part of a configuration's registry.
func registerMetrics(registry prometheus.Registerer) error {
	for _, collector := range []prometheus.Collector{
		probesTotal,
		probeDuration,
		transitionsTotal,
		selectionsTotal,
		displacedTotal,
		lookupsTotal,
		requestsTotal,
		inFewLines{requestDuration},
		retriesTotal,
		stateCollector{},
	} {
		var registered prometheus.AlreadyRegisteredError
		if err := registry.Register(collector); err != nil && !errors.As(err, &registered) {
			return fmt.Errorf("registering metrics: %w", err)
		}
	}
	return nil
}
