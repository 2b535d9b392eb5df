package tgnode

import (
	"crypto/sha1" // RFC 6455 wants it
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Echo is the answer to any path that ends in /__echo.
type Echo struct {
	Node       string      `json:"node"`
	Service    string      `json:"service"`
	Method     string      `json:"method"`
	Target     string      `json:"target"`
	Protocol   string      `json:"protocol"`
	Peer       string      `json:"peer"`
	Connection int64       `json:"connection"`
	Sequence   int         `json:"sequence"`
	Received   [][2]string `json:"received"`  // by nginx, in order
	Forwarded  [][2]string `json:"forwarded"` // by nginx to the service
	BodyBytes  int64       `json:"body_bytes"`
}

// echo tells the client what arrived, or switches protocols if it may. It
// returns false for a path that nginx serves itself.
func (c *connection) echo() bool {
	r := &c.request
	if r.service == Static {
		return false
	}
	if r.upgrade != "" && c.options.Streaming {
		c.upgrade()
		return true
	}
	echo := Echo{
		Node:       r.backend.name,
		Service:    r.service.String(),
		Method:     r.method,
		Target:     r.target,
		Protocol:   r.protocol,
		Peer:       c.peer(),
		Connection: c.number,
		Sequence:   c.served,
		Received:   make([][2]string, len(r.fields)),
		Forwarded:  c.forwarded(),
		BodyBytes:  r.bodyBytes,
	}
	for i, f := range r.fields {
		echo.Received[i] = [2]string{f.Name, f.Value}
	}
	body, err := json.Marshal(echo)
	if err != nil {
		c.respondJSON(http.StatusInternalServerError, `{"error":true,"message":`+quote(err.Error())+`}`)
		return true
	}
	c.respond(http.StatusOK, "application/json", body)
	return true
}

// forwarded is the header as the service gets it from nginx.
func (c *connection) forwarded() [][2]string {
	r := &c.request
	var fields [][2]string
	dropped := map[string]bool{}
	if r.service != RESTPP { // which gets FastCGI, not a proxied request
		host := "localhost:14242"
		if r.service == GSQL {
			host = "gsql_server"
		}
		peer := c.tcp.RemoteAddr().(*net.TCPAddr).IP.String()
		fields = append(fields, [2]string{"X-Real-IP", peer}, [2]string{"Host", host}, [2]string{"Connection", "close"})
		dropped = map[string]bool{"x-real-ip": true, "host": true, "connection": true, "keep-alive": true, "upgrade": true, "expect": true}
	}
	for _, f := range r.fields {
		if !dropped[strings.ToLower(f.Name)] {
			fields = append(fields, [2]string{f.Name, f.Value})
		}
	}
	return fields
}

// events sends server-sent events: n of them, with a pause between (parameters
// n and every). The documented nginx holds back the GUI's until all are there.
func (c *connection) events() {
	r := &c.request
	n, err := strconv.Atoi(r.parameter("n"))
	if err != nil {
		n = 3
	}
	every, err := time.ParseDuration(r.parameter("every"))
	if err != nil {
		every = 100 * time.Millisecond
	}
	buffered := r.service == GUI && !c.options.Streaming
	if !buffered {
		c.startStream(http.StatusOK, "text/event-stream", Field{"Cache-Control", "no-cache"})
	}
	var all []byte
	for i := range n {
		if i > 0 && !c.pause(every) {
			c.broken = true
			return
		}
		event := fmt.Appendf(nil, "data: %d\n\n", i+1)
		if buffered {
			all = append(all, event...)
		} else {
			c.stream(event)
		}
	}
	if buffered {
		c.respond(http.StatusOK, "text/event-stream", all, Field{"Cache-Control", "no-cache"})
		return
	}
	c.endStream()
}

// upgrade switches protocols and echoes: WebSocket messages, or the bytes of
// any other protocol.
func (c *connection) upgrade() {
	r := &c.request
	c.out = append(c.out, "HTTP/1.1 101 Switching Protocols\r\nServer: nginx\r\nConnection: upgrade\r\nUpgrade: "...)
	c.out = append(c.out, r.upgrade...)
	isWebSocket := strings.EqualFold(r.upgrade, "websocket")
	if isWebSocket {
		sum := sha1.Sum([]byte(r.header("Sec-WebSocket-Key") + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"))
		c.out = append(c.out, "\r\nSec-WebSocket-Accept: "...)
		c.out = base64.StdEncoding.AppendEncode(c.out, sum[:])
	}
	c.out = append(c.out, "\r\n\r\n"...)
	c.flush()
	_ = c.conn.SetReadDeadline(time.Time{}) // fails only if closed
	if isWebSocket {
		for c.echoFrame() == nil {
		}
	} else {
		_, _ = io.Copy(c.conn, c.reader) // ends with the client
	}
	c.broken = true
}

// echoFrame sends one WebSocket frame back, unmasked as a server's must be.
func (c *connection) echoFrame() error {
	const opcodeClose, opcodePing, opcodePong = 8, 9, 10
	var head [2]byte
	if _, err := io.ReadFull(c.reader, head[:]); err != nil {
		return err
	}
	size := int(head[1] & 0x7f)
	if size >= 126 {
		extended := make([]byte, 2)
		if size == 127 {
			extended = make([]byte, 8)
		}
		if _, err := io.ReadFull(c.reader, extended); err != nil {
			return err
		}
		size = 0
		for _, b := range extended {
			size = size<<8 | int(b)
		}
		if size < 0 || size > 1<<20 {
			return errors.New("frame too large")
		}
	}
	var mask [4]byte
	if head[1]&0x80 != 0 {
		if _, err := io.ReadFull(c.reader, mask[:]); err != nil {
			return err
		}
	}
	payload := make([]byte, size)
	if _, err := io.ReadFull(c.reader, payload); err != nil {
		return err
	}
	for i := range payload {
		payload[i] ^= mask[i%4]
	}
	opcode := head[0] & 0x0f
	if opcode == opcodePing {
		head[0] = head[0]&0xf0 | opcodePong
	}
	c.out = append(c.out, head[0])
	switch {
	case size < 126:
		c.out = append(c.out, byte(size))
	case size < 1<<16:
		c.out = append(c.out, 126, byte(size>>8), byte(size))
	default:
		c.out = append(c.out, 127, 0, 0, 0, 0, byte(size>>24), byte(size>>16), byte(size>>8), byte(size))
	}
	c.out = append(c.out, payload...)
	c.flush()
	if opcode == opcodeClose || c.broken {
		return io.EOF
	}
	return nil
}
