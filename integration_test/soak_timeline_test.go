package integration_test

import (
	"slices"
	"time"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/tgnode"
)

// soakTimeline are spans of time, in order and apart from each other.
type soakTimeline []soakSpan

// newSoakTimeline joins the spans that count, each of them longer by after.
func newSoakTimeline(spans []soakSpan, after time.Duration, counts func(soakSpan) bool) (line soakTimeline) {
	for _, s := range spans {
		if counts(s) {
			line = append(line, soakSpan{from: s.from, to: s.to.Add(after)})
		}
	}
	slices.SortFunc(line, func(a, b soakSpan) int { return a.from.Compare(b.from) })
	joined := line[:0]
	for _, s := range line {
		if last := len(joined) - 1; last >= 0 && !s.from.After(joined[last].to) {
			if s.to.After(joined[last].to) {
				joined[last].to = s.to
			}
			continue
		}
		joined = append(joined, s)
	}
	return joined
}

// overlaps reports whether one of the spans has a moment in common with the time
// between these two.
func (l soakTimeline) overlaps(from, to time.Time) bool {
	i, _ := slices.BinarySearchFunc(l, from, func(s soakSpan, from time.Time) int { return s.to.Compare(from) })
	return i < len(l) && !l[i].from.After(to)
}

// holds reports whether all of the time between these two is in one of the spans.
func (l soakTimeline) holds(from, to time.Time) bool {
	return slices.ContainsFunc(l, func(s soakSpan) bool { return !from.Before(s.from) && !to.After(s.to) })
}

// soakFailures are the times in which something need not have served.
type soakFailures struct {
	services      map[string]map[tgnode.Service]soakTimeline // by node
	outer         map[string]map[tgnode.Service]soakTimeline // in which an answer of its nginx may be lost
	forgets       map[string]map[tgnode.Service]soakTimeline // in which it lost what it had in memory
	down, reloads map[string]soakTimeline                    // by edge
}

func (r *soakRecords) failures() (f soakFailures) {
	f.services, f.forgets = make(map[string]map[tgnode.Service]soakTimeline), make(map[string]map[tgnode.Service]soakTimeline)
	f.outer = make(map[string]map[tgnode.Service]soakTimeline)
	for _, node := range append(slices.Clip(r.nodes), r.standby) {
		f.outer[node] = make(map[tgnode.Service]soakTimeline)
		f.services[node], f.forgets[node] = make(map[tgnode.Service]soakTimeline), make(map[tgnode.Service]soakTimeline)
		for _, service := range allServices {
			its := func(s soakSpan) bool { return s.node == node && slices.Contains(s.services, service) }
			f.services[node][service] = newSoakTimeline(r.spans, 0, its)
			// Whoever watches the node sees what fails behind its nginx as well.
			inner := newSoakTimeline(r.spans, 0, func(s soakSpan) bool { return s.inner && its(s) })
			f.outer[node][service] = newSoakTimeline(r.spans, 0, func(s soakSpan) bool {
				return !s.inner && its(s) && (s.made || !inner.overlaps(s.from, s.to))
			})
			f.forgets[node][service] = newSoakTimeline(r.spans, 0, func(s soakSpan) bool { return s.forgets && its(s) })
		}
	}
	f.down, f.reloads = byEdge(r.down, 0), byEdge(r.reloads, soakEdgeRecovery)
	return f
}

// byEdge joins the spans of each edge.
func byEdge(spans []soakSpan, after time.Duration) (lines map[string]soakTimeline) {
	lines = make(map[string]soakTimeline)
	for _, span := range spans {
		if lines[span.node] == nil {
			lines[span.node] = newSoakTimeline(spans, after, func(s soakSpan) bool { return s.node == span.node })
		}
	}
	return lines
}

// fails reports whether one of these nodes was in a span of this service's between
// two moments.
func (f soakFailures) fails(nodes []string, service tgnode.Service, from, to time.Time) bool {
	return slices.ContainsFunc(nodes, func(node string) bool { return f.services[node][service].overlaps(from, to) })
}

// allFail reports whether each of these nodes was in a span of this service's between
// two moments.
func (f soakFailures) allFail(nodes []string, service tgnode.Service, from, to time.Time) bool {
	return !slices.ContainsFunc(nodes, func(node string) bool { return !f.services[node][service].overlaps(from, to) })
}
