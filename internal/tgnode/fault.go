package tgnode

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Mode is a way to fail.
type Mode uint8

// The modes, as the client of the node sees them. "Executed" means that the
// request's work is done, and in the ledger, although the client cannot know.
const (
	// None is no fault: a first match with it shields a path from later faults.
	None Mode = iota
	// Dead: the node's nginx answers its 502; nothing is executed.
	Dead
	// Died: executed, then nginx's 502.
	Died
	// Hang: executed, but never a byte.
	Hang
	// Cut: executed; of an announced body of 100 bytes 3 arrive, then the
	// connection is closed.
	Cut
	// Stall: as Cut, but silence instead of the close.
	Stall
	// SlowHeader: executed, and all of the answer Delay late.
	SlowHeader
	// SlowBody: executed, and the answer's body Delay late.
	SlowBody
	// Trickle: executed, and the answer's body in small pieces over Delay.
	Trickle
	// Reset: executed, then a TCP reset without a byte of answer.
	Reset
	// Close: executed, then the connection is closed without a byte of answer.
	Close
	// CloseIdle: a reused connection is closed just as the request arrives;
	// nothing is executed or recorded.
	CloseIdle
	// ResetEarly: a TCP reset once the head of the request is there, its body
	// unread and nothing executed.
	ResetEarly
	// Answer: nothing is executed, and Status, ContentType, Fields and Body are the
	// answer.
	Answer
	// Raw: nothing is executed; Body is written as it is, in place of HTTP,
	// and the connection closed.
	Raw
	// Endless: nothing is executed; the answer is Body again and again, until the
	// client gives up.
	Endless
)

// ConnectionKind limits a fault to some connections.
type ConnectionKind uint8

// Kinds of connections.
const (
	AnyConnection ConnectionKind = iota
	Fresh                        // its first request
	Reused                       // any later one
)

// Fault makes a service fail. Its conditions (Path, Connection, Times,
// Sequence) must all hold; only requests that meet the first two count for the
// other two.
type Fault struct {
	Mode Mode

	// Path limits the fault to paths that begin with it; they are decoded, but
	// whole, also those that nginx shortens for GSQL.
	Path string
	// Connection limits it to fresh or reused connections.
	Connection ConnectionKind
	// Times limits it to the next requests.
	Times int
	// Sequence says which of the next requests fail: '-' fails, anything else
	// passes. After its end all pass, or it begins anew with Repeat.
	Sequence string
	Repeat   bool

	// Delay is the time that the slow modes take; Jitter adds up to as much
	// again, at random.
	Delay, Jitter time.Duration

	// Status, ContentType, Fields and Body are the answer of the modes that have one.
	Status      int
	ContentType string
	Fields      []Field
	Body        string
}

func (f *Fault) delay() time.Duration {
	if f.Jitter <= 0 {
		return f.Delay
	}
	return f.Delay + rand.N(f.Jitter)
}

// executes tells whether the request's work is done in spite of the fault.
func (f *Fault) executes() bool {
	switch f.Mode {
	case Dead, CloseIdle, ResetEarly, Answer, Raw, Endless:
		return false
	default:
		return true
	}
}

// activeFault is a fault with the number of requests that met it.
type activeFault struct {
	Fault
	seen atomic.Int64
}

// applies counts the request if the fault may concern it.
func (f *activeFault) applies(path string, reused bool) bool {
	if !strings.HasPrefix(path, f.Path) {
		return false
	}
	if f.Connection == Fresh && reused || f.Connection == Reused && !reused {
		return false
	}
	if f.Mode == CloseIdle && !reused {
		return false
	}
	n := int(f.seen.Add(1))
	if f.Times > 0 && n > f.Times {
		return false
	}
	if f.Sequence == "" {
		return true
	}
	if n > len(f.Sequence) && !f.Repeat {
		return false
	}
	return f.Sequence[(n-1)%len(f.Sequence)] == '-'
}

// StatusFault answers with a status: 502 and 504 as the node's nginx does, any
// other with a JSON error as the services do.
func StatusFault(status int) Fault {
	if status == http.StatusBadGateway || status == http.StatusGatewayTimeout {
		return Refusal(status, "")
	}
	return jsonFault(status, fmt.Sprintf(`{"error":true,"message":"%s","code":"REST-%d"}`, http.StatusText(status), status))
}

// Refusal is the answer of an nginx that keeps requests from the service: its own
// page with this status and, if there is one, this line.
func Refusal(status int, line string) Fault {
	return Fault{Mode: Answer, Status: status, ContentType: "text/html", Body: string(nginxPage(nginxStatus(status), line))}
}

// Refusals returns what an nginx may answer to everything although the service lives,
// and does not by itself.
func Refusals() []NamedFault {
	return []NamedFault{
		{"no client certificate", Refusal(http.StatusBadRequest, "No required SSL certificate was sent")},
		{"a bad client certificate", Refusal(http.StatusBadRequest, "The SSL certificate error")},
		{"a client certificate that is not verified", Fault{
			Mode: Answer, Status: http.StatusForbidden, ContentType: "text/plain", Body: "Client certificate verification failed",
		}},
		{"plain HTTP to TLS", Refusal(http.StatusBadRequest, "The plain HTTP request was sent to HTTPS port")},
		{"an address that is not allowed", Refusal(http.StatusForbidden, "")},
		{"maintenance", Refusal(http.StatusServiceUnavailable, "")},
	}
}

func jsonFault(status int, body string) Fault {
	return Fault{Mode: Answer, Status: status, ContentType: "application/json", Body: body}
}

// NamedFault is a fault with a name for a table of tests.
type NamedFault struct {
	Name string
	Fault
}

// LyingPings returns the answers by which a node may pretend to be well, or
// hurt whoever asks, all limited to /api/ping. None is a healthy answer.
func LyingPings() []NamedFault {
	const pong = `{"error":false,"message":"pong","results":null}`
	padded := `{"error":false,"message":"pong","results":"` + strings.Repeat("x", 65<<10) + `"}`
	redirect := func(to string) Fault {
		return Fault{Mode: Answer, Status: http.StatusFound, ContentType: "text/html", Fields: []Field{{"Location", to}}}
	}
	bomb := jsonFault(200, gzipBomb())
	bomb.Fields = []Field{{"Content-Encoding", "gzip"}}
	pings := []NamedFault{
		{"html page", Fault{Mode: Answer, Status: 200, ContentType: "text/html", Body: "<!DOCTYPE html><title>GraphStudio</title>"}},
		{"error true", jsonFault(200, `{"error":true,"message":"pong","results":null}`)},
		{"error string true", jsonFault(200, `{"error":"true","message":"pong","results":null}`)},
		{"upper case", jsonFault(200, `{"error":false,"message":"PONG","results":null}`)},
		{"message in a list", jsonFault(200, `{"message":["pong"]}`)},
		{"pong in a list", jsonFault(200, `[`+pong+`]`)},
		{"no message", jsonFault(200, `{"error":false}`)},
		{"null", jsonFault(200, `null`)},
		{"empty body", jsonFault(200, ``)},
		{"invalid json", jsonFault(200, `{"error":false,"message":"pong"`)},
		{"text after json", jsonFault(200, pong+` and more`)},
		{"status 204", Fault{Mode: Answer, Status: 204}},
		{"status 201", jsonFault(201, pong)},
		{"status 500", jsonFault(500, pong)},
		{"redirect to a login", redirect("/api/auth/login")},
		{"redirect to itself", redirect("/api/ping")},
		{"body over 64 KiB", jsonFault(200, padded)},
		{"endless body", Fault{Mode: Endless, Status: 200, ContentType: "application/json", Body: strings.Repeat(" ", 4<<10)}},
		{"gzip bomb", bomb},
		{"garbage instead of HTTP", Fault{Mode: Raw, Body: "SSH-2.0-OpenSSH_9.6\r\n\x00\xff\xfe"}},
		{"half a status line", Fault{Mode: Raw, Body: "HTTP/1.1 20"}},
		{"head without end", Fault{Mode: Raw, Body: "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Le"}},
		{"short body", Fault{Mode: Cut}},
		{"silence", Fault{Mode: Hang}},
		{"silence after first bytes", Fault{Mode: Stall}},
	}
	for i := range pings {
		pings[i].Path = "/api/ping"
	}
	return pings
}

// gzipBomb is 16 MiB of spaces in about 16 KiB.
var gzipBomb = sync.OnceValue(func() string {
	var b bytes.Buffer
	w, _ := gzip.NewWriterLevel(&b, gzip.BestCompression) // the level is valid
	spaces := bytes.Repeat([]byte(" "), 1<<20)
	for range 16 {
		_, _ = w.Write(spaces) // a bytes.Buffer takes all
	}
	_ = w.Close()
	return b.String()
})

// fail behaves as the fault says. It returns false if the request is to be
// answered as usual.
func (c *connection) fail(f *Fault) bool {
	switch f.Mode {
	case Dead, Died:
		c.nginxError(http.StatusBadGateway, "")
	case Hang:
		c.untilClientGone()
	case Cut, Stall:
		c.writeHead(http.StatusOK, "application/json", 100, nil)
		c.out = append(c.out, `{"e`...)
		c.flush()
		if f.Mode == Stall {
			c.untilClientGone()
		}
		c.broken = true
	case Reset, ResetEarly:
		c.reset()
	case Close, CloseIdle:
		c.broken = true
	case Answer:
		c.respond(f.Status, f.ContentType, []byte(f.Body), f.Fields...)
	case Raw:
		c.out = append(c.out, f.Body...)
		c.flush()
		c.broken = true
	case Endless:
		body := []byte(f.Body)
		c.startStream(f.Status, f.ContentType, f.Fields...)
		for !c.broken {
			c.stream(body)
			if !c.pause(time.Millisecond) {
				c.broken = true
			}
		}
	case SlowHeader:
		if !c.pause(f.delay()) {
			c.broken = true
		}
		return c.broken
	case SlowBody, Trickle:
		c.slow = f
		return false
	default:
		return false
	}
	return true
}
