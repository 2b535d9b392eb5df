package integration_test

import (
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"time"
)

// The bounds of the soak's site, which offenders break.
const (
	soakMaxBody  = 2 << 20
	soakBodyIdle = 5 * time.Second
)

// soakOffence is something that clients do wrong, or that has no right answer, and
// that nobody else may notice.
type soakOffence struct {
	name string
	// send is what is sent after the connection is made.
	send func(o *soakOffender, path string) []byte
	// stays is for how long at most the client then waits for an answer. One that
	// does not read sees nothing of it.
	stays  time.Duration
	unread bool
	// version is that of HTTP by which an upload is given up halfway, instead of all this.
	version int
}

var soakOffences = []soakOffence{
	{name: "malformed uploads", stays: time.Second, send: func(o *soakOffender, path string) []byte {
		return o.head("POST", path, "Transfer-Encoding: chunked", "ZZ\r\n")
	}},
	{name: "uploads that are cut off", send: func(o *soakOffender, path string) []byte {
		return o.head("POST", path, "Content-Length: 1000", "1,2")
	}},
	{name: "chunked uploads that are cut off", send: func(o *soakOffender, path string) []byte {
		return o.head("POST", path, "Transfer-Encoding: chunked", "3\r\n1,2\r\n")
	}},
	{name: "uploads that stall", stays: soakBodyIdle + time.Second, send: func(o *soakOffender, path string) []byte {
		return o.head("POST", path, "Content-Length: 1000", "1,2")
	}},
	{name: "uploads that are too large", stays: time.Second, send: func(o *soakOffender, path string) []byte {
		return o.head("POST", path, fmt.Sprintf("Content-Length: %d", 2*soakMaxBody), string(make([]byte, 2*soakMaxBody)))
	}},
	{name: "chunked uploads that are too large", stays: time.Second, send: func(o *soakOffender, path string) []byte {
		return o.head("POST", path, "Transfer-Encoding: chunked", fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", 2*soakMaxBody, make([]byte, 2*soakMaxBody)))
	}},
	{name: "headers that are too large", stays: time.Second, send: func(o *soakOffender, path string) []byte {
		return o.head("GET", path, "X-Large: "+strings.Repeat("x", 2<<20), "")
	}},
	{name: "headers that cannot be sent", stays: time.Second, send: func(o *soakOffender, path string) []byte {
		return o.head("POST", path+"?user=anna%0D%0AX-Admin:%201", "Content-Length: 3", "1,2")
	}},
	{name: "queries that are given up", stays: 20 * time.Millisecond, send: func(o *soakOffender, _ string) []byte {
		return o.head("GET", "/restpp/query/social/given?sleep=2", "X-Patience: none", "")
	}},
	{name: "answers that nobody reads", stays: time.Second, unread: true, send: func(o *soakOffender, _ string) []byte {
		return o.head("GET", "/restpp/query/social/unread?bytes=20000000", "X-Patience: none", "")
	}},
	{name: "uploads by HTTP/2 that are given up", version: 2},
	{name: "uploads by HTTP/3 that are given up", version: 3},
	{name: "requests for an Informant, dead or not", stays: time.Second, send: func(o *soakOffender, _ string) []byte {
		return o.head("GET", "/informant/metrics", "Accept: */*", "")
	}},
	{name: "requests for a sick path of RESTPP", stays: time.Second, send: func(o *soakOffender, _ string) []byte {
		return o.head("GET", soakSickPath, "Accept: */*", "")
	}},
}

// soakOffenders is how many clients do wrong, each up to ten times a second.
const soakOffenders = 8

// soakOffender is a client that does what none should. What it is told is nobody's
// concern.
type soakOffender struct {
	edge   *soakEdge
	random *rand.Rand
	marker string // of the request that is being sent, for the nodes' journals
}

// head returns a request's header, and what is sent after it.
func (o *soakOffender) head(method, path, field, rest string) []byte {
	return fmt.Appendf(nil, "%s %s HTTP/1.1\r\nHost: %s\r\nX-Forwarded-For: 11.0.%d.%d\r\nX-Marker: %s\r\nConnection: close\r\n%s\r\n\r\n%s",
		method, path, o.edge.plain, o.random.IntN(4), 1+o.random.IntN(254), o.marker, field, rest)
}

// commit does one of the offences.
func (o *soakOffender) commit(offence soakOffence) (done bool) {
	path := uploads[o.random.IntN(len(uploads))]
	if offence.version > 0 {
		return o.giveUp(offence.version, path)
	}
	conn, err := net.DialTimeout("tcp", o.edge.plain, time.Second)
	if err != nil {
		return false // the edge is being restarted
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(time.Second + offence.stays)) // fails only if closed
	_, _ = conn.Write(offence.send(o, path))
	_ = conn.SetDeadline(time.Now().Add(offence.stays))
	if offence.unread {
		time.Sleep(offence.stays) // while the answer waits
		return true
	}
	_, _ = io.Copy(io.Discard, conn)
	return true
}

// giveUp sends half of an upload, and gives it up.
func (o *soakOffender) giveUp(version int, path string) (done bool) {
	wire, err := dialEdge(version, o.edge)
	if err != nil {
		return false // the edge is being restarted
	}
	defer wire.close()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	response, err := wire.send(ctx, soakMessage{
		method: "POST", path: path, fields: []string{"X-Marker", o.marker}, body: make([]byte, soakMaxBody),
		pause: func() bool {
			cancel()
			return true
		},
	})
	if err == nil {
		_ = response.Body.Close() // it was refused before
	}
	return true
}

// startOffenders has clients do wrong until the run is over.
func (s *soak) startOffenders(clients *sync.WaitGroup) {
	for number := range soakOffenders {
		o := &soakOffender{edge: s.edges[number%len(s.edges)], random: rand.New(rand.NewPCG(s.seed, uint64(5000+number)))}
		clients.Go(func() {
			for count := 1; ; count++ {
				select {
				case <-s.stop:
					return
				case <-time.After(upTo(o.random, 200*time.Millisecond)):
				}
				offence := soakOffences[o.random.IntN(len(soakOffences))]
				o.marker = fmt.Sprintf("%s, %d-%06d", offence.name, 5000+number, count)
				if o.commit(offence) {
					s.records.offended(offence.name)
				}
			}
		})
	}
}
