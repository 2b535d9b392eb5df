package tigergraph

import (
	"strconv"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/service"
)

// The codes of attempts that got no answer.
const (
	codeError    = 0
	codeCanceled = 1
)

// codeLabel returns a code as metrics have it.
func codeLabel(code int) string {
	switch code {
	case codeError:
		return "error"
	case codeCanceled:
		return "canceled"
	}
	return strconv.Itoa(code)
}

// requestCounters count the attempts at a node. Each counter is found once: a request
// that meets it again costs no look-up by label and no allocation.
type requestCounters [service.Count]serviceCounters

// serviceCounters count the attempts at a node for one service.
type serviceCounters struct {
	mu       sync.Mutex // serializes changes of codes
	codes    atomic.Pointer[[]codeCounter]
	duration atomic.Pointer[prometheus.Observer]
	retries  atomic.Pointer[prometheus.Counter]
}

// codeCounter counts the answers of one status. A service has few.
type codeCounter struct {
	code    int
	counter prometheus.Counter
}

// count counts an answer.
func (c *requestCounters) count(node string, s service.Service, status int, took time.Duration) {
	c[s].of(node, s, status).Inc()
	observer := c[s].duration.Load()
	if observer == nil {
		resolved := requestDuration.WithLabelValues(node, s.String())
		observer = &resolved
		c[s].duration.Store(observer)
	}
	(*observer).Observe(took.Seconds())
}

// countUnanswered counts an attempt without an answer.
func (c *requestCounters) countUnanswered(node string, s service.Service, code int) {
	c[s].of(node, s, code).Inc()
}

// countRetry counts an attempt that left the node for another.
func (c *requestCounters) countRetry(node string, s service.Service) {
	counter := c[s].retries.Load()
	if counter == nil {
		resolved := retriesTotal.WithLabelValues(node, s.String())
		counter = &resolved
		c[s].retries.Store(counter)
	}
	(*counter).Inc()
}

// of returns the counter of a code.
func (c *serviceCounters) of(node string, s service.Service, code int) prometheus.Counter {
	if known := c.codes.Load(); known != nil {
		for i := range *known {
			if (*known)[i].code == code {
				return (*known)[i].counter
			}
		}
	}
	return c.add(node, s, code)
}

// add makes a counter known.
func (c *serviceCounters) add(node string, s service.Service, code int) prometheus.Counter {
	c.mu.Lock()
	defer c.mu.Unlock()
	counter := requestsTotal.WithLabelValues(node, s.String(), codeLabel(code))
	var known []codeCounter
	if current := c.codes.Load(); current != nil {
		for _, other := range *current {
			if other.code == code {
				return other.counter
			}
		}
		known = append(known, *current...)
	}
	known = append(known, codeCounter{code, counter})
	c.codes.Store(&known)
	return counter
}

// forgetRequests deletes the series of a node that no configuration uses.
func forgetRequests(node string) {
	label := prometheus.Labels{"node": node}
	requestsTotal.DeletePartialMatch(label)
	requestDuration.DeletePartialMatch(label)
	retriesTotal.DeletePartialMatch(label)
}
