package main

import (
	"context"
	"io"
	"net"
	"sync"
	"time"
)

const (
	// So many bad uploads a second come to each proxy.
	badRate = 20
	// The attacker waits for an answer so long.
	badPatience = time.Second
)

// badPaths are where the bad uploads go: one path of each service.
var badPaths = []string{"/restpp/ddl/social", "/api/up", "/gsqlserver/gsql/file"}

// attack sends a proxy uploads whose bodies are no chunks, at a steady rate, until the
// context ends. What they are answered is nobody's concern.
func attack(ctx context.Context, to target) {
	var wg sync.WaitGroup
	defer wg.Wait()
	ticker := time.NewTicker(time.Second / badRate)
	defer ticker.Stop()
	for i := 0; ; i++ {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		wg.Go(func() { uploadBadly(ctx, to, badPaths[i%len(badPaths)]) })
	}
}

func uploadBadly(ctx context.Context, to target, path string) {
	ctx, cancel := context.WithTimeout(ctx, badPatience)
	defer cancel()
	// The attacker has an address that no other client has.
	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 254, 1)}}
	conn, err := dialer.DialContext(ctx, "tcp", to.address)
	if err != nil {
		return
	}
	defer func() { _ = conn.Close() }()
	_ = conn.SetDeadline(time.Now().Add(badPatience)) // fails only if closed
	_, _ = io.WriteString(conn, "POST "+path+" HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\nZZ\r\n")
	_, _ = io.Copy(io.Discard, conn)
}
