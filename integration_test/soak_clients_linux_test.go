package integration_test

import (
	"bufio"
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"syscall"
	"time"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/tgnode"
)

// soakPatience is how long a client waits for an answer.
const soakPatience = 30 * time.Second

// soakClient is one client of TestSoak's. It speaks HTTP over a socket by itself,
// for Go's client sends some requests twice.
type soakClient struct {
	records *soakRecords
	number  int
	edge    string
	stop    <-chan struct{}
	random  *rand.Rand

	address string            // that the edge knows it by
	cookies map[string]string // nil if it keeps none
	user    string
	count   int
	conn    net.Conn
	reader  *bufio.Reader
}

// soakExchange is a request, and what its answer has to be.
type soakExchange struct {
	kind    string
	service tgnode.Service
	method  string
	path    string // MARKER in it becomes the marker
	fields  []string
	body    []byte
	slowly  bool // sends the body in pieces
	// accepts returns what is wrong with an answer, "" if nothing.
	accepts func(marker string, answer *soakAnswer) string
}

type soakAnswer struct {
	status int
	header http.Header
	body   string
}

func newSoakClient(records *soakRecords, number int, edge string, stop <-chan struct{}, seed uint64) *soakClient {
	c := &soakClient{records: records, number: number, edge: edge, stop: stop, random: rand.New(rand.NewPCG(seed, uint64(1000+number)))}
	c.newIdentity()
	return c
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
	path := strings.ReplaceAll(e.path, "MARKER", marker)
	failure := c.connect()
	record := soakRequest{kind: e.kind, service: e.service, marker: marker, start: time.Now(), failure: failure}
	if failure == "" {
		answer, record.answered, record.failure = c.try(e, path)
	}
	if record.failure == "" {
		if answer.status >= 500 || answer.status == http.StatusForbidden { // which the services never say
			record.failure = fmt.Sprintf("status %d", answer.status)
		} else if wrong := e.accepts(marker, answer); wrong != "" {
			c.records.breach("%s: the answer to %s %s is wrong: %s: %d %.300s", record.start.Format(soakTime), e.method, path, wrong, answer.status, answer.body)
		}
	}
	record.end = time.Now()
	if record.failure != "" {
		answer = nil
	}
	c.records.ended(record)
	return answer, marker
}

// connect makes sure of a connection: the one before, or a new one if the edge has
// closed that. While it refuses, being restarted, nothing is asked of it.
func (c *soakClient) connect() (failure string) {
	if c.conn != nil && !isClosed(c.conn) {
		return ""
	}
	c.close()
	for deadline := time.Now().Add(soakPatience); ; {
		conn, err := net.DialTimeout("tcp", c.edge, soakPatience)
		if err == nil {
			c.conn, c.reader = conn, bufio.NewReader(conn)
			return ""
		}
		c.records.wasRefused(err)
		if !c.pause(50*time.Millisecond, 500*time.Millisecond) || time.Now().After(deadline) {
			return err.Error()
		}
	}
}

// try sends a request over the client's connection.
func (c *soakClient) try(e soakExchange, path string) (answer *soakAnswer, answered bool, failure string) {
	healthy := false
	defer func() {
		if !healthy {
			c.close()
		}
	}()
	_ = c.conn.SetDeadline(time.Now().Add(soakPatience)) // fails only if closed
	var head strings.Builder
	fmt.Fprintf(&head, "%s %s HTTP/1.1\r\nHost: %s\r\nX-Forwarded-For: %s\r\n", e.method, path, c.edge, c.address)
	for i := 0; i < len(e.fields); i += 2 {
		fmt.Fprintf(&head, "%s: %s\r\n", e.fields[i], e.fields[i+1])
	}
	if len(c.cookies) > 0 {
		var pairs []string
		for name, value := range c.cookies {
			pairs = append(pairs, name+"="+value)
		}
		fmt.Fprintf(&head, "Cookie: %s\r\n", strings.Join(pairs, "; "))
	}
	if e.method != http.MethodGet {
		fmt.Fprintf(&head, "Content-Length: %d\r\n", len(e.body))
	}
	head.WriteString("\r\n")
	// Even where it cannot be written to the end there may be an answer.
	writeErr := c.write(head.String(), e.body, e.slowly)
	response, err := http.ReadResponse(c.reader, &http.Request{Method: e.method})
	for err == nil && response.StatusCode < 200 {
		response, err = http.ReadResponse(c.reader, &http.Request{Method: e.method})
	}
	if err != nil {
		return nil, false, fmt.Sprintf("%v, %v", err, writeErr)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return nil, true, fmt.Sprintf("status %d, and %v after %d bytes", response.StatusCode, err, len(body))
	}
	if c.cookies != nil && response.StatusCode < 500 {
		for _, cookie := range response.Cookies() {
			c.cookies[cookie.Name] = cookie.Value
		}
	}
	healthy = writeErr == nil && !response.Close
	return &soakAnswer{response.StatusCode, response.Header, string(body)}, true, ""
}

func (c *soakClient) write(head string, body []byte, slowly bool) error {
	if _, err := io.WriteString(c.conn, head); err != nil {
		return err
	}
	for slowly && len(body) > 0 {
		piece := body[:min(len(body), 300_000)]
		body = body[len(piece):]
		if _, err := c.conn.Write(piece); err != nil {
			return err
		}
		slowly = c.pause(50*time.Millisecond, 300*time.Millisecond)
	}
	_, err := c.conn.Write(body)
	return err
}

func (c *soakClient) close() {
	if c.conn != nil {
		_ = c.conn.Close()
		c.conn = nil
	}
}

// isClosed reports whether the other side has closed a connection on which
// nothing is awaited.
func isClosed(conn net.Conn) bool {
	raw, err := conn.(*net.TCPConn).SyscallConn()
	if err != nil {
		return true
	}
	closed := true
	_ = raw.Control(func(fd uintptr) {
		_, _, err := syscall.Recvfrom(int(fd), make([]byte, 1), syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		closed = !errors.Is(err, syscall.EAGAIN)
	})
	return closed
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
		e.accepts = func(string, *soakAnswer) string { return "" }
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

// query is a program that asks RESTPP.
func (c *soakClient) query() {
	defer c.close()
	const most = 200_000
	for c.pause(20*time.Millisecond, 400*time.Millisecond) {
		e := soakExchange{kind: "query", service: tgnode.RESTPP, method: http.MethodGet}
		expected := `"query":"social/qMARKER"`
		switch size := 100 + c.random.IntN(most); c.random.IntN(6) {
		case 0:
			e.path = "/restpp/query/social/qMARKER?marker=MARKER"
		case 1:
			e.kind, e.path = "large query", fmt.Sprintf("/restpp/query/social/qMARKER?bytes=%d&marker=MARKER", size)
			e.accepts = func(_ string, answer *soakAnswer) string {
				if answer.status != http.StatusOK || len(answer.body) != size {
					return fmt.Sprintf("want %d bytes, not %d", size, len(answer.body))
				}
				return ""
			}
		case 2:
			e.kind, e.path, expected = "vertex", "/restpp/graph/social/vertices/person/MARKER?marker=MARKER", `/person/MARKER"`
		case 3, 4: // which may break when it is done, and not answered yet
			e.kind, e.path = "long query", fmt.Sprintf("/restpp/query/social/qMARKER?sleep=%.2f&marker=MARKER", 2*c.random.Float64())
		case 5:
			e.kind, e.method, e.path = "upsert", http.MethodPost, "/restpp/graph/social?marker=MARKER"
			e.body = bytes.Repeat([]byte("x"), size/100)
			expected = fmt.Sprintf(`"bytes":%d}`, len(e.body))
		}
		if e.accepts == nil {
			e.accepts = func(marker string, answer *soakAnswer) string {
				if want := strings.ReplaceAll(expected, "MARKER", marker); answer.status != http.StatusOK || !strings.Contains(answer.body, want) {
					return "want " + want
				}
				return ""
			}
		}
		c.exchange(e)
	}
}

// stream is a GSQL client that runs commands whose output takes a while.
func (c *soakClient) stream() {
	defer c.close()
	credentials := base64.StdEncoding.EncodeToString([]byte(c.user + ":" + tgnode.Password))
	const lines = 12
	for c.pause(100*time.Millisecond, time.Second) {
		c.count++
		word := fmt.Sprintf("w%d-%d", c.number, c.count)
		c.exchange(soakExchange{
			kind: "stream", service: tgnode.GSQL, method: http.MethodPost, path: "/gsqlserver/gsql/command?marker=MARKER",
			fields: []string{"Authorization", "Basic " + credentials, "GSQL-Cookie", `{"graph":"","fromGsqlClient":true}`},
			body:   fmt.Appendf(nil, "lines %d 100ms %s", lines, word),
			accepts: func(_ string, answer *soakAnswer) string {
				if answer.status != http.StatusOK {
					return "unexpected status"
				}
				for i := range lines {
					if !strings.Contains(answer.body, fmt.Sprintf("%s %d\n", word, i+1)) {
						return fmt.Sprintf("no line %s %d", word, i+1)
					}
				}
				_, session, _ := strings.Cut(answer.body, "__GSQL__COOKIES__,")
				var fields struct{ Auth string }
				if err := json.NewDecoder(strings.NewReader(session)).Decode(&fields); err != nil || fields.Auth != "Basic "+credentials {
					return "another user's session"
				}
				if !strings.HasSuffix(answer.body, "__GSQL__RETURN__CODE__,0\n") {
					return "no return code"
				}
				return ""
			},
		})
	}
}

// upload loads files.
func (c *soakClient) upload() {
	defer c.close()
	for c.pause(100*time.Millisecond, time.Second) {
		size := 1000 + c.random.IntN(1_000_000)
		c.exchange(soakExchange{
			kind: "upload", service: tgnode.RESTPP, method: http.MethodPost, path: "/restpp/ddl/social?marker=MARKER",
			body: bytes.Repeat([]byte("1"), size), slowly: true,
			accepts: func(_ string, answer *soakAnswer) string {
				if want := fmt.Sprintf(`"bytes":%d}`, size); answer.status != http.StatusOK || !strings.Contains(answer.body, want) {
					return "want " + want
				}
				return ""
			},
		})
	}
}
