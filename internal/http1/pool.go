package http1

import (
	"context"
	"hash/maphash"
	"net/http/httptrace"
	"slices"
	"sync"
	"time"
)

// pools is how many pools a client has. While a thousand servers are asked at once,
// their requests would queue for the lock of a single one.
const pools = 32

// poolOf returns the pool of an address.
func (c *Client) poolOf(address string) *pool {
	return &c.pools[maphash.String(poolSeed, address)%pools]
}

var poolSeed = maphash.MakeSeed()

// pool are a client's connections to some of its addresses.
type pool struct {
	mu     sync.Mutex
	of     map[string]*origin
	sweeps *time.Timer // nil if there is no idle connection to close
	closed bool
}

// origin is what the pool holds for one address. It is dropped when it has no connection
// and nobody waits.
type origin struct {
	idle    []*connection // the one that was used last is last
	waiting []*waiter     // who came first is first
	open    int           // connections that are or are being made
	dials   []*waiter     // whose dial is under way, whether they wait still or not
}

// waiter is a request without a connection. It gets its own or one that another
// request gives back.
type waiter struct {
	ctx       context.Context
	result    chan result // of one
	satisfied bool        // or gone
	dialling  bool
	cancel    context.CancelFunc // of the dial
}

type result struct {
	conn *connection
	err  error
}

// acquire returns a connection for a request: one that is idle, if that is wanted,
// and otherwise whichever comes first, a new one or one that is given back.
func (c *Client) acquire(ctx context.Context, trace *httptrace.ClientTrace, address string, useIdle bool) (*connection, error) {
	if trace != nil && trace.GetConn != nil {
		trace.GetConn(address)
	}
	for {
		conn, w, surplus := c.take(ctx, address, useIdle)
		if surplus != nil {
			surplus.close()
		}
		wasIdle := conn != nil
		if w != nil {
			var err error
			if conn, err = c.wait(ctx, address, w); err != nil {
				return nil, err
			}
		}
		if conn.reused && !conn.isQuiet() {
			if conn.talks {
				c.suspect(address)
			}
			conn.close()
			continue
		}
		if trace != nil && trace.GotConn != nil {
			info := httptrace.GotConnInfo{Conn: conn.Conn, Reused: conn.reused, WasIdle: wasIdle}
			if wasIdle {
				info.IdleTime = time.Since(conn.since)
			}
			trace.GotConn(info)
		}
		return conn, nil
	}
}

// take returns an idle connection, or somebody who waits for one; and possibly a
// connection to be closed.
func (c *Client) take(ctx context.Context, address string, useIdle bool) (conn *connection, w *waiter, surplus *connection) {
	p := c.poolOf(address)
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.of[address]
	if s == nil {
		if p.of == nil {
			p.of = make(map[string]*origin)
		}
		s = new(origin)
		p.of[address] = s
	}
	if last := len(s.idle) - 1; last >= 0 {
		switch {
		case useIdle:
			conn = s.idle[last]
			s.idle[last] = nil
			s.idle = s.idle[:last]
			return conn, nil, nil
		case c.MaxConns > 0 && s.open >= c.MaxConns:
			surplus = s.idle[0]
			s.idle = slices.Delete(s.idle, 0, 1)
		}
	}
	w = &waiter{ctx: ctx, result: make(chan result, 1)}
	s.waiting = append(s.waiting, w)
	if c.MaxConns <= 0 || s.open < c.MaxConns {
		c.dial(address, s, w)
	}
	return nil, w, surplus
}

// wait waits for a connection until the request is given up.
func (c *Client) wait(ctx context.Context, address string, w *waiter) (*connection, error) {
	var got result
	select {
	case got = <-w.result:
	case <-ctx.Done():
		if c.leave(address, w) {
			return nil, context.Cause(ctx)
		}
		got = <-w.result
	}
	if ctx.Err() == nil {
		return got.conn, got.err
	}
	if got.conn != nil {
		c.giveBack(got.conn)
	}
	return nil, context.Cause(ctx)
}

// leave reports whether somebody still waited, who does so no more.
func (c *Client) leave(address string, w *waiter) bool {
	p := c.poolOf(address)
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.satisfy(p.of[address], w)
}

// satisfy takes somebody out of those who wait, and reports whether they did. The
// caller holds mu.
func (p *pool) satisfy(s *origin, w *waiter) bool {
	if w.satisfied {
		return false
	}
	w.satisfied = true
	if at := slices.Index(s.waiting, w); at >= 0 {
		s.waiting = slices.Delete(s.waiting, at, at+1)
	}
	if p.closed && w.dialling {
		w.cancel()
	}
	return true
}

// dial begins to dial for somebody. A connection that comes too late goes to whoever
// needs one. The caller holds mu.
func (c *Client) dial(address string, s *origin, w *waiter) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(w.ctx))
	w.dialling, w.cancel = true, cancel
	s.open++
	s.dials = append(s.dials, w)
	connect := c.Dial
	go func() {
		defer cancel()
		dialled, err := connect(ctx, address)
		if err != nil {
			c.dialEnded(address, w, result{err: err})
			c.lost(address)
			return
		}
		if conn := c.newConnection(dialled, address); !c.dialEnded(address, w, result{conn: conn}) {
			c.giveBack(conn)
		}
	}()
}

// dialEnded tells who dialled how that ended, if they wait still, and reports whether
// they did.
func (c *Client) dialEnded(address string, w *waiter, how result) bool {
	p := c.poolOf(address)
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.of[address]
	w.dialling = false
	s.dials = slices.DeleteFunc(s.dials, func(other *waiter) bool { return other == w })
	waited := p.satisfy(s, w)
	if waited {
		w.result <- how
	}
	return waited
}

// lost notes that a connection is gone, and dials for the first waiting request that has
// no dial under way.
func (c *Client) lost(address string) {
	p := c.poolOf(address)
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.of[address]
	s.open--
	if c.MaxConns > 0 && s.open < c.MaxConns {
		for _, w := range s.waiting {
			if !w.dialling {
				c.dial(address, s, w)
				break
			}
		}
	}
	p.forget(address, s)
}

// forget forgets an address without connections. The caller holds mu.
func (p *pool) forget(address string, s *origin) {
	if s.open == 0 && len(s.waiting) == 0 {
		delete(p.of, address)
	}
}

// giveBack gives a connection to somebody who waits, keeps it for the next request, or
// closes it.
func (c *Client) giveBack(conn *connection) {
	if !c.keep(conn) {
		conn.close()
	}
}

// suspect keeps no connection to a server for a while.
func (c *Client) suspect(address string) {
	if c.Suspects == nil {
		return
	}
	c.Suspects.Add(address)
	c.CloseIdle(address)
}

func (c *Client) keep(conn *connection) bool {
	if c.Suspects != nil && c.Suspects.Has(conn.address) {
		return false
	}
	p := c.poolOf(conn.address)
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.of[conn.address]
	conn.reused = true
	if len(s.waiting) > 0 {
		w := s.waiting[0]
		p.satisfy(s, w)
		w.result <- result{conn: conn}
		return true
	}
	if p.closed || len(s.idle) >= c.MaxIdle {
		return false
	}
	conn.since = time.Now()
	s.idle = append(s.idle, conn)
	if p.sweeps == nil && c.IdleTimeout > 0 {
		p.sweeps = time.AfterFunc(c.IdleTimeout, func() { closeAll(p.sweep(c.IdleTimeout)) })
	}
	return true
}

func closeAll(connections []*connection) {
	for _, conn := range connections {
		conn.close()
	}
}

// sweep returns what was idle for too long, and comes back when the next is.
func (p *pool) sweep(timeout time.Duration) (old []*connection) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed {
		return nil
	}
	now := time.Now()
	next := time.Duration(-1)
	for _, s := range p.of {
		count := 0
		for count < len(s.idle) && now.Sub(s.idle[count].since) >= timeout {
			count++
		}
		old = append(old, s.idle[:count]...)
		s.idle = append(s.idle[:0:0], s.idle[count:]...)
		if len(s.idle) == 0 {
			continue
		}
		if due := timeout - now.Sub(s.idle[0].since); next < 0 || due < next {
			next = due
		}
	}
	if next < 0 {
		p.sweeps = nil
		return old
	}
	p.sweeps.Reset(next)
	return old
}

func (p *pool) close() {
	p.mu.Lock()
	p.closed = true
	if p.sweeps != nil {
		p.sweeps.Stop()
	}
	var idle []*connection
	for _, s := range p.of {
		idle = append(idle, s.idle...)
		s.idle = nil
		for _, w := range s.dials {
			if w.satisfied {
				w.cancel()
			}
		}
	}
	p.mu.Unlock()
	closeAll(idle)
}
