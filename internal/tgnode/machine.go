package tgnode

import (
	"errors"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// machine is a node between being switched on and being switched off.
type machine struct {
	node     *Node
	listener *net.TCPListener
	off      chan struct{}
	tasks    sync.WaitGroup

	mu          sync.Mutex
	connections map[*net.TCPConn]struct{}
	fill        []net.Conn // fill the backlog while packets are dropped
}

func newMachine(n *Node, listener *net.TCPListener) *machine {
	m := &machine{
		node:        n,
		listener:    listener,
		off:         make(chan struct{}),
		connections: make(map[*net.TCPConn]struct{}),
	}
	m.tasks.Go(m.accept)
	return m
}

func (m *machine) accept() {
	for {
		conn, err := m.listener.AcceptTCP()
		switch {
		case errors.Is(err, net.ErrClosed):
			return
		case errors.Is(err, os.ErrDeadlineExceeded): // packets are dropped
			if !m.node.freezer.wait(m.off) {
				return
			}
			continue
		case err != nil: // most likely out of file descriptors
			select {
			case <-m.off:
				return
			case <-time.After(10 * time.Millisecond):
			}
			continue
		}
		if !m.add(conn) {
			abort(conn)
			return
		}
		number := m.node.accepted.Add(1)
		m.tasks.Go(func() {
			defer m.remove(conn)
			serve(m, conn, number)
		})
	}
}

// add registers a connection, unless the machine was just switched off.
func (m *machine) add(conn *net.TCPConn) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	select {
	case <-m.off:
		return false
	default:
		m.connections[conn] = struct{}{}
		return true
	}
}

func (m *machine) remove(conn *net.TCPConn) {
	_ = conn.Close() // may be closed already
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.connections, conn)
}

func (m *machine) open() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return len(m.connections)
}

func (m *machine) resetConnections() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for conn := range m.connections {
		abort(conn)
	}
}

// shutDown returns when the last goroutine has ended.
func (m *machine) shutDown() {
	_ = m.listener.Close() // nothing to be done about a failure
	m.mu.Lock()
	close(m.off)
	m.mu.Unlock()
	m.resetConnections()
	m.tasks.Wait()
}

// abort closes a connection with a TCP reset.
func abort(conn *net.TCPConn) {
	_ = conn.SetLinger(0) // fails only if it is closed already
	_ = conn.Close()
}

// dropPackets fills the listener's backlog, so that the kernel drops further
// connection requests. Nobody accepts meanwhile.
func (m *machine) dropPackets() error {
	if err := m.listener.SetDeadline(time.Now()); err != nil {
		return err
	}
	if err := setBacklog(m.listener, 0); err != nil {
		return err
	}
	late := false // a busy machine may be late for one connection, but not for two
	for range 16 {
		conn, err := net.DialTimeout("tcp", m.listener.Addr().String(), 300*time.Millisecond)
		if err != nil && late {
			return nil
		}
		if late = err != nil; late {
			continue
		}
		m.mu.Lock()
		m.fill = append(m.fill, conn)
		m.mu.Unlock()
	}
	return errors.New("backlog does not fill up")
}

func (m *machine) receivePackets() {
	m.mu.Lock()
	fill := m.fill
	m.fill = nil
	m.mu.Unlock()
	if fill != nil {
		// If it fails the backlog is merely short.
		_ = setBacklog(m.listener, 128)
	}
	for _, conn := range fill {
		_ = conn.Close()
	}
	_ = m.listener.SetDeadline(time.Time{}) // fails only if it is closed
}

// freezer holds connections up while the machine is frozen.
type freezer struct {
	ice atomic.Pointer[chan struct{}] // nil if not frozen
}

func (f *freezer) freeze() {
	ice := make(chan struct{})
	f.ice.CompareAndSwap(nil, &ice)
}

func (f *freezer) thaw() {
	if ice := f.ice.Swap(nil); ice != nil {
		close(*ice)
	}
}

// wait returns when the machine is not frozen, false if it was switched off.
func (f *freezer) wait(off <-chan struct{}) bool {
	ice := f.ice.Load()
	if ice == nil {
		return true
	}
	select {
	case <-*ice:
		return true
	case <-off:
		return false
	}
}
