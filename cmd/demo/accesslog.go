package main

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"sync"
)

// loggedRequest is what the demo reads of a line of Caddy's access log. Node and
// Affinity are there because the Caddyfile appends the policy's placeholders.
type loggedRequest struct {
	Request struct {
		Method string `json:"method"`
		URI    string `json:"uri"`
	} `json:"request"`
	Status   int    `json:"status"`
	Node     string `json:"node"`
	Affinity string `json:"affinity"`
}

// isUnanswered tells whether the edge had to answer itself.
func (r loggedRequest) isUnanswered() bool {
	switch r.Status {
	case http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return true
	}
	return r.Node == ""
}

// accessLog is where Caddy sends its access log.
type accessLog struct {
	listener net.Listener
	readers  sync.WaitGroup

	mu     sync.Mutex
	conns  []net.Conn
	closed bool
}

// readAccessLog listens for the log and hands each line to observe.
func readAccessLog(observe func(loggedRequest)) (*accessLog, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listening for the access log: %w", err)
	}
	l := &accessLog{listener: listener}
	l.readers.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return // closed
			}
			l.readers.Go(func() { l.read(conn, observe) })
		}
	})
	return l, nil
}

func (l *accessLog) read(conn net.Conn, observe func(loggedRequest)) {
	defer conn.Close()
	l.mu.Lock()
	l.conns = append(l.conns, conn)
	closed := l.closed
	l.mu.Unlock()
	if closed {
		return
	}
	for lines := json.NewDecoder(conn); ; {
		var r loggedRequest
		if err := lines.Decode(&r); err != nil {
			return // closed
		}
		observe(r)
	}
}

func (l *accessLog) address() string { return l.listener.Addr().String() }

// close is for when Caddy has stopped, which leaves its end of the connection
// open.
func (l *accessLog) close() {
	_ = l.listener.Close()
	l.mu.Lock()
	l.closed = true
	for _, conn := range l.conns {
		_ = conn.Close()
	}
	l.mu.Unlock()
	l.readers.Wait()
}
