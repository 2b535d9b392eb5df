package http1

import (
	"context"
	"net"
	"sync"
	"syscall"
	"time"
)

// Limit bounds the connections to an address that several clients make. Dialling
// waits for room; each client is asked meanwhile to close what it does not use.
type Limit struct {
	Most int

	mu   sync.Mutex
	open map[string]int
}

// Dial dials once there is room. free closes idle connections of the other clients.
func (l *Limit) Dial(ctx context.Context, address string, free func(), dial func() (net.Conn, error)) (net.Conn, error) {
	for !l.take(address) {
		free()
		if l.take(address) {
			break
		}
		again := time.NewTimer(10 * time.Millisecond)
		select {
		case <-again.C:
		case <-ctx.Done():
			again.Stop()
			return nil, context.Cause(ctx)
		}
	}
	conn, err := dial()
	if err != nil {
		l.giveBack(address)
		return nil, err
	}
	return &limited{Conn: conn, giveBack: sync.OnceFunc(func() { l.giveBack(address) })}, nil
}

func (l *Limit) take(address string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.open[address] >= l.Most {
		return false
	}
	if l.open == nil {
		l.open = make(map[string]int)
	}
	l.open[address]++
	return true
}

func (l *Limit) giveBack(address string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.open[address]--; l.open[address] == 0 {
		delete(l.open, address)
	}
}

// limited is a connection that counts.
type limited struct {
	net.Conn
	giveBack func()
}

// SyscallConn implements syscall.Conn as far as the connection does.
func (c *limited) SyscallConn() (syscall.RawConn, error) {
	socket, is := c.Conn.(syscall.Conn)
	if !is {
		return nil, syscall.EINVAL
	}
	return socket.SyscallConn()
}

// Close closes the connection.
func (c *limited) Close() error {
	defer c.giveBack()
	return c.Conn.Close()
}
