package http1

import (
	"sync"
	"time"
)

// idle are the connections of a client that serve no request.
type idle struct {
	mu     sync.Mutex
	of     map[string][]*connection // by address; the one that was used last is last
	sweeps *time.Timer              // nil if there is none to close
	closed bool
}

// take returns the connection to an address that was used last, nil if there is
// none that lives.
func (i *idle) take(address string) *connection {
	for {
		conn := i.pop(address)
		if conn == nil || conn.isQuiet() {
			return conn
		}
		conn.abort()
	}
}

func (i *idle) pop(address string) *connection {
	i.mu.Lock()
	defer i.mu.Unlock()
	all := i.of[address]
	if len(all) == 0 {
		return nil
	}
	last := len(all) - 1
	conn := all[last]
	all[last] = nil
	i.of[address] = all[:last]
	return conn
}

// put keeps a connection for the next request, or closes it.
func (i *idle) put(conn *connection) {
	if !i.keep(conn) {
		conn.abort()
	}
}

func (i *idle) keep(conn *connection) bool {
	i.mu.Lock()
	defer i.mu.Unlock()
	all := i.of[conn.address]
	if i.closed || len(all) >= conn.client.MaxIdle {
		return false
	}
	if i.of == nil {
		i.of = make(map[string][]*connection)
	}
	conn.since = time.Now()
	i.of[conn.address] = append(all, conn)
	if timeout := conn.client.IdleTimeout; i.sweeps == nil && timeout > 0 {
		i.sweeps = time.AfterFunc(timeout, func() { i.sweep(timeout) })
	}
	return true
}

// sweep closes what was idle for too long, and comes back when the next is.
func (i *idle) sweep(timeout time.Duration) {
	i.mu.Lock()
	defer i.mu.Unlock()
	if i.closed {
		return
	}
	now := time.Now()
	next := time.Duration(-1)
	for address, all := range i.of {
		old := 0
		for old < len(all) && now.Sub(all[old].since) >= timeout {
			all[old].abort()
			old++
		}
		if old == len(all) {
			delete(i.of, address)
			continue
		}
		i.of[address] = append(all[:0:0], all[old:]...)
		if due := timeout - now.Sub(all[old].since); next < 0 || due < next {
			next = due
		}
	}
	if next < 0 {
		i.sweeps = nil
		return
	}
	i.sweeps.Reset(next)
}

func (i *idle) close() {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.closed = true
	if i.sweeps != nil {
		i.sweeps.Stop()
	}
	for _, all := range i.of {
		for _, conn := range all {
			conn.abort()
		}
	}
	i.of = nil
}
