package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

// faultCase is a way in which the first node ceases to serve, or clients see to it.
type faultCase struct {
	name, about string
	begin       func(*cluster) error
	end         func(context.Context, *cluster) error
	// attack, if there is one, goes on at each proxy meanwhile.
	attack func(context.Context, target)
}

var faultCases = []faultCase{
	{
		name: "refused", about: "a node refuses connections",
		begin: func(c *cluster) error { c.processes[0].kill(); return nil },
		end:   func(ctx context.Context, c *cluster) error { return c.startNode(ctx, 0) },
	},
	{
		name: "paused", about: "a node accepts connections and is silent",
		begin: func(c *cluster) error { return pause(c.processes[0].pid()) },
		end:   func(_ context.Context, c *cluster) error { return resume(c.processes[0].pid()) },
	},
	{
		name: "reset", about: "a node resets connections",
		begin: func(c *cluster) error { return c.command("reset") },
		end:   func(_ context.Context, c *cluster) error { return c.command("serve") },
	},
	{
		name: "powered-off", about: "a node is switched off",
		begin: (*cluster).powerOff, end: func(_ context.Context, c *cluster) error { return c.powerOn() },
	},
	{
		name: "bad-uploads", about: fmt.Sprintf("one client sends %d malformed uploads a second", badRate),
		begin: func(*cluster) error { return nil }, end: func(context.Context, *cluster) error { return nil }, attack: attack,
	},
}

const (
	// Each proxy has so many clients that belong to each node.
	faultClients = 10
	// Requests a second for each proxy.
	faultRate = 100
	// The nodes take so long to read what was waiting for them.
	catchUp = 500 * time.Millisecond
)

// beforeFault is time for the checks to have had their first rounds.
func (b *benchmark) beforeFault() time.Duration { return min(10*b.duration, 5*time.Second) }

// outcome is how a request of a fault's case ended.
type outcome struct {
	at       time.Time // when it was sent
	query    bool
	name     string
	failed   bool
	duration time.Duration
}

// measureFault has all proxies see the same fault, at the same time.
func (b *benchmark) measureFault(ctx context.Context, c faultCase) ([]figure, error) {
	contenders := b.contenders
	for _, contender := range b.contenders {
		if contender.name == "stock" {
			contenders = append(slices.Clip(contenders), caddyContender("stock, checks", "`reverse_proxy` with `lb_policy cookie` and its documented checks", contender.binary, checkedSite))
		}
	}
	proxies, err := b.startProxies(ctx, contenders, c.name, false)
	defer stopProxies(proxies)
	if err != nil {
		return nil, err
	}
	users := make([][]*user, len(proxies))
	for i, p := range proxies {
		if users[i], err = b.gatherUsers(ctx, p); err != nil {
			return nil, fmt.Errorf("%s: %w", p.name, err)
		}
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	outcomes := make([][]outcome, len(proxies))
	var wg sync.WaitGroup
	for i := range proxies {
		wg.Go(func() { outcomes[i] = visit(ctx, users[i], b.beforeFault()+b.fault) })
	}
	wait := func(duration time.Duration) {
		select {
		case <-ctx.Done():
		case <-time.After(duration):
		}
	}
	wait(b.beforeFault())
	b.progress("%s: now", c.name)
	began := time.Now()
	err = c.begin(b.cluster)
	if err == nil {
		attacking, stop := context.WithCancel(ctx)
		var attacks sync.WaitGroup
		for _, p := range proxies {
			if c.attack != nil {
				attacks.Go(func() { c.attack(attacking, p.target) })
			}
		}
		wg.Wait()
		stop()
		attacks.Wait()
		err = c.end(ctx, b.cluster)
	} else {
		cancel()
		wg.Wait()
	}
	if err := errors.Join(err, ctx.Err()); err != nil {
		return nil, err
	}
	wait(catchUp)
	times, err := b.cluster.queries()
	if err != nil {
		return nil, err
	}
	return b.faultFigures(c, proxies, outcomes, began, times), nil
}

// user is one client with as many connections as it takes.
type user struct {
	name     string
	of       *client // the one that logged in
	patience time.Duration
	mu       sync.Mutex
	idle     []*client
}

// gatherUsers lets clients come until so many belong to each node.
func (b *benchmark) gatherUsers(ctx context.Context, p *proxy) ([]*user, error) {
	const prefix = "TigerGraphApp="
	var users []*user
	counts := make(map[string]int)
	for i := 0; len(users) < faultClients*clusterSize; i++ {
		if i >= 100*clusterSize*faultClients {
			return nil, fmt.Errorf("of %d clients only %v belong to each node", i, counts)
		}
		c := newClient(p.target, i)
		if err := c.login(ctx); err != nil {
			return nil, err
		}
		c.close()
		u := &user{name: fmt.Sprintf("%s-%d", filepath.Base(p.folder), i), of: c, patience: b.patience}
		for j, cookie := range c.cookies {
			session, found := strings.CutPrefix(cookie, prefix)
			if !found {
				continue
			}
			node, _, _ := strings.Cut(session, "-")
			if counts[node]++; counts[node] <= faultClients {
				users = append(users, u)
			}
			// Any node would do for what these send.
			c.cookies = append(c.cookies[:j:j], c.cookies[j+1:]...)
			break
		}
	}
	return users, nil
}

// send sends a request on a connection of the user that is free.
func (u *user) send(ctx context.Context, e exchange) error {
	u.mu.Lock()
	var c *client
	if count := len(u.idle); count > 0 {
		c = u.idle[count-1]
		u.idle = u.idle[:count-1]
	} else {
		c = &client{target: u.of.target, source: u.of.source, cookies: append([]string(nil), u.of.cookies...), buffer: 4 << 10, patience: u.patience}
	}
	u.mu.Unlock()
	status, err := c.do(ctx, e)
	if err == nil && status != 200 {
		err = fmt.Errorf("status %d", status)
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	u.idle = append(u.idle, c)
	return err
}

// harmless are requests of each service that may be sent twice.
var harmless = []string{"/restpp/echo", "/api/ping", "/gsqlserver/gsql/version"}

// visit has users send requests at a steady rate, whatever becomes of those
// before. Every other one is a query, which must not be sent twice.
func visit(ctx context.Context, users []*user, duration time.Duration) (outcomes []outcome) {
	var mu sync.Mutex
	var wg sync.WaitGroup
	start := time.Now()
	for i := range int(duration.Seconds() * faultRate) {
		select {
		case <-ctx.Done():
		case <-time.After(time.Until(start.Add(time.Duration(i) * time.Second / faultRate))):
		}
		if ctx.Err() != nil {
			break
		}
		u := users[i/2%len(users)]
		o := outcome{at: time.Now(), query: i%2 == 0, name: fmt.Sprintf("%s-%d", u.name, i)}
		e := exchange{method: "GET", path: harmless[i/2%len(harmless)]}
		if o.query {
			e.path = onePath + o.name
		}
		wg.Go(func() {
			err := u.send(ctx, e)
			o.duration = time.Since(o.at)
			o.failed = err != nil
			mu.Lock()
			defer mu.Unlock()
			outcomes = append(outcomes, o)
		})
	}
	wg.Wait()
	for _, u := range users {
		closeClients(u.idle)
	}
	return outcomes
}

// faultFigures counts what failed, and finds out when that ended.
func (b *benchmark) faultFigures(c faultCase, proxies []*proxy, outcomes [][]outcome, began time.Time, times map[string]int) []figure {
	lasted := b.fault
	about := fmt.Sprintf("%d clients of each of %d nodes, %d requests/s for all services, half of them queries, which must not be repeated; the fault lasts %s, and no answer in %s is a failure",
		faultClients, clusterSize, faultRate, lasted, b.patience)
	failed := figure{name: c.name, label: "failed requests, " + c.about, about: about, format: formatCount, absent: true}
	detected := figure{name: c.name, label: "time to detect, " + c.about, about: "from the fault to the last request that failed", absent: true, format: func(seconds float64) string {
		switch {
		case math.IsInf(seconds, 1):
			return fmt.Sprintf("not in %s", lasted)
		case math.IsNaN(seconds):
			return "none failed"
		}
		return fmt.Sprintf("%.1f s", seconds)
	}}
	queries, all, again := column{title: "of them queries"}, column{title: "of all"}, column{title: "queries sent twice"}
	for i, p := range proxies {
		count, queriesFailed, sent, repeated := 0, 0, 0, 0
		var last time.Duration
		for _, o := range outcomes[i] {
			after := o.at.Add(o.duration).Sub(began)
			if after < 0 {
				continue
			}
			sent++
			if times[o.name] > 1 {
				repeated++
			}
			if !o.failed {
				continue
			}
			count++
			if o.query {
				queriesFailed++
			}
			last = max(last, o.at.Sub(began))
		}
		seconds := last.Seconds()
		switch {
		case count == 0:
			seconds = math.NaN()
		case lasted-last < time.Second: // which sees dozens of requests to the node
			seconds = math.Inf(1)
		}
		failed.proxies = append(failed.proxies, p.name)
		failed.values = append(failed.values, []float64{float64(count)})
		detected.proxies = append(detected.proxies, p.name)
		detected.values = append(detected.values, []float64{seconds})
		queries.cells = append(queries.cells, fmt.Sprint(queriesFailed))
		again.cells = append(again.cells, fmt.Sprint(repeated))
		all.cells = append(all.cells, fmt.Sprint(sent))
	}
	failed.columns = []column{queries, all, again}
	return []figure{failed, detected}
}
