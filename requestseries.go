package tigergraph

import (
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/response"
	"github.com/caddy-tigergraph/caddy-tigergraph/internal/series"
	"github.com/caddy-tigergraph/caddy-tigergraph/internal/service"
	"github.com/caddy-tigergraph/caddy-tigergraph/internal/statuspage"
)

// requestCounters count the attempts at a node. Each counter is found once: a request
// that meets it again costs no look-up by label and no allocation.
type requestCounters struct {
	series.Node
	services [service.Count]serviceCounters
	// traffic is what the counters were in the last minutes.
	trafficMu sync.Mutex
	traffic   [service.Count]statuspage.Counts
}

// serviceCounters count the attempts at a node for one service.
type serviceCounters struct {
	codes    atomic.Pointer[[]codeCounter]
	duration atomic.Pointer[prometheus.Observer]
	retries  atomic.Pointer[prometheus.Counter]
}

// codeCounter counts the attempts with one code. A service has few.
type codeCounter struct {
	code    response.Code
	counter prometheus.Counter
}

func newRequestCounters(node string) *requestCounters {
	r := &requestCounters{Node: series.Node{Name: node}}
	for s := range r.traffic {
		r.traffic[s].Add(time.Now(), statuspage.Count{})
	}
	return r
}

// countAnswer counts an answer.
func (r *requestCounters) countAnswer(s service.Service, status int, took time.Duration) {
	r.count(s, response.Code(status))
	c := &r.services[s]
	observer := series.Resolved(&r.Node, &c.duration, func() prometheus.Observer { return requestDuration.WithLabelValues(r.Name, s.String()) })
	if observer != nil {
		(*observer).Observe(took.Seconds())
	}
}

// countRetry counts an attempt that left the node for another.
func (r *requestCounters) countRetry(s service.Service) {
	counter := series.Resolved(&r.Node, &r.services[s].retries, func() prometheus.Counter { return retriesTotal.WithLabelValues(r.Name, s.String()) })
	if counter != nil {
		(*counter).Inc()
	}
}

// count counts an attempt.
func (r *requestCounters) count(s service.Service, code response.Code) {
	c := &r.services[s]
	counter := c.find(code)
	if counter == nil {
		code = code.Usual()
		counter = c.find(code)
	}
	if counter == nil {
		counter = r.add(s, code)
	}
	if counter != nil {
		counter.Inc()
	}
}

// find returns the counter of a code, nil if there is none yet.
func (c *serviceCounters) find(code response.Code) prometheus.Counter {
	if known := c.codes.Load(); known != nil {
		for i := range *known {
			if (*known)[i].code == code {
				return (*known)[i].counter
			}
		}
	}
	return nil
}

// add makes a counter known; it is nil if nobody knows the node any more.
func (r *requestCounters) add(s service.Service, code response.Code) (counter prometheus.Counter) {
	r.IfKnown(func() {
		c := &r.services[s]
		if counter = c.find(code); counter != nil {
			return
		}
		counter = requestsTotal.WithLabelValues(r.Name, s.String(), code.String())
		var known []codeCounter
		if current := c.codes.Load(); current != nil {
			known = append(known, *current...)
		}
		known = append(known, codeCounter{code, counter})
		c.codes.Store(&known)
	})
	return counter
}

// trafficOf returns how the requests to a service went in the last minutes, nil if none
// was counted. It reads the metrics, at most every two seconds however many ask, so that
// a request pays nothing for it.
func (r *requestCounters) trafficOf(s service.Service, now time.Time) *statuspage.Traffic {
	r.trafficMu.Lock()
	defer r.trafficMu.Unlock()
	counts, c := &r.traffic[s], &r.services[s]
	if !counts.IsDue(now) {
		return counts.Traffic()
	}
	var count statuspage.Count
	if codes := c.codes.Load(); codes != nil {
		for _, known := range *codes {
			value := uint64(read(known.counter).GetCounter().GetValue())
			if count.Requests += value; known.code.IsError() {
				count.Errors += value
			}
		}
	}
	count.Times = counts.Newest().Times
	if observer := c.duration.Load(); observer != nil && count.Requests != counts.Newest().Requests {
		if histogram, ok := (*observer).(prometheus.Histogram); ok {
			h := read(histogram).GetHistogram()
			count.Times = statuspage.NewTimes(h.GetSchema(), h.GetPositiveSpan(), h.GetPositiveDelta())
		}
	}
	counts.Add(now, count)
	return counts.Traffic()
}

// noteTraffic has it known what the traffic was until now.
func (r *requestCounters) noteTraffic(now time.Time) {
	for s := range service.Count {
		r.trafficOf(s, now)
	}
}

// read returns what a metric has counted.
func read(metric prometheus.Metric) *dto.Metric {
	m := new(dto.Metric)
	_ = metric.Write(m) // which fails for no counter and no histogram
	return m
}

// forget deletes the series of a node that no configuration uses.
func (r *requestCounters) forget() {
	forgetSelections(r.Name)
	for s := range service.Count {
		if codes := r.services[s].codes.Load(); codes != nil {
			for _, known := range *codes {
				requestsTotal.DeleteLabelValues(r.Name, s.String(), known.code.String())
			}
		}
		requestDuration.DeleteLabelValues(r.Name, s.String())
		retriesTotal.DeleteLabelValues(r.Name, s.String())
	}
}
