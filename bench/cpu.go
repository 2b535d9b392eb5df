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
	perGB    bool // the cost is that of a gigabyte, not of a request
}

// bytes is how much an exchange of the case carries.
func (c cpuCase) bytes() int64 { return max(c.exchange.upload, c.exchange.download) }

// cpuCases returns the cases for so many clients and so large a bulk transfer.
func cpuCases(clients int, bulk int64) (cases []cpuCase) {
	size := formatBytes(bulk)
	for _, tls := range []bool{false, true} {
		all := []cpuCase{
			{name: "small", about: "small JSON", clients: clients, exchange: exchange{method: "GET", path: smallPath}},
			{name: "1mb", about: "results of 1 MB", clients: clients, exchange: exchange{method: "GET", path: megabPath, download: megabyte}},
			{name: "download", about: "download of " + size, clients: 1, perGB: true, exchange: exchange{method: "GET", path: fmt.Sprint(bulkPath, bulk), download: bulk}},
			{name: "chunked", about: "download of " + size + " in chunks", clients: 1, perGB: true, exchange: exchange{method: "GET", path: fmt.Sprint(chunkedPath, bulk), download: bulk}},
			{name: "upload", about: "upload of " + size, clients: 1, perGB: true, exchange: exchange{method: "POST", path: uploadPath, upload: bulk}},
		}
		for _, c := range all {
			if c.tls = tls; tls {
				c.name += "-tls"
				c.about += " over TLS"
			}
			cases = append(cases, c)
		}
	}
	return cases
}

// cpuRun is one contender's part of one round.
type cpuRun struct {
	cost       time.Duration // of a request or a gigabyte
	throughput float64       // requests or bytes a second
	load
}

// cpuResult has a run for each round of each contender.
type cpuResult struct {
	cpuCase
	contenders []contender
	runs       [][]cpuRun // by contender and round
}

// measureCPU has the contenders take turns, in another order each round, so that
// what else the machine does falls on all of them.
func (b *benchmark) measureCPU(ctx context.Context, c cpuCase) (*cpuResult, error) {
	proxies, err := b.startProxies(ctx, b.contenders, c.name, c.tls)
	defer stopProxies(proxies)
	if err != nil {
		return nil, err
	}
	result := &cpuResult{cpuCase: c, runs: make([][]cpuRun, len(proxies))}
	clients := make([][]*client, len(proxies))
	for i, p := range proxies {
		result.contenders = append(result.contenders, p.contender)
		if clients[i], err = connectClients(ctx, p.target, c.clients); err != nil {
			return nil, fmt.Errorf("%s: %w", p.name, err)
		}
		defer closeClients(clients[i])
	}
	for round := range b.rounds {
		for turn := range proxies {
			i := (turn + round) % len(proxies)
			if round%2 == 1 {
				i = len(proxies) - 1 - i
			}
			run, err := b.runCPU(ctx, proxies[i], clients[i], c)
			if err != nil {
				return nil, err
			}
			b.progress("%s, round %d of %d: %s %s", c.name, round+1, b.rounds, proxies[i].name, formatCost(run.cost))
			result.runs[i] = append(result.runs[i], run)
		}
	}
	if b.profiles != "" {
		for i, p := range proxies {
			if !p.isCaddy {
				continue
			}
			loaded := make(chan load, 1)
			go func() { loaded <- repeat(ctx, clients[i], c.exchange, b.duration+time.Second) }()
			err := p.profile(ctx, b.duration, filepath.Join(b.profiles, c.name+"-"+p.name+".pprof"))
			<-loaded
			if err != nil {
				return nil, err
			}
		}
	}
	return result, nil
}

func (b *benchmark) runCPU(ctx context.Context, p *proxy, clients []*client, c cpuCase) (run cpuRun, err error) {
	if !c.perGB { // a bulk transfer is long enough to forget its beginning
		repeat(ctx, clients, c.exchange, b.duration/10)
	}
	before, err := p.cpu()
	if err != nil {
		return run, err
	}
	run.load = repeat(ctx, clients, c.exchange, b.duration)
	after, err := p.cpu()
	if err != nil {
		return run, err
	}
	if err := ctx.Err(); err != nil {
		return run, err
	}
	used := after - before
	run.cost = used / time.Duration(run.requests)
	run.throughput = float64(run.requests) / run.took.Seconds()
	if c.perGB {
		transferred := float64(run.requests) * float64(c.bytes())
		run.cost = time.Duration(float64(used) / transferred * gigabyte)
		run.throughput = transferred / run.took.Seconds()
	}
	return run, nil
}
