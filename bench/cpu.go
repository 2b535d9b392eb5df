package main

import (
	"context"
	"fmt"
	"path/filepath"
	"time"
)

// cpuCase is a load whose cost to the proxies is measured.
type cpuCase struct {
	name     string
	about    string
	exchange exchange
	clients  int
	tls      bool
	together bool // on one node
	perGB    bool // the cost is that of a gigabyte, not of a request
}

// cpuCases returns the cases, plain first.
func (b *benchmark) cpuCases() (cases []cpuCase) {
	size := formatBytes(float64(b.bulk))
	for _, tls := range []bool{false, true} {
		for _, c := range []cpuCase{
			{name: "small", about: "small JSON", clients: b.clients, exchange: exchange{method: "GET", path: smallPath}},
			{name: "one-node", about: "small JSON, all clients on one node", clients: b.clients, together: true, exchange: exchange{method: "GET", path: smallPath}},
			{name: "post", about: "small JSON for a POST of 1 kB", clients: b.clients, exchange: exchange{method: "POST", path: smallPath, upload: 1000}},
			{name: "post-one-node", about: "small JSON for a POST of 1 kB, all clients on one node", clients: b.clients, together: true, exchange: exchange{method: "POST", path: smallPath, upload: 1000}},
			{name: "1mb", about: "result of 1 MB", clients: b.clients, exchange: exchange{method: "GET", path: megabPath, download: megabyte}},
			{name: "download", about: size + " down", clients: 1, perGB: true, exchange: exchange{method: "GET", path: fmt.Sprint(bulkPath, b.bulk), download: b.bulk}},
			{name: "chunked", about: size + " down in chunks", clients: 1, perGB: true, exchange: exchange{method: "GET", path: fmt.Sprint(chunkedPath, b.bulk), download: b.bulk}},
			{name: "upload", about: size + " up", clients: 1, perGB: true, exchange: exchange{method: "POST", path: uploadPath, upload: b.bulk}},
		} {
			if c.tls = tls; tls {
				c.name += "-tls"
				c.about += ", TLS"
			}
			cases = append(cases, c)
		}
	}
	return cases
}

// cpuRun is one contender's part of one round.
type cpuRun struct {
	cost       float64 // seconds of a processor, of a request or a gigabyte
	throughput float64 // requests or bytes a second
	load
}

// measureCPU has the contenders take turns, in another order each round, so that
// what else the machine does falls on all of them.
func (b *benchmark) measureCPU(ctx context.Context, c cpuCase) (figures []figure, err error) {
	proxies, err := b.startProxies(ctx, b.contenders, c.name, c.tls)
	defer stopProxies(proxies)
	if err != nil {
		return nil, err
	}
	clients := make([][]*client, len(proxies))
	for i, p := range proxies {
		if clients[i], err = connectClients(ctx, p.target, c.clients); err != nil {
			return nil, fmt.Errorf("%s: %w", p.name, err)
		}
		defer closeClients(clients[i])
		if c.together {
			for _, other := range clients[i][1:] {
				other.become(clients[i][0])
			}
		}
	}
	runs := make([][]cpuRun, len(proxies))
	for round := range b.rounds {
		for _, i := range turns(round, len(proxies)) {
			run, err := b.runCPU(ctx, proxies[i], clients[i], c)
			if err != nil {
				return nil, err
			}
			b.progress("%s, round %d of %d: %s %s", c.name, round+1, b.rounds, proxies[i].name, formatSeconds(run.cost))
			runs[i] = append(runs[i], run)
		}
	}
	if b.profiles != "" {
		for i, p := range proxies {
			if !p.isCaddy {
				continue
			}
			loaded := make(chan load, 1)
			go func() { loaded <- repeat(ctx, clients[i], c.exchange, max(b.duration, time.Second)+time.Second) }()
			err := p.profile(ctx, b.duration, filepath.Join(b.profiles, c.name+"-"+p.name+".pprof"))
			<-loaded
			if err != nil {
				return nil, err
			}
		}
	}
	return []figure{b.cpuFigure(c, proxies, runs)}, nil
}

// turns returns in which order so many contenders run in a round: each is at
// each place in the end, and each after each other one.
func turns(round, count int) []int {
	order := make([]int, count)
	for turn := range order {
		order[turn] = (turn + round) % count
		if round%2 == 1 {
			order[turn] = count - 1 - order[turn]
		}
	}
	return order
}

func (b *benchmark) runCPU(ctx context.Context, p *proxy, clients []*client, c cpuCase) (run cpuRun, err error) {
	if !c.perGB { // a bulk transfer is long enough to forget its beginning
		repeat(ctx, clients, c.exchange, b.duration/10)
	}
	// Not before, for nginx listens before it starts those who serve.
	pids, err := descendants(p.pid())
	if err != nil {
		return run, err
	}
	before, err := p.cpu(pids)
	if err != nil {
		return run, err
	}
	run.load = repeat(ctx, clients, c.exchange, b.duration)
	after, err := p.cpu(pids)
	if err != nil {
		return run, err
	}
	if err := ctx.Err(); err != nil {
		return run, err
	}
	used := (after - before).Seconds()
	units := float64(run.requests)
	run.throughput = units / run.took.Seconds()
	if c.perGB {
		carried := max(c.exchange.upload, c.exchange.download)
		units *= float64(carried) / gigabyte
		run.throughput *= float64(carried)
	}
	run.cost = used / units
	return run, nil
}

func (b *benchmark) cpuFigure(c cpuCase, proxies []*proxy, runs [][]cpuRun) figure {
	f := figure{name: c.name, label: "CPU per request, " + c.about, format: formatSeconds}
	rate := column{title: "requests/s"}
	if c.perGB {
		f.label, rate.title = "CPU per GB, "+c.about, "MB/s"
	}
	f.about = fmt.Sprintf("%s, %s of %s", plural(c.clients, "connection"), plural(b.rounds, "round"), rounded(b.duration))
	for i, p := range proxies {
		var costs, throughputs []float64
		for _, run := range runs[i] {
			costs = append(costs, run.cost)
			throughputs = append(throughputs, run.throughput)
			b.count(c.name, p.name, run.load)
		}
		throughput := median(throughputs)
		if c.perGB {
			throughput /= megabyte
		}
		f.proxies = append(f.proxies, p.name)
		f.values = append(f.values, costs)
		rate.cells = append(rate.cells, formatCount(throughput))
	}
	f.columns = []column{rate}
	return f
}
