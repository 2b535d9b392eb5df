package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// connectAtOnce is how many clients come at the same time.
const connectAtOnce = 64

// measureMemory has many clients log in, send a request and keep their
// connections, and looks at the proxy's memory then. What processes share is
// counted once.
func (b *benchmark) measureMemory(ctx context.Context, name string, tls bool) ([]figure, error) {
	count := b.idle
	if most := int(b.files) - 1000; count > most {
		return nil, fmt.Errorf("%d clients need more open files than the %d allowed: raise the limit (ulimit -Hn), or give a smaller -idle", count, b.files)
	}
	suffix := ""
	if tls {
		suffix = ", TLS"
	}
	about := fmt.Sprintf("clients log in, send a request and keep the connection, %s later", rounded(b.settle()))
	total := figure{name: name, label: fmt.Sprintf("memory with %d clients%s", count, suffix), about: about, format: formatBytes}
	each := figure{name: name, label: fmt.Sprintf("of it for each client%s", suffix), about: "without what the proxy has before any client", format: formatBytes}
	for _, c := range b.contenders {
		before, after, err := b.runMemory(ctx, c, name, tls)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", c.name, err)
		}
		b.progress("%s: %s %s, %s before", name, c.name, formatBytes(after), formatBytes(before))
		total.proxies = append(total.proxies, c.name)
		total.values = append(total.values, []float64{after})
		each.proxies = append(each.proxies, c.name)
		each.values = append(each.values, []float64{(after - before) / float64(count)})
	}
	return []figure{total, each}, nil
}

// settle is how long the clients are quiet.
func (b *benchmark) settle() time.Duration { return b.duration }

func (b *benchmark) runMemory(ctx context.Context, c contender, name string, tls bool) (before, after float64, err error) {
	proxies, err := b.startProxies(ctx, []contender{c}, name, tls)
	defer stopProxies(proxies)
	if err != nil {
		return 0, 0, err
	}
	p := proxies[0]
	// The first request has a proxy make what it needs for any.
	first, err := connectClients(ctx, p.target, 1)
	if err != nil {
		return 0, 0, err
	}
	closeClients(first)
	if before, err = p.memory(); err != nil {
		return 0, 0, err
	}
	clients := make([]*client, b.idle)
	for i := range clients {
		clients[i] = newClient(p.target, i)
		clients[i].buffer = 4 << 10 // there are many
	}
	defer closeClients(clients)
	visit := func(c *client) error {
		if c.cookies == nil {
			if err := c.login(ctx); err != nil {
				return err
			}
		}
		status, err := c.do(ctx, exchange{method: "GET", path: smallPath})
		if err == nil && status != 200 {
			err = fmt.Errorf("status %d", status)
		}
		return err
	}
	if err := b.eachClient(clients, visit); err != nil {
		return 0, 0, err
	}
	select {
	case <-ctx.Done():
		return 0, 0, ctx.Err()
	case <-time.After(b.settle()):
	}
	if after, err = p.memory(); err != nil {
		return 0, 0, err
	}
	// All connections must have been there to be counted.
	err = b.eachClient(clients, func(c *client) error {
		before := c.conn
		if err := visit(c); err != nil {
			return err
		}
		if c.conn != before {
			return errors.New("the proxy did not keep the connection")
		}
		return nil
	})
	return before, after, err
}

// eachClient does it with all clients, some at a time.
func (b *benchmark) eachClient(clients []*client, do func(*client) error) error {
	queue := make(chan *client, len(clients))
	for _, c := range clients {
		queue <- c
	}
	close(queue)
	failures := make(chan error, connectAtOnce)
	var wg sync.WaitGroup
	for range connectAtOnce {
		wg.Go(func() {
			for c := range queue {
				if err := do(c); err != nil {
					failures <- err
					return
				}
			}
		})
	}
	wg.Wait()
	close(failures)
	return <-failures
}

// memory returns what the proxy's processes occupy.
func (p *proxy) memory() (float64, error) {
	pids, err := descendants(p.pid())
	if err != nil {
		return 0, err
	}
	var sum float64
	for _, pid := range pids {
		bytes, err := residentMemory(pid)
		if err != nil {
			return 0, fmt.Errorf("%s: %w", p.name, err)
		}
		sum += float64(bytes)
	}
	return sum, nil
}
