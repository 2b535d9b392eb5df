package integration_test

import (
	"bytes"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"time"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/tgnode"
)

// report logs the figures.
func (s *soak) report() {
	s.records.mu.Lock()
	defer s.records.mu.Unlock()
	var out bytes.Buffer
	fmt.Fprintf(&out, "seed %d, %s\n", s.seed, *soakFor)
	fmt.Fprintf(&out, "\n%-12s %8s %8s %9s %9s %9s\n", "requests", "all", "failed", "median", "99th", "longest")
	durations := make(map[string][]time.Duration)
	failed := make(map[string]int)
	var kinds []string
	for _, request := range s.records.requests {
		if durations[request.kind] == nil {
			kinds = append(kinds, request.kind)
		}
		durations[request.kind] = append(durations[request.kind], request.end.Sub(request.start))
		if request.failure != "" {
			failed[request.kind]++
		}
	}
	slices.Sort(kinds)
	for _, kind := range kinds {
		all := durations[kind]
		slices.Sort(all)
		fmt.Fprintf(&out, "%-12s %8d %8d %9s %9s %9s\n", kind, len(all), failed[kind], all[len(all)/2].Round(time.Millisecond),
			all[len(all)*99/100].Round(time.Millisecond), all[len(all)-1].Round(time.Millisecond))
		if failed[kind] == len(all) {
			s.t.Errorf("no request of the kind %q was answered", kind)
		}
	}
	reasons := make(map[string]int)
	addresses := regexp.MustCompile(`\d+\.\d+\.\d+\.\d+:\d+|after \d+ bytes`)
	for _, request := range s.records.requests {
		if request.failure != "" {
			reasons[addresses.ReplaceAllString(request.failure, "...")]++
		}
	}
	fmt.Fprintf(&out, "\nwhy they failed:\n")
	for _, reason := range slices.Sorted(maps.Keys(reasons)) {
		fmt.Fprintf(&out, "%8d %s\n", reasons[reason], reason)
	}
	fmt.Fprintf(&out, "\nwhat others did wrong:\n")
	for _, offence := range soakOffences {
		count := s.records.offences[offence.name]
		fmt.Fprintf(&out, "%8d %s\n", count, offence.name)
		if count == 0 && *soakFor >= time.Minute {
			s.t.Errorf("there were no %s", offence.name)
		}
	}
	fmt.Fprintf(&out, "\nwhat excused them:\n")
	for _, excuse := range slices.Sorted(maps.Keys(s.records.excuses)) {
		fmt.Fprintf(&out, "%8d %s\n", s.records.excuses[excuse], excuse)
	}
	executed, logged, watched := 0, 0, time.Duration(0)
	for _, e := range s.edges {
		logged += e.logged
	}
	for _, a := range s.records.arrivals {
		if a.Executed != tgnode.Read {
			executed++
		}
	}
	made := make(map[string]soakTimeline)
	place := func(node string, service tgnode.Service) string { return node + " " + serviceNames[service] }
	for _, m := range s.machines {
		for _, service := range allServices {
			made[place(m.name, service)] = newSoakTimeline(s.records.spans, 0, func(span soakSpan) bool {
				return span.made && span.node == m.name && slices.Contains(span.services, service)
			})
		}
	}
	for _, span := range s.records.spans {
		if !span.made && !made[place(span.node, span.services[0])].overlaps(span.from, span.to) {
			watched += span.to.Sub(span.from)
		}
	}
	fmt.Fprintf(&out, "\n%d sessions; %d entries in the nodes' journals, %d of them executions; %d in the edges' logs\n",
		len(s.records.logins), len(s.records.arrivals), executed, logged)
	fmt.Fprintf(&out, "services that were slow without a fault: %s in all\n", watched.Round(time.Millisecond))
	if *soakFor > soakQuietAfter {
		fmt.Fprintln(&out, s.records.inQuiet())
	}
	for _, e := range s.edges {
		fmt.Fprintf(&out, "%s at rest: %s; afterwards %s; most seen %s\n", e.name, e.before, e.after, e.most)
	}
	fmt.Fprintf(&out, "\nwhat was made to fail, and until all was well again:\n")
	slices.Sort(s.fates)
	for _, fate := range s.fates {
		fmt.Fprintln(&out, fate)
	}
	s.t.Log(out.String())
}
