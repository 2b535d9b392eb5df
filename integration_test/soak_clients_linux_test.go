package integration_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"time"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/tgnode"
)

// soakPatience is how long a client waits for an answer.
const soakPatience = 30 * time.Second

// soakClient is one client of TestSoak's. It makes its connections by itself, for Go's
// client sends some requests twice.
type soakClient struct {
	records *soakRecords
	number  int
	edges   []*soakEdge
	edge    *soakEdge // which it uses at the moment
	version int       // of HTTP: 1, 2 or 3
	stop    <-chan struct{}
	random  *rand.Rand

	roams   bool              // to the other edge, where one refuses and now and then
	address string            // that the edge knows it by
	cookies map[string]string // nil if it keeps none
	user    string
	count   int
	wire    soakWire
}

// soakExchange is a request, and what its answer has to be.
type soakExchange struct {
	kind    string
	service tgnode.Service
	method  string
	path    string // MARKER in it becomes the marker
	fields  []string
	body    []byte
	slowly  bool   // sends the body in pieces
	of      string // the marker of the request that began what this one is about
	// line, if there is one, is told each line of the answer when it comes. It returns
	// false where the client gives the request up.
	line func(line string) bool
	// accepts returns what is wrong with an answer, "" if nothing, soakForgot if it says
	// that nobody knows what the request is about.
	accepts func(marker string, answer *soakAnswer) string
}

const soakForgot = "unknown"

// errGivenUp is the end of a request that its client gave up.
var errGivenUp = errors.New("given up")

type soakAnswer struct {
	status int
	header http.Header
	body   string
}

func newSoakClient(records *soakRecords, number int, edges []*soakEdge, stop <-chan struct{}, seed uint64) *soakClient {
	c := &soakClient{
		records: records, number: number, edges: edges, edge: edges[number%len(edges)], version: 1,
		stop: stop, random: rand.New(rand.NewPCG(seed, uint64(1000+number))),
	}
	c.newIdentity()
	return c
}

// roam has the client use the other edge now and then.
func (c *soakClient) roam() {
	c.roams = true
	if c.random.IntN(10) == 0 {
		c.close()
		c.edge = c.edges[c.random.IntN(len(c.edges))]
	}
}

// newIdentity makes the client one that the edge has never seen.
func (c *soakClient) newIdentity() {
	c.address = fmt.Sprintf("10.%d.%d.%d", c.random.IntN(256), c.random.IntN(256), 1+c.random.IntN(254))
	c.user = fmt.Sprintf("user%d", c.number)
}

// pause waits. It returns false when the run is over.
func (c *soakClient) pause(least, most time.Duration) bool {
	select {
	case <-c.stop:
		return false
	case <-time.After(least + time.Duration(c.random.Int64N(int64(most-least)))):
		return true
	}
}

// exchange sends a request, and records what became of it.
func (c *soakClient) exchange(e soakExchange) (answer *soakAnswer, marker string) {
	c.count++
	marker = fmt.Sprintf("%04d-%06d", c.number, c.count)
	if !c.connect() {
		return nil, marker
	}
	path := strings.ReplaceAll(e.path, "MARKER", marker)
	record := soakRequest{kind: e.kind, service: e.service, marker: marker, edge: c.edge.name, of: e.of, start: time.Now()}
	answer, answered, err := c.try(e, path)
	record.end, record.answered, record.whole = time.Now(), answered, err == nil
	if errors.Is(err, errGivenUp) {
		return nil, marker
	}
	switch {
	case err != nil:
		record.failure = fmt.Sprintf("HTTP/%d: %v", c.version, err)
	case answer.status >= 500 || answer.status == http.StatusForbidden: // which the services never say
		record.failure = fmt.Sprintf("status %d", answer.status)
	default:
		wrong := e.accepts(marker, answer)
		record.forgot = wrong == soakForgot
		if wrong != "" && !record.forgot {
			c.records.breach("%s: the answer to %s %s is wrong: %s: %d %.300s", record.start.Format(soakTime), e.method, path, wrong, answer.status, answer.body)
		}
	}
	c.records.ended(record)
	if record.failure != "" || record.forgot {
		return nil, marker
	}
	return answer, marker
}

// connect makes sure of a connection: the one before, or a new one if the edge has
// closed that. While the edge refuses, being restarted, nothing is asked of it, and
// whoever can goes to another. It returns false if there is none.
func (c *soakClient) connect() bool {
	if c.wire != nil && c.wire.isOpen() {
		return true
	}
	c.close()
	for deadline := time.Now().Add(soakPatience); ; {
		from := time.Now()
		wire, err := dialEdge(c.version, c.edge)
		if err == nil {
			c.wire = wire
			return true
		}
		c.records.wasRefused(c.edge.name, from, err)
		if !c.pause(50*time.Millisecond, 500*time.Millisecond) || time.Now().After(deadline) {
			return false
		}
		if c.roams {
			c.edge = c.edges[c.random.IntN(len(c.edges))]
		}
	}
}

// try sends a request over the client's connection.
func (c *soakClient) try(e soakExchange, path string) (answer *soakAnswer, answered bool, err error) {
	defer func() {
		if err != nil {
			c.close()
		}
	}()
	message := soakMessage{method: e.method, path: path, fields: append([]string{"X-Forwarded-For", c.address}, e.fields...), body: e.body}
	if len(c.cookies) > 0 {
		var pairs []string
		for name, value := range c.cookies {
			pairs = append(pairs, name+"="+value)
		}
		message.fields = append(message.fields, "Cookie", strings.Join(pairs, "; "))
	}
	if e.slowly {
		message.pause = func() bool { return c.pause(50*time.Millisecond, 300*time.Millisecond) }
	}
	ctx, cancel := context.WithTimeout(context.Background(), soakPatience)
	defer cancel()
	response, err := c.wire.send(ctx, message)
	if err != nil {
		return nil, false, err
	}
	body, err := e.read(response)
	if err != nil {
		c.close() // to close the body would wait for its end
		return nil, true, fmt.Errorf("status %d, and %w after %d bytes", response.StatusCode, err, len(body))
	}
	_ = response.Body.Close() // it is read to the end
	if c.cookies != nil && response.StatusCode < 500 {
		for _, cookie := range response.Cookies() {
			c.cookies[cookie.Name] = cookie.Value
		}
	}
	return &soakAnswer{response.StatusCode, response.Header, string(body)}, true, nil
}

// read reads an answer.
func (e *soakExchange) read(response *http.Response) (body []byte, err error) {
	if e.line == nil || response.StatusCode != http.StatusOK {
		return io.ReadAll(response.Body)
	}
	for reader := bufio.NewReader(response.Body); ; {
		line, err := reader.ReadString('\n')
		body = append(body, line...)
		switch {
		case errors.Is(err, io.EOF):
			return body, nil
		case err != nil:
			return body, err
		case !e.line(strings.TrimSuffix(line, "\n")):
			return body, errGivenUp
		}
	}
}

func (c *soakClient) close() {
	if c.wire != nil {
		c.wire.close()
		c.wire = nil
	}
}

// browse is a user of GraphStudio: logs in, works, and logs in again where the
// session is gone. Now and then another user takes the seat.
func (c *soakClient) browse() {
	defer c.close()
	session := ""
	for first := true; c.pause(0, 2*time.Second); first = false {
		if first || c.random.IntN(200) == 0 {
			c.newIdentity()
			c.cookies, session = make(map[string]string), ""
		}
		c.roam()
		if session == "" {
			if session = c.logIn(); session == "" {
				continue
			}
		}
		if status := c.work(); status == http.StatusUnauthorized {
			session = ""
		}
		if !c.pause(200*time.Millisecond, 1500*time.Millisecond) {
			return
		}
	}
}

// logIn returns the session, "" if there is none.
func (c *soakClient) logIn() (session string) {
	delete(c.cookies, "TigerGraphApp")
	answer, marker := c.exchange(soakExchange{
		kind: "login", service: tgnode.GUI, method: http.MethodPost, path: "/api/auth/login?marker=MARKER",
		fields: []string{"Content-Type", "application/json"},
		body:   []byte(`{"username":"` + c.user + `","password":"` + tgnode.Password + `"}`),
		accepts: func(_ string, answer *soakAnswer) string {
			switch {
			case answer.status != http.StatusOK:
				return "no login"
			case !strings.Contains(answer.body, `"name":"`+c.user+`"`):
				return "another user"
			}
			return soakCookies(answer)
		},
	})
	if answer == nil || c.cookies["TigerGraphApp"] == "" {
		return ""
	}
	session = c.cookies["TigerGraphApp"]
	c.records.loggedIn(session, marker)
	return session
}

// soakCookies returns what is wrong with an answer's cookies.
func soakCookies(answer *soakAnswer) string {
	counts := make(map[string]int)
	for _, line := range answer.header["Set-Cookie"] {
		name, _, _ := strings.Cut(line, "=")
		counts[name]++
	}
	for name, count := range counts {
		if count > 1 || name != "TigerGraphNode" && name != "TigerGraphApp" {
			return fmt.Sprintf("the cookie %s, %d times", name, count)
		}
	}
	return ""
}

// work makes a request of a session, and returns the answer's status.
func (c *soakClient) work() (status int) {
	e := soakExchange{
		kind: "who am I", service: tgnode.GUI, method: http.MethodGet, path: "/api/auth/whoami?marker=MARKER",
		accepts: func(_ string, answer *soakAnswer) string {
			if answer.status == http.StatusOK && !strings.Contains(answer.body, `"username":"`+c.user+`"`) {
				return "another user"
			}
			return ""
		},
	}
	if c.random.IntN(3) == 0 {
		e.kind, e.method, e.path, e.body = "change", http.MethodPost, "/api/changes?marker=MARKER", []byte("{}")
		e.accepts = func(_ string, answer *soakAnswer) string {
			if answer.status == http.StatusOK && !strings.Contains(answer.body, `"results":{"node":"`) {
				return "not what a change is answered"
			}
			return ""
		}
	}
	inner := e.accepts
	e.accepts = func(marker string, answer *soakAnswer) string {
		if answer.status != http.StatusOK && answer.status != http.StatusUnauthorized {
			return "unexpected status"
		}
		if wrong := soakCookies(answer); wrong != "" {
			return wrong
		}
		return inner(marker, answer)
	}
	answer, _ := c.exchange(e)
	if answer == nil {
		return 0
	}
	return answer.status
}
