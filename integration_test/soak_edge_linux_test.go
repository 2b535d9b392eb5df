package integration_test

import (
	"context"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/tgnode"
)

// soakEdges is how many edges share one storage.
const soakEdges = 2

// soakEdge is one of TestSoak's edges.
type soakEdge struct {
	t         *testing.T
	name      string
	binary    string
	process   *process
	outputs   []*buffer    // of this one, and of those before
	plain     string       // its address for HTTP/1.1
	secure    string       // and for HTTP/2 and 3
	starts    atomic.Int64 // how often it was started
	log       string       // whom it chose, and what it answered
	caddyfile string
	reloads   int
	admin     *http.Client
	nodes     []string // the addresses of all of them

	before, after, most edgeSize
	logged              int // lines of its log
}

// newEdges starts the edges at once: none of them finds a key in the storage.
func (s *soak) newEdges() {
	s.t.Helper()
	folder, err := os.MkdirTemp("", "edge") // the path of a socket must be short
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { os.RemoveAll(folder) })
	s.storage = filepath.Join(folder, "storage")
	var nodes, addresses []string
	for _, m := range s.machines {
		nodes = append(nodes, m.address)
	}
	for _, m := range s.allMachines() {
		addresses = append(addresses, m.address)
	}
	pair, _, err := tgnode.SelfSigned("localhost")
	if err != nil {
		s.t.Fatal(err)
	}
	certificate, key := writePEM(s.t, pair.Certificates[0])
	for number := range soakEdges {
		e := &soakEdge{
			t: s.t, name: fmt.Sprintf("edge%d", number), binary: s.binary, plain: freeAddress(s.t), secure: freeAddress(s.t),
			log: filepath.Join(folder, fmt.Sprintf("access%d.log", number)),
		}
		socket := filepath.Join(folder, fmt.Sprintf("admin%d", number))
		_, port, _ := net.SplitHostPort(e.secure)
		e.caddyfile = fmt.Sprintf(soakCaddyfile, strings.Replace(processOptions(s.storage), "admin off", "admin unix/"+socket, 1),
			soakBodyIdle, soakIdle, e.log, soakMaxBody, strings.Join(nodes, " "), s.standby.address, e.plain, port, certificate, key)
		e.admin = &http.Client{Timeout: enough, Transport: &http.Transport{
			DisableKeepAlives: true,
			DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
				return new(net.Dialer).DialContext(ctx, "unix", socket)
			},
		}}
		e.nodes = addresses
		s.edges = append(s.edges, e)
		slices.Reverse(nodes) // the other has them in another order
	}
	for _, e := range s.edges {
		e.start()
	}
	for _, e := range s.edges {
		e.awaitStart()
	}
}

// soakIdle is how long the edges keep a connection that nothing is asked on. For so long
// Caddy also holds what remains of one by HTTP/2 or 3 that was closed with a request open:
// the request's end starts the timer of the closed connection (closeStream of
// golang.org/x/net/http2, onStreamsEmpty of quic-go's http3). No client here pauses for so long.
const soakIdle = 20 * time.Second

const soakCaddyfile = `%sservers {
		trusted_proxies static 127.0.0.0/8
		timeouts {
			read_body_idle %s
			idle %s
		}
	}
	log {
		exclude admin
		format filter {
			# Caddy hides cookies and Authorization, and knows nothing of GSQL's.
			request>headers>Gsql-Cookie delete
			resp_headers>Set-Gsql-Cookie delete
			resp_headers>Set-GSQL-Cookie delete
			headers>Set-Gsql-Cookie delete
		}
	}
}
(site) {
	log {
		output file %s {
			roll_disabled
		}
		format filter {
			request delete
			resp_headers delete
			user_id delete
			bytes_read delete
			duration delete
			size delete
			write_error delete
		}
	}
	log_append <marker {http.request.uri.query.marker}
	log_append node {http.tigergraph.node}
	request_body {
		max_size %d
	}
	tigergraph %s {
		standby dr %s
		header_up X-User {http.request.uri.query.user}
		health_check {
			interval 250ms
		}
		# generation 0
	}
}
http://%s {
	import site
}
https://localhost:%s {
	tls %q %q
	import site
}
`

// start starts the edge's process, and returns before it listens.
func (e *soakEdge) start() {
	e.process = startProcess(e.t, e.binary, e.caddyfile)
	e.outputs = append(e.outputs, e.process.output)
}

// written is what all its processes wrote.
func (e *soakEdge) written() (written string) {
	for _, output := range e.outputs {
		written += output.String()
	}
	return written
}

func (e *soakEdge) awaitStart() {
	e.process.listening(e.plain)
	e.process.listening(e.secure)
	e.starts.Add(1)
}

// readLogs finds out where the requests that failed have been.
func (s *soak) readLogs() {
	failed := s.records.failed()
	names := make(map[string]string)
	for _, m := range s.allMachines() {
		names[m.address] = m.name
		markers, served, err := m.arrivals(failed)
		if err != nil {
			s.t.Error(err)
		}
		for _, marker := range markers {
			s.records.reached[marker] = append(s.records.reached[marker], m.name)
		}
		for _, marker := range served {
			s.records.served[marker] = append(s.records.served[marker], m.name)
		}
	}
	cut := 0
	for _, e := range s.edges {
		cut += s.readLog(e, failed, names)
	}
	if killed := s.dealt[soakEdgeKilled]; cut > killed {
		s.t.Errorf("%d lines of the edges' logs are no entries, and they were killed %d times", cut, killed)
	}
}

// keepLogs keeps what the edges wrote, where -artifacts says.
func (s *soak) keepLogs() {
	for _, e := range s.edges {
		access, err := os.ReadFile(e.log)
		if err != nil {
			s.t.Error(err)
		}
		for kind, content := range map[string]string{"": e.written(), ".access": string(access)} {
			if err := os.WriteFile(filepath.Join(s.t.ArtifactDir(), e.name+kind+".log"), []byte(content), 0o600); err != nil {
				s.t.Error(err)
			}
		}
	}
}

// readLog reads one edge's log, and returns how many of its lines were cut.
func (s *soak) readLog(e *soakEdge, failed map[string]bool, names map[string]string) (cut int) {
	file, err := os.Open(e.log)
	if err != nil {
		s.t.Error(err)
		return 0
	}
	defer file.Close()
	log, err := readSoakLog(file, failed, names)
	if err != nil {
		s.t.Errorf("%s: %v", e.name, err)
	}
	maps.Copy(s.records.chosen, log.chosen)
	e.logged = log.lines
	return log.cut
}

// jumps reports whether the run is long enough for an edge to be built for it.
func (s *soak) jumps() bool { return *soakFor >= time.Minute }

// ask calls the admin endpoint.
func (e *soakEdge) ask(method, path, contentType, body string) (status int, answer string) {
	request, err := http.NewRequest(method, "http://admin"+path, strings.NewReader(body))
	if err != nil {
		e.t.Error(err)
		return 0, ""
	}
	request.Header.Set("Content-Type", contentType)
	response, err := e.admin.Do(request)
	if err != nil {
		e.t.Errorf("asking %s %s: %v", e.name, path, err)
		return 0, ""
	}
	defer response.Body.Close()
	content, err := io.ReadAll(response.Body)
	if err != nil {
		e.t.Errorf("asking %s %s: %v", e.name, path, err)
	}
	return response.StatusCode, string(content)
}

// warmUp makes a few requests of each kind, and notes the edges' size after them.
func (s *soak) warmUp() {
	stop := make(chan struct{})
	var clients sync.WaitGroup
	lives := []func(*soakClient){(*soakClient).browse, (*soakClient).query, (*soakClient).stream, (*soakClient).upload, (*soakClient).submit, (*soakClient).converse}
	for i := range 2 * len(lives) * len(s.machines) {
		c := s.newClient(9000+i, stop)
		c.version = 1 + i%3
		clients.Go(func() { lives[i/3%len(lives)](c) })
	}
	time.Sleep(3 * time.Second) // as long as the others work
	close(stop)
	clients.Wait()
	for _, e := range s.edges {
		eventually(s.t, e.name+" is at rest", func() bool {
			last := e.before
			e.before = e.size()
			time.Sleep(200 * time.Millisecond)
			return last.goroutines == e.before.goroutines
		})
	}
}

// coolDown waits until each edge is as small as before.
func (s *soak) coolDown() {
	for _, e := range s.edges {
		for deadline := time.Now().Add(soakIdle + enough); ; time.Sleep(200 * time.Millisecond) {
			e.after = e.size()
			larger := e.before.outgrown(e.after)
			if larger == "" {
				break
			}
			if time.Now().After(deadline) {
				s.t.Errorf("%s has %s: %+v, and had %+v", e.name, larger, e.after, e.before)
				for _, kind := range []string{"goroutine", "heap"} {
					_, profile := e.ask(http.MethodGet, "/debug/pprof/"+kind+"?debug=1", "", "")
					s.t.Logf("%.10000s", profile)
				}
				break
			}
		}
	}
}
