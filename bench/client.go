package main

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// exchange is a request that clients send over and over.
type exchange struct {
	method, path string
	upload       int64 // bytes of the request's body
	download     int64 // bytes that the answer must have, if more than 0
}

// client is one client over one connection: HTTP/1.1, kept alive, with the
// cookies of its login.
type client struct {
	target  target
	source  net.IP
	conn    net.Conn
	reader  *bufio.Reader
	cookies []string
	header  []byte // of the exchange to come
	sent    exchange

	buffer   int           // how large it is for answers; enough for a bulk transfer if 0
	patience time.Duration // for an answer; enough for a bulk transfer if 0
}

// uploadBlock is what the bodies of requests consist of.
var uploadBlock = bytes.Repeat([]byte("17,Ada,36,ca\n17"), 16<<10)

// target is where clients send their requests.
type target struct {
	address string
	tls     bool
}

// What a client has of its own accord.
const (
	defaultBuffer   = 64 << 10
	defaultPatience = 2 * time.Minute
)

// newClient returns the i-th client. Each has an address of its own, since what
// goes by address (nginx's ip_hash minds the first three octets) would give all
// to one node otherwise.
func newClient(to target, i int) *client {
	return &client{target: to, source: net.IPv4(127, 0, byte(1+i%250), 1)}
}

func (c *client) close() {
	if c.conn != nil {
		_ = c.conn.Close()
		c.conn = nil
	}
}

func (c *client) connect(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, cmp.Or(c.patience, defaultPatience))
	defer cancel()
	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: c.source}}
	conn, err := dialer.DialContext(ctx, "tcp", c.target.address)
	if err != nil {
		return err
	}
	if c.target.tls {
		// The certificate was made a moment ago, and who is at the other end is known.
		secured := tls.Client(conn, &tls.Config{ServerName: "localhost", InsecureSkipVerify: true, NextProtos: []string{"http/1.1"}})
		if err := secured.HandshakeContext(ctx); err != nil {
			_ = conn.Close()
			return err
		}
		// What is compared is proxies, not ciphers.
		if suite := secured.ConnectionState().CipherSuite; suite != tls.TLS_AES_128_GCM_SHA256 {
			_ = conn.Close()
			return fmt.Errorf("the proxy chose %s, expected TLS_AES_128_GCM_SHA256", tls.CipherSuiteName(suite))
		}
		conn = secured
	}
	c.conn = conn
	if c.reader == nil {
		c.reader = bufio.NewReaderSize(nil, cmp.Or(c.buffer, defaultBuffer))
	}
	c.reader.Reset(conn)
	return nil
}

// login gets the client a session, and all cookies that come with it.
func (c *client) login(ctx context.Context) error {
	status, err := c.do(ctx, exchange{method: "POST", path: loginPath, upload: 40})
	if err != nil {
		return fmt.Errorf("login: %w", err)
	}
	if status != 200 {
		return fmt.Errorf("login: status %d", status)
	}
	c.sent = exchange{} // the header is to have the cookies from now on
	return nil
}

// become takes another client's address and cookies, so that both are on one node.
func (c *client) become(other *client) {
	c.close()
	c.source, c.cookies, c.sent = other.source, slices.Clone(other.cookies), exchange{}
}

// do sends a request and reads the answer, all of it.
func (c *client) do(ctx context.Context, e exchange) (status int, err error) {
	if c.conn == nil {
		if err := c.connect(ctx); err != nil {
			return 0, err
		}
	}
	keep := false
	defer func() {
		if !keep {
			c.close()
		}
	}()
	if err := c.conn.SetDeadline(time.Now().Add(cmp.Or(c.patience, defaultPatience))); err != nil {
		return 0, err
	}
	if err := c.send(e); err != nil {
		return 0, err
	}
	status, length, keep, err := c.receive()
	if err == nil && e.download > 0 && status == 200 && length != e.download {
		err = fmt.Errorf("the answer has %d bytes, expected %d", length, e.download)
	}
	return status, err
}

func (c *client) send(e exchange) error {
	if c.header == nil || c.sent != e {
		// As Python's requests sends it, which pyTigerGraph uses.
		header := e.method + " " + e.path + " HTTP/1.1\r\nHost: localhost\r\nUser-Agent: python-requests/2.32.5\r\nAccept-Encoding: gzip, deflate\r\nAccept: */*\r\nConnection: keep-alive\r\n"
		if len(c.cookies) > 0 {
			header += "Cookie: " + strings.Join(c.cookies, "; ") + "\r\n"
		}
		if e.upload > 0 {
			header += "Content-Type: application/json\r\nContent-Length: " + strconv.FormatInt(e.upload, 10) + "\r\n"
		}
		c.header, c.sent = []byte(header+"\r\n"), e
	}
	if _, err := c.conn.Write(c.header); err != nil {
		return err
	}
	for left := e.upload; left > 0; {
		written, err := c.conn.Write(uploadBlock[:min(left, int64(len(uploadBlock)))])
		if err != nil {
			return err
		}
		left -= int64(written)
	}
	return nil
}

// receive reads an answer. The length is that of its body.
func (c *client) receive() (status int, length int64, keep bool, err error) {
	line, err := c.reader.ReadSlice('\n')
	if err != nil {
		return 0, 0, false, err
	}
	if len(line) < len("HTTP/1.1 200") || !bytes.HasPrefix(line, []byte("HTTP/1.")) {
		return 0, 0, false, fmt.Errorf("no HTTP: %q", line)
	}
	if status, err = strconv.Atoi(string(line[9:12])); err != nil {
		return 0, 0, false, err
	}
	length, chunked := int64(-1), false
	keep = true
	for {
		line, err := c.reader.ReadSlice('\n')
		if err != nil {
			return status, 0, false, err
		}
		name, value, found := bytes.Cut(line, []byte(":"))
		if !found {
			break
		}
		value = bytes.TrimSpace(value)
		switch {
		case bytes.EqualFold(name, []byte("Content-Length")):
			if length, err = strconv.ParseInt(string(value), 10, 64); err != nil {
				return status, 0, false, err
			}
		case bytes.EqualFold(name, []byte("Transfer-Encoding")):
			chunked = true
		case bytes.EqualFold(name, []byte("Connection")):
			keep = !bytes.EqualFold(value, []byte("close"))
		case bytes.EqualFold(name, []byte("Set-Cookie")):
			cookie, _, _ := bytes.Cut(value, []byte(";"))
			c.setCookie(string(cookie))
		}
	}
	switch {
	case chunked:
		length, err = c.discardChunks()
	case length >= 0:
		err = discard(c.reader, length)
	default: // nginx, with chunked_transfer_encoding off
		keep = false
		length, err = io.Copy(io.Discard, c.reader)
	}
	return status, length, keep && err == nil, err
}

// setCookie keeps a cookie, in place of the one of that name.
func (c *client) setCookie(cookie string) {
	name, _, _ := strings.Cut(cookie, "=")
	c.sent = exchange{}
	for i, other := range c.cookies {
		if strings.HasPrefix(other, name+"=") {
			c.cookies[i] = cookie
			return
		}
	}
	c.cookies = append(c.cookies, cookie)
}

func (c *client) discardChunks() (length int64, err error) {
	for {
		line, err := c.reader.ReadSlice('\n')
		if err != nil {
			return length, err
		}
		size, err := strconv.ParseInt(string(bytes.TrimSpace(line)), 16, 64)
		if err != nil {
			return length, err
		}
		if err := discard(c.reader, size+int64(len("\r\n"))); err != nil { // no trailer
			return length, err
		}
		length += size
		if size == 0 {
			return length, nil
		}
	}
}

// connectClients returns so many clients that have logged in.
func connectClients(ctx context.Context, to target, count int) ([]*client, error) {
	clients := make([]*client, count)
	for i := range clients {
		clients[i] = newClient(to, i)
		if err := clients[i].login(ctx); err != nil {
			closeClients(clients[:i+1])
			return nil, err
		}
	}
	return clients, nil
}

func closeClients(clients []*client) {
	for _, c := range clients {
		c.close()
	}
}

// load is what clients did.
type load struct {
	requests int64
	failed   int64
	failure  error // one of them
	took     time.Duration
}

// repeat lets each client send the request again and again, until the time is
// over and each has its last answer.
func repeat(ctx context.Context, clients []*client, e exchange, duration time.Duration) load {
	var done load
	var mu sync.Mutex
	var ended atomic.Bool
	start := time.Now()
	timer := time.AfterFunc(duration, func() { ended.Store(true) })
	defer timer.Stop()
	var wg sync.WaitGroup
	for _, c := range clients {
		wg.Go(func() {
			var requests, failed int64
			var failure error
			for first := true; (first || !ended.Load()) && ctx.Err() == nil; first = false {
				status, err := c.do(ctx, e)
				if err == nil && status != 200 {
					err = fmt.Errorf("status %d", status)
				}
				requests++
				if err != nil {
					failed++
					failure = err
				}
			}
			mu.Lock()
			defer mu.Unlock()
			done.requests += requests
			done.failed += failed
			done.failure = errors.Join(done.failure, failure)
		})
	}
	wg.Wait()
	done.took = time.Since(start)
	return done
}
