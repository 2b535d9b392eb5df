package tgnode

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"strconv"
	"sync"
	"time"
)

// unknownLength announces a body in chunks.
const unknownLength = -1

// statusLines are those of nginx, which differ from net/http's here and there.
var statusLines = map[int]string{
	413: "413 Request Entity Too Large",
	414: "414 Request-URI Too Large",
	502: "502 Bad Gateway",
	503: "503 Service Temporarily Unavailable",
	504: "504 Gateway Time-out",
}

func nginxStatus(status int) string {
	if line, ok := statusLines[status]; ok {
		return line
	}
	return fmt.Sprintf("%d %s", status, http.StatusText(status))
}

// nginxPage is one of nginx's own error pages.
func nginxPage(status, detail string) []byte {
	title, line := status, ""
	if detail != "" {
		title = status[:len("400 ")] + detail
		line = "<center>" + detail + "</center>\r\n"
	}
	return []byte("<html>\r\n<head><title>" + title + "</title></head>\r\n<body>\r\n" +
		"<center><h1>" + status + "</h1></center>\r\n" + line +
		"<hr><center>nginx</center>\r\n</body>\r\n</html>\r\n")
}

// nginxError answers with nginx's own page.
func (c *connection) nginxError(status int, detail string) {
	c.respond(status, "text/html", nginxPage(nginxStatus(status), detail))
}

// writeHead puts the head of an answer into the output, in nginx's order.
func (c *connection) writeHead(status int, contentType string, length int64, fields []Field) {
	b := append(c.out, "HTTP/1.1 "...)
	if status == http.StatusOK {
		b = append(b, "200 OK"...)
	} else {
		b = append(b, nginxStatus(status)...)
	}
	b = append(b, "\r\nServer: nginx\r\nDate: "...)
	b = time.Now().UTC().AppendFormat(b, http.TimeFormat)
	if contentType != "" {
		b = append(b, "\r\nContent-Type: "...)
		b = append(b, contentType...)
	}
	switch {
	case length >= 0 && status != http.StatusNoContent && status != http.StatusNotModified:
		b = append(b, "\r\nContent-Length: "...)
		b = strconv.AppendInt(b, length, 10)
	case c.chunked:
		b = append(b, "\r\nTransfer-Encoding: chunked"...)
	}
	if c.keepAlive {
		b = append(b, "\r\nConnection: keep-alive"...)
	} else {
		b = append(b, "\r\nConnection: close"...)
	}
	if status < 400 { // nginx's add_header leaves errors out
		b = append(b, "\r\nX-Frame-Options: SAMEORIGIN"...)
	}
	for i := range fields {
		b = append(b, "\r\n"...)
		b = append(b, fields[i].Name...)
		b = append(b, ": "...)
		b = append(b, fields[i].Value...)
	}
	c.out = append(b, "\r\n\r\n"...)
}

// flush writes the output.
func (c *connection) flush() {
	if len(c.out) > 0 && !c.broken {
		if _, err := c.conn.Write(c.out); err != nil {
			c.broken = true
		}
	}
	c.out = c.out[:0]
}

func (c *connection) hasBody(status int) bool {
	return c.request.method != http.MethodHead && status != http.StatusNoContent && status != http.StatusNotModified
}

// respond writes a whole answer.
func (c *connection) respond(status int, contentType string, body []byte, fields ...Field) {
	c.writeHead(status, contentType, int64(len(body)), fields)
	if c.hasBody(status) {
		if c.slow != nil {
			c.writeSlowly(body)
			return
		}
		c.out = append(c.out, body...)
	}
	c.flush()
}

// writeSlowly writes a body late, or in pieces over the time of the fault.
func (c *connection) writeSlowly(body []byte) {
	c.flush()
	pieces := 1
	if c.slow.Mode == Trickle {
		pieces = max(1, min(len(body), 20))
	}
	delay := c.slow.delay() / time.Duration(pieces)
	for i := range pieces {
		if !c.pause(delay) {
			c.broken = true
			return
		}
		c.out = append(c.out, body[i*len(body)/pieces:(i+1)*len(body)/pieces]...)
		c.flush()
	}
}

// respondJSON writes an answer of the GUI, GSQL or RESTPP.
func (c *connection) respondJSON(status int, body string, fields ...Field) {
	c.respond(status, "application/json", []byte(body), fields...)
}

// startStream begins an answer of unknown length.
func (c *connection) startStream(status int, contentType string, fields ...Field) {
	if c.request.protocol == "HTTP/1.0" {
		c.keepAlive = false
	} else {
		c.chunked = true
	}
	c.writeHead(status, contentType, unknownLength, fields)
	if !c.hasBody(status) {
		return
	}
	if c.slow != nil {
		c.flush()
		if !c.pause(c.slow.delay()) {
			c.broken = true
		}
	}
	c.flush()
}

// stream writes the next part of the answer at once.
func (c *connection) stream(part []byte) {
	if len(part) == 0 || !c.hasBody(http.StatusOK) {
		return
	}
	if c.chunked {
		c.out = strconv.AppendInt(c.out, int64(len(part)), 16)
		c.out = append(c.out, "\r\n"...)
		c.out = append(c.out, part...)
		c.out = append(c.out, "\r\n"...)
	} else {
		c.out = append(c.out, part...)
	}
	c.flush()
}

func (c *connection) endStream() {
	if c.chunked && c.hasBody(http.StatusOK) {
		c.out = append(c.out, "0\r\n\r\n"...)
	}
	c.flush()
}

const (
	resultPrefix = `{"error":false,"message":"","results":["`
	resultSuffix = "\"]}\n"
)

// filler is what large results consist of: text that hardly compresses.
var filler = sync.OnceValue(func() []byte {
	const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_"
	block := make([]byte, 1<<20)
	random := rand.New(rand.NewPCG(1, 2))
	for i := range block {
		block[i] = letters[random.Uint64()%uint64(len(letters))]
	}
	return block
})

// respondBytes writes a JSON result of exactly this size (of a few dozen bytes
// at least), in chunks or with Content-Length, without building it.
func (c *connection) respondBytes(size int64, chunked bool) {
	length := max(size, int64(len(resultPrefix)+len(resultSuffix)))
	rest := length - int64(len(resultPrefix)+len(resultSuffix))
	block := filler()
	if chunked {
		c.startStream(http.StatusOK, "application/json")
		c.stream([]byte(resultPrefix))
		for rest > 0 && !c.broken {
			n := min(rest, 32<<10)
			c.stream(block[:n])
			rest -= n
		}
		c.stream([]byte(resultSuffix))
		c.endStream()
		return
	}
	c.writeHead(http.StatusOK, "application/json", length, nil)
	if !c.hasBody(http.StatusOK) {
		c.flush()
		return
	}
	if c.slow != nil {
		c.flush()
		if !c.pause(c.slow.delay()) {
			c.broken = true
			return
		}
	}
	c.out = append(c.out, resultPrefix...)
	for rest > 0 && !c.broken {
		n := min(rest, int64(len(block)))
		rest -= n
		parts := net.Buffers{c.out, block[:n]}
		if rest == 0 {
			parts = append(parts, []byte(resultSuffix))
		}
		if _, err := parts.WriteTo(c.conn); err != nil {
			c.broken = true
		}
		c.out = c.out[:0]
		if rest == 0 {
			return
		}
	}
	c.out = append(c.out, resultSuffix...)
	c.flush()
}

// quote is s as a JSON string.
func quote(s string) string {
	quoted, _ := json.Marshal(s) // a string always has one
	return string(quoted)
}
