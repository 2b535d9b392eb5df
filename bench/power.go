package main

import (
	"errors"
	"net"
	"time"
)

// What a node is told to be like a machine that is switched off, and on again.
const (
	powerOff = "off"
	powerOn  = "on"
)

// power makes a node's port silent as if there were no machine: with the queue of its
// listener full the kernel drops whoever dials. It needs no privilege, as a firewall's
// rule or a namespace would.
type power struct {
	listener *net.TCPListener
	fill     []net.Conn
}

const (
	mostWaiting  = 4096 // at a listener, when all is well
	dialPatience = 300 * time.Millisecond
	mostFill     = 100
)

var errNotSilent = errors.New("the port still takes connections")

func (p *power) off() error {
	if err := p.listener.SetDeadline(time.Unix(1, 0)); err != nil { // accept nobody
		return err
	}
	if err := p.setBacklog(0); err != nil {
		return err
	}
	for late := false; len(p.fill) < mostFill; {
		conn, err := net.DialTimeout("tcp", p.listener.Addr().String(), dialPatience)
		if err != nil && late {
			return nil // as wanted: a busy machine may be late for one connection, but not for two
		}
		if late = err != nil; !late {
			p.fill = append(p.fill, conn)
		}
	}
	return errNotSilent
}

func (p *power) on() error {
	for _, conn := range p.fill {
		_ = conn.Close()
	}
	p.fill = nil
	if err := p.setBacklog(mostWaiting); err != nil {
		return err
	}
	return p.listener.SetDeadline(time.Time{})
}

func (p *power) setBacklog(count int) error {
	raw, err := p.listener.SyscallConn()
	if err != nil {
		return err
	}
	var failure error
	if err := raw.Control(func(descriptor uintptr) { failure = setBacklog(descriptor, count) }); err != nil {
		return err
	}
	return failure
}

// powerOff makes the first node one that is switched off: whoever dials it waits, and
// so does whoever has a connection.
func (c *cluster) powerOff() error {
	if err := c.command(powerOff); err != nil {
		return err
	}
	for deadline := time.Now().Add(startTimeout); ; {
		conn, err := net.DialTimeout("tcp", c.addresses[0], dialPatience)
		if err != nil {
			return pause(c.processes[0].pid())
		}
		_ = conn.Close()
		if time.Now().After(deadline) {
			return errNotSilent
		}
	}
}

// powerOn switches the first node on again.
func (c *cluster) powerOn() error {
	if err := resume(c.processes[0].pid()); err != nil {
		return err
	}
	return c.command(powerOn)
}
