package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"time"
)

// measureLatency has requests come at random moments, so many a second on
// average, whether or not those before have been answered. A request that waits
// for a free connection waits from its moment on, so that a proxy that stalls
// pays for all that came meanwhile.
func (b *benchmark) measureLatency(ctx context.Context, name string, tls bool) ([]figure, error) {
	proxies, err := b.startProxies(ctx, b.contenders, name, tls)
	defer stopProxies(proxies)
	if err != nil {
		return nil, err
	}
	type entry struct {
		name    string
		clients []*client
	}
	var entries []entry
	for _, p := range proxies {
		clients, err := connectClients(ctx, p.target, b.clients)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", p.name, err)
		}
		defer closeClients(clients)
		entries = append(entries, entry{p.name, clients})
	}
	if !tls {
		// What is the clients' and the nodes' own.
		clients, err := connectClients(ctx, target{address: b.cluster.addresses[0]}, b.clients)
		if err != nil {
			return nil, err
		}
		defer closeClients(clients)
		entries = append(entries, entry{"no proxy", clients})
	}
	about := fmt.Sprintf("small JSON, %g requests/s in the mean at random moments, %s, %s of %s", b.rate, plural(b.clients, "connection"), plural(b.rounds, "round"), rounded(b.latencyDuration()))
	half := figure{name: name, label: "latency p50", about: about, format: formatSeconds, values: make([][]float64, len(entries))}
	most := figure{name: name, label: "latency p99", about: about, format: formatSeconds, values: make([][]float64, len(entries))}
	if tls {
		half.label += ", TLS"
		most.label += ", TLS"
	}
	for _, e := range entries {
		half.proxies = append(half.proxies, e.name)
		most.proxies = append(most.proxies, e.name)
	}
	e := exchange{method: "GET", path: smallPath}
	for round := range b.rounds {
		for _, i := range turns(round, len(entries)) {
			repeat(ctx, entries[i].clients, e, b.duration/10)
			latencies, done := arrive(ctx, entries[i].clients, e, b.rate, b.latencyDuration(), uint64(round))
			if err := ctx.Err(); err != nil {
				return nil, err
			}
			b.count(name, entries[i].name, done)
			half.values[i] = append(half.values[i], percentile(latencies, 50).Seconds())
			most.values[i] = append(most.values[i], percentile(latencies, 99).Seconds())
			b.progress("%s, round %d of %d: %s %s, %s", name, round+1, b.rounds, entries[i].name, formatSeconds(half.values[i][round]), formatSeconds(most.values[i][round]))
		}
	}
	return []figure{half, most}, nil
}

// latencyDuration is a little longer than others, for there are fewer requests.
func (b *benchmark) latencyDuration() time.Duration { return b.duration * 3 / 2 }

// arrive sends requests at their moments, which are the same for the same seed,
// and returns for each how long after that the answer was complete.
func arrive(ctx context.Context, clients []*client, e exchange, rate float64, duration time.Duration, seed uint64) (latencies []time.Duration, done load) {
	random := rand.New(rand.NewPCG(seed, 1))
	moments := make(chan time.Time, int(rate*duration.Seconds()*2)+100) // nobody waits to put one in
	start := time.Now()
	var wg sync.WaitGroup
	var mu sync.Mutex
	for _, c := range clients {
		wg.Go(func() {
			var took []time.Duration
			var failure error
			failed := int64(0)
			for moment := range moments {
				status, err := c.do(ctx, e)
				took = append(took, time.Since(moment))
				if err == nil && status != 200 {
					err = fmt.Errorf("status %d", status)
				}
				if err != nil {
					failure, failed = err, failed+1
				}
			}
			mu.Lock()
			defer mu.Unlock()
			latencies = append(latencies, took...)
			done.requests += int64(len(took))
			done.failed += failed
			done.failure = errors.Join(done.failure, failure)
		})
	}
	runtime.LockOSThread() // for sleepUntil
	for moment := start; ctx.Err() == nil; {
		moment = moment.Add(time.Duration(random.ExpFloat64() / rate * float64(time.Second)))
		if moment.Sub(start) > duration {
			break
		}
		sleepUntil(moment)
		moments <- moment
	}
	runtime.UnlockOSThread()
	close(moments)
	wg.Wait()
	done.took = time.Since(start)
	return latencies, done
}

// percentile returns the smallest value that so many percent do not exceed.
func percentile(values []time.Duration, percent int) time.Duration {
	if len(values) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(values))
	return sorted[max((len(sorted)*percent+99)/100-1, 0)]
}
