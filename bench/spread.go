package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"time"
)

// spreadCase is how programs use nodes that answer 200 queries a second at most, each
// in 20 ms. The first node may be worse than the others.
type spreadCase struct {
	name, label string
	rate        float64 // queries a second at random moments; 0: as many as are answered
	hosts       int     // from which the programs ask
	begin, end  func(*cluster) error
	passes      bool // the first node is so for a while, and else all the time
}

var spreadCases = []spreadCase{
	{name: "spread", label: "queries/s of one application host", hosts: 1},
	{
		name: "spread-slow", label: "one of three nodes is ten times slower", rate: 200, hosts: 60,
		begin: func(c *cluster) error { return c.command("slow") },
		end:   func(c *cluster) error { return c.command("serve") },
	},
	{
		name: "spread-pause", label: "one of three nodes stops for 2 s", rate: 200, hosts: 60,
		begin:  func(c *cluster) error { return pause(c.processes[0].pid()) },
		end:    func(c *cluster) error { return resume(c.processes[0].pid()) },
		passes: true,
	},
}

const (
	// spreadClients is how many queries are waited for at once where as many are sent as
	// are answered: five for each that three nodes work on.
	spreadClients = 5 * 3 * pacedAtOnce
)

// pauseTime is how long a node stops for: 2 s, or less where all faults are short.
func (b *benchmark) pauseTime() time.Duration { return min(2*time.Second, b.fault/10) }

// spreadContenders are the proxies, and those that are made for this.
func (b *benchmark) spreadContenders() []contender {
	var all []contender
	for _, c := range b.contenders {
		all = append(all, c)
		switch c.name {
		case "stock":
			all = append(all, caddyContender("stock, least_conn", "the same with `lb_policy least_conn`", c.binary, "reverse_proxy %s {\nlb_policy least_conn\n}"))
		case "nginx":
			all = append(all, nginxWith("nginx, least_conn", "the same with `least_conn` in place of `ip_hash`", "least_conn"))
		case "haproxy":
			all = append(all, haproxyWith("haproxy, leastconn", "the same with `balance leastconn` and no cookie", "leastconn"))
		}
	}
	return all
}

// asked is what became of the queries of a run.
type asked struct {
	latencies []time.Duration
	failed    int
	took      time.Duration
	share     float64 // of the first node
}

// measureSpread has the proxies take turns.
func (b *benchmark) measureSpread(ctx context.Context, c spreadCase) ([]figure, error) {
	proxies, err := b.startProxies(ctx, b.spreadContenders(), c.name, false)
	defer stopProxies(proxies)
	if err != nil {
		return nil, err
	}
	names, targets := make([]string, 0, len(proxies)+1), make([]target, 0, len(proxies)+1)
	for _, p := range proxies {
		names, targets = append(names, p.name), append(targets, p.target)
	}
	if c.rate == 0 {
		names, targets = append(names, "one node"), append(targets, target{address: b.cluster.addresses[0]})
	}
	about := fmt.Sprintf("three nodes answer at most %d queries/s each, %d at once, each in %s; %s of %s", int(pacedAtOnce/pacedTime.Seconds()), pacedAtOnce, pacedTime, plural(b.rounds, "round"), rounded(b.spreadTime(c)))
	if c.rate == 0 {
		about += fmt.Sprintf(", %d connections of one address, without cookies", spreadClients)
	} else {
		about += fmt.Sprintf(", %g queries/s at random moments from %s, without cookies; no answer in %s is a failure", c.rate, fmt.Sprintf("%d addresses", c.hosts), b.patience)
	}
	throughput := figure{name: c.name, label: c.label, about: about, format: formatCount}
	half := figure{name: c.name, label: "p50, " + c.label, about: about, format: formatSeconds}
	most := figure{name: c.name, label: "p99, " + c.label, about: about, format: formatSeconds}
	share := figure{name: c.name, label: "share of that node, " + c.label, about: about, absent: true, format: func(part float64) string { return fmt.Sprintf("%.0f %%", 100*part) }}
	failed := figure{name: c.name, label: "failed queries, " + c.label, about: about, absent: true, format: formatCount}
	all := []*figure{&throughput, &half, &most, &share, &failed}
	for _, f := range all {
		f.proxies, f.values = names, make([][]float64, len(names))
	}
	for round := range b.rounds {
		for _, i := range turns(round, len(names)) {
			done, err := b.ask(ctx, c, targets[i], fmt.Sprintf("%s-%d-%d-", c.name, i, round), uint64(round))
			if err := errors.Join(err, ctx.Err()); err != nil {
				return nil, err
			}
			for f, value := range map[*figure]float64{
				&throughput: float64(len(done.latencies)-done.failed) / done.took.Seconds(), &share: done.share, &failed: float64(done.failed),
				&half: percentile(done.latencies, 50).Seconds(), &most: percentile(done.latencies, 99).Seconds(),
			} {
				f.values[i] = append(f.values[i], value)
			}
			b.progress("%s, round %d of %d: %s %.0f/s, p99 %s, %.0f %% to the first node, %d failed", c.name, round+1, b.rounds, names[i],
				throughput.values[i][round], formatSeconds(most.values[i][round]), 100*done.share, done.failed)
		}
	}
	if c.rate == 0 {
		one := column{title: "of one node's"}
		for i := range names {
			one.cells = append(one.cells, throughput.ratio(names[i], "one node"))
		}
		throughput.columns = []column{one}
		return []figure{throughput, most}, nil
	}
	return []figure{half, most, share, failed}, nil
}

// spreadTime is how long a run is.
func (b *benchmark) spreadTime(c spreadCase) time.Duration {
	if c.passes {
		return max(b.duration, 3*b.pauseTime())
	}
	return max(b.duration, b.pauseTime())
}

// ask has programs ask their queries in one run.
func (b *benchmark) ask(ctx context.Context, c spreadCase, to target, prefix string, seed uint64) (done asked, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	if c.begin != nil {
		faults := make(chan error, 1)
		go func() {
			if c.passes {
				sleep(ctx, b.pauseTime()/2)
			}
			err := c.begin(b.cluster)
			if c.passes {
				sleep(ctx, b.pauseTime())
			} else {
				<-ctx.Done()
			}
			faults <- errors.Join(err, c.end(b.cluster))
		}()
		defer func() {
			cancel()
			err = errors.Join(err, <-faults)
			sleep(context.WithoutCancel(ctx), b.pauseTime()/2) // what still waits at the node is answered
		}()
	}
	programs := &programs{to: to, hosts: c.hosts, prefix: prefix, patience: b.patience}
	defer programs.close()
	start := time.Now()
	if c.rate == 0 {
		programs.askSteadily(ctx, spreadClients, start.Add(b.spreadTime(c)))
	} else {
		programs.askAtRandom(ctx, c.rate, seed, start.Add(b.spreadTime(c)))
	}
	done = programs.asked
	done.took = time.Since(start)
	first, all := make(map[string]int), 0
	if err := b.cluster.queriesOf(0, first); err != nil {
		return done, err
	}
	for id := range first {
		if strings.HasPrefix(id, prefix) {
			all++
		}
	}
	done.share = float64(all) / float64(max(len(done.latencies), 1))
	return done, nil
}

// sleep waits for that long, or until the end.
func sleep(ctx context.Context, duration time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(duration):
	}
}

// programs ask queries from some hosts, and keep connections but no cookies, as most
// programs do.
type programs struct {
	to       target
	hosts    int
	prefix   string
	patience time.Duration

	mu   sync.Mutex
	sent int
	idle [][]*client // by host
	asked
}

// query asks one, on a connection of a host that is free.
func (p *programs) query(ctx context.Context, from time.Time) {
	p.mu.Lock()
	if p.idle == nil {
		p.idle = make([][]*client, p.hosts)
	}
	number := p.sent
	p.sent++
	host := number % p.hosts
	var c *client
	if free := len(p.idle[host]); free > 0 {
		c, p.idle[host] = p.idle[host][free-1], p.idle[host][:free-1]
	} else {
		c = newClient(p.to, host)
		c.buffer, c.patience = 4<<10, p.patience
	}
	p.mu.Unlock()
	c.cookies, c.sent = nil, exchange{}
	status, err := c.do(ctx, exchange{method: "GET", path: fmt.Sprintf("%s%s%d", pacedPath, p.prefix, number)})
	took := time.Since(from)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.idle[host] = append(p.idle[host], c)
	p.latencies = append(p.latencies, took)
	if err != nil || status != 200 {
		p.failed++
	}
}

// askSteadily asks so many at once, each anew when it is answered.
func (p *programs) askSteadily(ctx context.Context, count int, end time.Time) {
	var group sync.WaitGroup
	for range count {
		group.Go(func() {
			for now := time.Now(); now.Before(end) && ctx.Err() == nil; now = time.Now() {
				p.query(ctx, now)
			}
		})
	}
	group.Wait()
}

// askAtRandom asks so many a second, whatever becomes of those before.
func (p *programs) askAtRandom(ctx context.Context, rate float64, seed uint64, end time.Time) {
	random := rand.New(rand.NewPCG(seed, 1))
	var group sync.WaitGroup
	for moment := time.Now(); ctx.Err() == nil; {
		moment = moment.Add(time.Duration(random.ExpFloat64() / rate * float64(time.Second)))
		if moment.After(end) {
			break
		}
		sleep(ctx, time.Until(moment))
		group.Go(func() { p.query(ctx, moment) })
	}
	group.Wait()
}

func (p *programs) close() {
	for _, clients := range p.idle {
		closeClients(clients)
	}
}
