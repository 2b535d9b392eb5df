package main

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http/httputil"
	"os"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// nodeEnvironment holds the name of the node that a process is, if it is one.
const nodeEnvironment = "TIGERGRAPH_BENCH_NODE"

// pieceEnvironment holds how many bytes a node writes at a time.
const pieceEnvironment = "TIGERGRAPH_BENCH_PIECE"

// What RESTPP answers comes through the node's own nginx, which has 8 buffers of
// 4 kB for it.
const defaultPiece = 32 << 10

// What the nodes serve, at paths as TigerGraph has them.
const (
	loginPath   = "/api/auth/login"
	smallPath   = "/restpp/query/social/friends?person=42"
	onePath     = "/restpp/query/social/friends?request=" // a query with a name of its own
	pacedPath   = "/restpp/query/social/paced?request="   // one that takes its time
	megabPath   = "/restpp/query/social/neighbours?depth=3"
	bulkPath    = "/restpp/query/social/export?bytes="
	chunkedPath = "/restpp/query/social/stream?bytes="
	uploadPath  = "/restpp/ddl/social?tag=load&filename=f1"
)

// queryLine begins a line about a query that a node was sent.
const queryLine = "query "

const (
	megabyte = 1_000_000
	gigabyte = 1_000_000_000
)

// node is a stand-in node that costs as little as possible: internal/tgnode is
// truer, and too slow to be measured with.
type node struct {
	name                string
	small, megab        []byte
	login, upload, pong []byte
	version, echo       []byte
	refused, missing    []byte
	block               []byte // of a bulk answer
	chunk               []byte // the same, as a chunk
	resets              atomic.Bool
	slow                atomic.Bool
	atWork              chan struct{} // one for each query that is being answered
}

// runNode is a node's process: it serves the listener that it inherits until
// its standard input ends, which is when the benchmark does.
func runNode(name string) error {
	listener, err := net.FileListener(os.NewFile(3, "listener"))
	if err != nil {
		return fmt.Errorf("the listener of node %s: %w", name, err)
	}
	piece, err := strconv.Atoi(os.Getenv(pieceEnvironment))
	if err != nil || piece < 1 {
		return fmt.Errorf("node %s has to write %q bytes at a time", name, os.Getenv(pieceEnvironment))
	}
	n := newNode(name, piece)
	supply := &power{listener: listener.(*net.TCPListener)}
	go n.serve(listener)
	commands := bufio.NewScanner(os.Stdin)
	for commands.Scan() {
		n.resets.Store(commands.Text() == "reset")
		n.slow.Store(commands.Text() == "slow")
		switch commands.Text() {
		case powerOff:
			err = supply.off()
		case powerOn:
			if err = supply.on(); err == nil {
				go n.serve(listener)
			}
		}
		if err != nil {
			return fmt.Errorf("node %s, told %q: %w", name, commands.Text(), err)
		}
	}
	return commands.Err()
}

func newNode(name string, piece int) *node {
	n := &node{name: name, block: make([]byte, piece), atWork: make(chan struct{}, pacedAtOnce)}
	for i := range n.block {
		n.block[i] = "0123456789abcdef"[i%16]
	}
	n.chunk = fmt.Appendf(nil, "%x\r\n%s\r\n", piece, n.block)
	result := `{"version":{"edition":"enterprise","api":"v2","schema":1},"error":false,"message":"","results":[{"friends":[{"v_id":"17","v_type":"person","attributes":{"name":"Ada","age":36,"state":"ca"}}]}]}`
	n.small = answer("200 OK", "", result)
	n.megab = answer("200 OK", "", strings.Repeat(result, megabyte/len(result)+1)[:megabyte])
	n.login = answer("200 OK", "Set-Cookie: TigerGraphApp="+name+"-5eaf48c3-cb0b-4c78-9f27; Path=/; HttpOnly\r\n", `{"error":false,"message":"","results":{}}`)
	n.upload = answer("200 OK", "", `{"error":false,"message":"","results":[{"statistics":{"validLine":1}}]}`)
	n.pong = answer("200 OK", "", `{"error":false,"message":"pong","results":null}`)
	n.echo = answer("200 OK", "", `{"error":false,"message":"Hello GSQL"}`)
	n.version = answer("200 OK", "", `{"error":false,"message":"GSQL version: 4.2.0"}`)
	n.refused = answer("401 Unauthorized", "", `{"error":true,"message":"You are not authorized to use this API."}`)
	n.missing = answer("404 Not Found", "", `{"error":true,"message":"not found"}`)
	return n
}

// head is the header of an answer but for the length of its body.
func head(status, fields string) string {
	return "HTTP/1.1 " + status + "\r\nServer: nginx\r\nDate: " + time.Now().UTC().Format("Mon, 02 Jan 2006 15:04:05 GMT") +
		"\r\nContent-Type: application/json\r\nConnection: keep-alive\r\n" + fields
}

func answer(status, fields, body string) []byte {
	return []byte(head(status, fields) + "Content-Length: " + strconv.Itoa(len(body)) + "\r\n\r\n" + body)
}

func (n *node) serve(listener net.Listener) {
	for {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		go func() {
			defer func() { _ = conn.Close() }()
			if err := n.serveConn(conn); err != nil && !errors.Is(err, io.EOF) {
				_ = conn.(*net.TCPConn).SetLinger(0)
			}
		}()
	}
}

// errReset ends a connection with a reset.
var errReset = errors.New("reset")

func (n *node) serveConn(conn net.Conn) error {
	reader := bufio.NewReaderSize(conn, 64<<10)
	for {
		if n.resets.Load() {
			return errReset
		}
		line, err := reader.ReadSlice('\n')
		if err != nil {
			return err
		}
		_, rest, _ := bytes.Cut(line, []byte(" "))
		target, _, _ := bytes.Cut(rest, []byte(" "))
		path := string(target)
		for _, prefix := range []string{onePath, pacedPath} {
			if id, found := strings.CutPrefix(path, prefix); found {
				fmt.Println(queryLine + id)
			}
		}
		if n.resets.Load() {
			return errReset
		}
		request, err := n.readHeader(reader)
		if err != nil {
			return err
		}
		if err := n.answer(conn, path, request); err != nil {
			return err
		}
	}
}

// nodeRequest is what a node minds of a request's header.
type nodeRequest struct {
	length          int64
	chunked         bool
	strange         bool // the session of another node
	expectsContinue bool
	body            *bufio.Reader
}

func (n *node) readHeader(reader *bufio.Reader) (request nodeRequest, err error) {
	request.body = reader
	for {
		line, err := reader.ReadSlice('\n')
		if err != nil {
			return request, err
		}
		name, value, found := bytes.Cut(line, []byte(":"))
		if !found {
			return request, nil
		}
		switch {
		case bytes.EqualFold(name, []byte("Content-Length")):
			request.length, err = strconv.ParseInt(string(bytes.TrimSpace(value)), 10, 64)
			if err != nil {
				return request, err
			}
		case bytes.EqualFold(name, []byte("Transfer-Encoding")):
			request.chunked = true
		case bytes.EqualFold(name, []byte("Expect")):
			request.expectsContinue = true
		case bytes.EqualFold(name, []byte("Cookie")):
			if _, session, found := bytes.Cut(value, []byte("TigerGraphApp=")); found {
				request.strange = !bytes.HasPrefix(session, []byte(n.name+"-"))
			}
		}
	}
}

func (n *node) answer(conn net.Conn, path string, request nodeRequest) error {
	if request.expectsContinue {
		if _, err := io.WriteString(conn, "HTTP/1.1 100 Continue\r\n\r\n"); err != nil {
			return err
		}
	}
	if request.chunked {
		chunks := httputil.NewChunkedReader(request.body)
		if _, err := io.Copy(io.Discard, chunks); err != nil {
			return err
		}
		if _, err := request.body.Discard(len("\r\n")); err != nil { // no trailer
			return err
		}
	} else if err := discard(request.body, request.length); err != nil {
		return err
	}
	response := n.missing
	bytesWanted := func(prefix string) (count int64) {
		count, _ = strconv.ParseInt(strings.TrimPrefix(path, prefix), 10, 64)
		return count
	}
	switch {
	case request.strange:
		response = n.refused
	case path == smallPath, strings.HasPrefix(path, onePath):
		response = n.small
	case strings.HasPrefix(path, pacedPath):
		n.work()
		response = n.small
	case path == megabPath:
		response = n.megab
	case strings.HasPrefix(path, bulkPath):
		return n.writeBulk(conn, bytesWanted(bulkPath))
	case strings.HasPrefix(path, chunkedPath):
		return n.writeChunks(conn, bytesWanted(chunkedPath))
	case path == uploadPath:
		response = n.upload
	case path == loginPath:
		response = n.login
	case path == "/api/ping":
		response = n.pong
	case path == "/restpp/echo":
		response = n.echo
	case path == "/gsqlserver/gsql/version":
		response = n.version
	}
	for len(response) > 0 {
		written, err := conn.Write(response[:min(len(response), len(n.block))])
		if err != nil {
			return err
		}
		response = response[written:]
	}
	return nil
}

// A node answers so many queries at once that take their time, each in so long: at
// most 200 a second, or 20 where it is slow.
const (
	pacedAtOnce = 4
	pacedTime   = 20 * time.Millisecond
	slowness    = 10
)

// work does what such a query wants.
func (n *node) work() {
	n.atWork <- struct{}{}
	defer func() { <-n.atWork }()
	if n.slow.Load() {
		time.Sleep(slowness * pacedTime)
		return
	}
	time.Sleep(pacedTime)
}

func (n *node) writeBulk(conn net.Conn, size int64) error {
	if _, err := fmt.Fprintf(conn, "%sContent-Length: %d\r\n\r\n", head("200 OK", ""), size); err != nil {
		return err
	}
	for size > 0 {
		written, err := conn.Write(n.block[:min(size, int64(len(n.block)))])
		if err != nil {
			return err
		}
		size -= int64(written)
	}
	return nil
}

func (n *node) writeChunks(conn net.Conn, size int64) error {
	if _, err := io.WriteString(conn, head("200 OK", "Transfer-Encoding: chunked\r\n")+"\r\n"); err != nil {
		return err
	}
	for piece := int64(len(n.block)); size >= piece; size -= piece {
		if _, err := conn.Write(n.chunk); err != nil {
			return err
		}
	}
	var last []byte
	if size > 0 {
		last = fmt.Appendf(nil, "%x\r\n%s\r\n", size, n.block[:size])
	}
	_, err := conn.Write(append(last, "0\r\n\r\n"...))
	return err
}

// discard reads so many bytes and forgets them.
func discard(reader *bufio.Reader, count int64) error {
	for count > 0 {
		discarded, err := reader.Discard(int(min(count, 1<<30)))
		count -= int64(discarded)
		if err != nil {
			return err
		}
	}
	return nil
}
