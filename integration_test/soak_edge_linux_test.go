package integration_test

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"
)

// edgeSize is what grows in an edge that leaks.
type edgeSize struct {
	goroutines int // those of kept connections to nodes left out
	kept       int // connections to nodes
	heap       int // bytes that live
}

func (s *soak) newEdge() {
	s.t.Helper()
	folder, err := os.MkdirTemp("", "edge") // the path of a socket must be short
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { os.RemoveAll(folder) })
	socket := filepath.Join(folder, "admin")
	s.storage, s.address = filepath.Join(folder, "storage"), freeAddress(s.t)
	s.log = filepath.Join(folder, "access.log")
	var addresses []string
	for _, m := range s.machines {
		addresses = append(addresses, m.address)
	}
	options := strings.Replace(processOptions(s.storage), "admin off", "admin unix/"+socket, 1)
	s.caddyfile = fmt.Sprintf(`%sservers {
		trusted_proxies static 127.0.0.0/8
		timeouts {
			read_body_idle %s
		}
	}
	log {
		level WARN
	}
}
http://%s {
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
`, options, soakBodyIdle, s.address, s.log, soakMaxBody, strings.Join(addresses, " "), s.standby.address)
	s.admin = &http.Client{Timeout: enough, Transport: &http.Transport{
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "unix", socket)
		},
	}}
	s.startEdge()
}

// readLogs finds out where the requests that failed have been.
func (s *soak) readLogs() {
	failed := s.records.failed()
	names := make(map[string]string)
	for _, m := range s.allMachines() {
		names[m.address] = m.name
		markers, err := m.arrivals(failed)
		if err != nil {
			s.t.Error(err)
		}
		for _, marker := range markers {
			s.records.reached[marker] = append(s.records.reached[marker], m.name)
		}
	}
	file, err := os.Open(s.log)
	if err != nil {
		s.t.Error(err)
		return
	}
	defer file.Close()
	log, err := readSoakLog(file, failed, names)
	if err != nil {
		s.t.Error(err)
	}
	if killed := s.dealt[soakEdgeKilled]; log.cut > killed {
		s.t.Errorf("%d lines of the edge's log are no entries, and it was killed %d times", log.cut, killed)
	}
	s.records.chosen, s.logged = log.chosen, log.lines
}

// jumps reports whether the run is long enough for an edge to be built for it.
func (s *soak) jumps() bool { return *soakFor >= time.Minute }

func (s *soak) startEdge() {
	s.edge = startProcess(s.t, s.binary, s.caddyfile)
	s.edge.listening(s.address)
}

// ask calls the admin endpoint.
func (s *soak) ask(method, path, contentType, body string) (status int, answer string) {
	request, err := http.NewRequest(method, "http://admin"+path, strings.NewReader(body))
	if err != nil {
		s.t.Error(err)
		return 0, ""
	}
	request.Header.Set("Content-Type", contentType)
	response, err := s.admin.Do(request)
	if err != nil {
		s.t.Errorf("asking the edge %s: %v", path, err)
		return 0, ""
	}
	defer response.Body.Close()
	content, err := io.ReadAll(response.Body)
	if err != nil {
		s.t.Errorf("asking the edge %s: %v", path, err)
	}
	return response.StatusCode, string(content)
}

var (
	profiledGroup = regexp.MustCompile(`(?m)^(\d+) @`)
	liveHeap      = regexp.MustCompile(`(?m)^# HeapAlloc = (\d+)$`)
)

func (s *soak) size() (size edgeSize) {
	_, profile := s.ask(http.MethodGet, "/debug/pprof/goroutine?debug=1", "", "")
	for group := range strings.SplitSeq(profile, "\n\n") {
		// Connections to the nodes are kept for five minutes.
		count := profiledGroup.FindStringSubmatch(group)
		if count == nil {
			continue
		}
		switch number, _ := strconv.Atoi(count[1]); {
		case strings.Contains(group, "net/http.(*persistConn).readLoop"):
			size.kept += number
		case strings.Contains(group, "net/http.(*persistConn)"):
		default:
			size.goroutines += number
		}
	}
	for range 2 { // the second collection frees what pools hold
		_, profile = s.ask(http.MethodGet, "/debug/pprof/heap?gc=1&debug=1", "", "")
	}
	if heap := liveHeap.FindStringSubmatch(profile); heap != nil {
		size.heap, _ = strconv.Atoi(heap[1])
	}
	return size
}

// warmUp makes a few requests of each kind, and returns the edge's size after
// them.
func (s *soak) warmUp() edgeSize {
	stop := make(chan struct{})
	var clients sync.WaitGroup
	for i := range 4 * len(s.machines) {
		c := newSoakClient(s.records, 9000+i, s.address, stop, s.seed)
		clients.Go([]func(){c.browse, c.query, c.stream, c.upload}[i%4])
	}
	time.Sleep(3 * time.Second) // as long as the others work
	close(stop)
	clients.Wait()
	var size edgeSize
	eventually(s.t, "the edge is at rest", func() bool {
		last := size
		size = s.size()
		time.Sleep(200 * time.Millisecond)
		return last.goroutines == size.goroutines
	})
	return size
}

// coolDown waits until the edge is as small as before, give or take what may be
// under way at a moment, and the tables that are made at the first need: of moved
// clients, metrics, buffers. A connection to a node that is kept has two buffers of
// 4 KiB, and what goes with them.
func (s *soak) coolDown(before edgeSize) (after edgeSize) {
	const goroutines, heap, heapOfConnection = 5, 6 << 20, 16 << 10
	for deadline := time.Now().Add(enough); ; time.Sleep(200 * time.Millisecond) {
		after = s.size()
		if after.goroutines <= before.goroutines+goroutines && after.heap <= before.heap+heap+heapOfConnection*after.kept {
			return after
		}
		if time.Now().After(deadline) {
			s.t.Errorf("the edge has %d goroutines and %d bytes, and had %d and %d", after.goroutines, after.heap, before.goroutines, before.heap)
			_, profile := s.ask(http.MethodGet, "/debug/pprof/goroutine?debug=1", "", "")
			s.t.Logf("%.10000s", profile)
			return after
		}
	}
}
