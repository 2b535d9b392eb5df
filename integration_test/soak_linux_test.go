package integration_test

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/tgnode"
)

var (
	soakFor  = flag.Duration("soak", 20*time.Second, "for how long TestSoak makes faults; for more than ten minutes, -timeout has to be longer as well")
	soakSeed = flag.Uint64("soak.seed", 0, "the seed of TestSoak's faults, 0 for another each time")
)

const (
	soakSessions  = 200
	soakQueries   = 10
	soakStreams   = 6
	soakUploads   = 3
	soakMachines  = 3
	soakSlowAfter = time.Second // when a service that answers is not up
)

// TestSoak lets three nodes fail in every way at random, while 200 users work and
// programs stream, query and load, and checks what the edge owes to them, by the
// journals of the nodes:
//
//   - no session is served by a node that is not its own while its own is up;
//   - nothing that must not be repeated is carried out twice;
//   - no client gets what is another's;
//   - each request that fails is one whose node failed: the one that the edge chose
//     last, by its own log;
//   - afterwards the edge has as many goroutines and as much memory as before.
//
// What counts as failing, and for how long, is in soakSpan and soakRecovery. In runs of
// a minute and more the edge's clock jumps as well.
func TestSoak(t *testing.T) {
	if testing.Short() {
		t.Skip("takes a while: left out with -short")
	}
	if _, err := exec.LookPath("nginx"); err != nil {
		t.Skip("nginx is missing (apt-get install nginx)")
	}
	if deadline, limited := t.Deadline(); limited && time.Until(deadline) < *soakFor+3*time.Minute {
		t.Fatalf("-soak %s needs a longer -timeout", *soakFor)
	}
	s := &soak{
		t: t, seed: *soakSeed, stop: make(chan struct{}), dealt: make(map[string]int), records: newSoakRecords(),
	}
	if s.seed == 0 {
		s.seed = rand.Uint64()
	}
	fmt.Printf("TestSoak: -soak %s -soak.seed %d\n", *soakFor, s.seed)
	subnet := -1
	if s.noNetwork = soakNamespaces(); s.noNetwork == "" {
		subnet = freeSubnet(t)
		if _, err := exec.LookPath("iptables"); err != nil {
			s.noFirewall = "iptables is missing (apt-get install iptables)"
		}
	}
	for number := range soakMachines {
		m := newSoakMachine(t, number, subnet, s.records.arrived)
		s.machines = append(s.machines, m)
		s.records.nodes = append(s.records.nodes, m.name)
	}
	for _, m := range s.machines {
		s.awaitWell(m, allServices)
	}
	s.binary = caddyBinary
	if s.jumps() {
		s.binary = buildJumping(t)
	}
	s.newEdge()
	before := s.warmUp()
	watching := s.watch()
	var clients, faults sync.WaitGroup
	s.startClients(&clients)
	if t.Failed() {
		return
	}
	over := make(chan struct{})
	time.AfterFunc(*soakFor, func() { close(over) })
	faults.Go(func() { s.failMachines(over) })
	faults.Go(func() { s.troubleEdge(over) })
	faults.Wait()
	close(s.stop)
	clients.Wait()
	watching.Wait()
	after := s.coolDown(before)
	s.readLogs()
	breaches := s.records.check()
	for i, breach := range breaches {
		if i == 20 {
			t.Errorf("and %d more", len(breaches)-i)
			break
		}
		t.Error(breach)
	}
	s.report(before, after)
	if t.Failed() {
		t.Logf("to do it again: -soak %s -soak.seed %d", *soakFor, s.seed)
		if strings.Contains(s.edge.output.String(), "panic") {
			t.Errorf("the edge: %.2000s", s.edge.output)
		}
	}
}

type soak struct {
	t        *testing.T
	seed     uint64
	records  *soakRecords
	machines []*soakMachine
	stop     chan struct{} // for clients and watchers

	noNetwork, noFirewall string // why some faults cannot be made

	binary    string // of the edge
	edge      *process
	address   string
	storage   string
	log       string // whom the edge chose, and what it answered
	caddyfile string
	admin     *http.Client
	restarts  int
	most      edgeSize
	logged    int // lines of the edge's log

	mu    sync.Mutex
	dealt map[string]int
	fates []string
}

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
	tigergraph %s {
		fail_duration 1s
		health_check {
			interval 250ms
		}
		# generation 0
	}
}
`, options, s.address, s.log, strings.Join(addresses, " "))
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
	for _, m := range s.machines {
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

func (s *soak) startClients(clients *sync.WaitGroup) {
	number := 0
	start := func(count int, life func(*soakClient)) {
		for range count {
			c := newSoakClient(s.records, number, s.address, s.stop, s.seed)
			number++
			clients.Go(func() { life(c) })
		}
	}
	start(soakSessions, (*soakClient).browse)
	start(soakQueries, (*soakClient).query)
	start(soakStreams, (*soakClient).stream)
	start(soakUploads, (*soakClient).upload)
	eventually(s.t, "all users are logged in", func() bool {
		s.records.mu.Lock()
		defer s.records.mu.Unlock()
		return len(s.records.logins) >= soakSessions
	})
}

// newWatcher returns a client that asks machines without the edge.
func newWatcher() *http.Client {
	return &http.Client{Timeout: soakSlowAfter, Transport: &http.Transport{DisableKeepAlives: true}}
}

// watch looks after the machines, and records when one was not up for longer than
// the faults that were made say.
func (s *soak) watch() *sync.WaitGroup {
	watching := new(sync.WaitGroup)
	for _, m := range s.machines {
		for _, service := range allServices {
			watching.Go(func() {
				client := newWatcher()
				since := time.Now() // the last success
				down := false
				for {
					began := time.Now()
					well := m.isWell(client, service)
					if !well {
						down = true
					} else if down || time.Since(since) > 2*soakSlowAfter {
						s.records.span(soakSpan{node: m.name, services: []tgnode.Service{service}, from: since, to: time.Now(), what: "watched"})
						down = false
					}
					if well {
						since = began
					}
					select {
					case <-s.stop:
						if down {
							s.records.span(soakSpan{node: m.name, services: []tgnode.Service{service}, from: since, to: time.Now(), what: "watched"})
						}
						return
					case <-time.After(500 * time.Millisecond):
					}
				}
			})
		}
	}
	return watching
}

// awaitWell waits until a machine's services answer, each twice in a row.
func (s *soak) awaitWell(m *soakMachine, services []tgnode.Service) {
	client := newWatcher()
	for _, service := range services {
		for streak, deadline := 0, time.Now().Add(2*enough); streak < 2; {
			if m.isWell(client, service) {
				streak++
				continue
			}
			streak = 0
			if time.Now().After(deadline) {
				content, _ := os.ReadFile(filepath.Join(m.folder, "error.log"))
				s.t.Errorf("%s of %s is not well again: %.2000s", serviceNames[service], m.name, content)
				return
			}
			time.Sleep(20 * time.Millisecond)
		}
	}
}

func (s *soak) note(what string, began time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	kind, _, _ := strings.Cut(what, " of ")
	s.dealt[kind]++
	s.fates = append(s.fates, fmt.Sprintf("%s %s, %s", began.Format(soakTime), what, time.Since(began).Round(10*time.Millisecond)))
}

func upTo(random *rand.Rand, most time.Duration) time.Duration {
	return time.Duration(random.Int64N(int64(most)))
}

// isOver reports whether time is up; in a run of a minute or more, not before
// everything was dealt once.
func isOver(over <-chan struct{}, dealtAll bool) bool {
	select {
	case <-over:
		return dealtAll || *soakFor < time.Minute
	default:
		return false
	}
}

// failMachines makes one machine after another fail, in a long run two at a time.
func (s *soak) failMachines(over <-chan struct{}) {
	var faults []soakFault
	for _, fault := range soakFaults() {
		if fault.network && s.noNetwork != "" || fault.firewall && s.noFirewall != "" {
			s.t.Logf("left out: %s: %s%s", fault.name, s.noNetwork, s.noFirewall)
			continue
		}
		faults = append(faults, fault)
	}
	var lanes sync.WaitGroup
	free := make(chan *soakMachine, len(s.machines))
	for _, m := range s.machines {
		free <- m
	}
	count := 1
	if *soakFor > 2*time.Minute {
		count = 2
	}
	for lane := range count {
		lanes.Go(func() {
			random := rand.New(rand.NewPCG(s.seed, uint64(lane)))
			for round := 0; ; round++ {
				for _, i := range random.Perm(len(faults)) {
					if isOver(over, round > 0) {
						return
					}
					// One of those that no other lane has; any of them.
					for range random.IntN(len(s.machines)) {
						free <- <-free
					}
					m := <-free
					s.fail(m, faults[i], random)
					free <- m
					time.Sleep(500*time.Millisecond + upTo(random, time.Second)) // between two faults
				}
			}
		})
	}
	lanes.Wait()
}

func (s *soak) fail(m *soakMachine, fault soakFault, random *rand.Rand) {
	length := fault.least
	if fault.most > fault.least {
		length += upTo(random, fault.most-fault.least)
	}
	began := time.Now()
	fault.begin(m)
	time.Sleep(length) // of the fault
	fault.end(m)
	s.awaitWell(m, fault.services)
	s.records.span(soakSpan{node: m.name, services: fault.services, from: began, to: time.Now(), what: fault.name, made: true, forgets: fault.forgets})
	s.note(fault.name+" of "+m.name, began)
}

const soakEdgeKilled = "edge killed"

// troubleEdge lets the edge reload, restart, drain nodes and lose its storage.
func (s *soak) troubleEdge(over <-chan struct{}) {
	// In the second half of a run the edge lives on, to show what it leaks.
	half := time.Now().Add(*soakFor / 2)
	const restarted, killed = "edge restarted", soakEdgeKilled
	random := rand.New(rand.NewPCG(s.seed, 100))
	type trouble struct {
		name string
		make func(*rand.Rand)
	}
	troubles := []trouble{
		{"edge reloaded", func(*rand.Rand) { s.reload() }},
		{"edge drains a node", s.drain},
		{restarted, func(*rand.Rand) { s.restart(syscall.SIGTERM) }},
		{killed, func(*rand.Rand) { s.restart(syscall.SIGKILL) }},
		{"edge's storage gone", func(*rand.Rand) { s.loseStorage() }},
	}
	if s.jumps() {
		troubles = append(troubles, trouble{"edge's clock jumps", s.jump})
	}
	ends := func(i int) bool { return troubles[i].name == restarted || troubles[i].name == killed }
	for round := 0; ; round++ {
		order := random.Perm(len(troubles))
		if round == 0 {
			slices.SortStableFunc(order, func(a, b int) int {
				switch {
				case ends(a) == ends(b):
					return 0
				case ends(a):
					return -1
				}
				return 1
			})
		}
		for _, i := range order {
			if isOver(over, round > 0) {
				return
			}
			began := time.Now()
			if ends(i) && began.After(half) {
				continue
			}
			troubles[i].make(random)
			s.note(troubles[i].name, began)
			if size := s.size(); size.goroutines > 0 {
				s.most.goroutines, s.most.heap = max(s.most.goroutines, size.goroutines), max(s.most.heap, size.heap)
			}
			select {
			case <-over:
			case <-time.After(2*time.Second + upTo(random, 6*time.Second)):
			}
		}
	}
}

// reload loads a configuration that differs.
func (s *soak) reload() {
	s.restarts++
	generation := regexp.MustCompile(`(# generation|header_up X-Generation) \d+`)
	s.caddyfile = generation.ReplaceAllString(s.caddyfile, fmt.Sprintf("header_up X-Generation %d", s.restarts))
	began := time.Now()
	status, answer := s.ask(http.MethodPost, "/load", "text/caddyfile", s.caddyfile)
	s.records.edgeSpan(&s.records.reloads, "reload", began, time.Now())
	if status != http.StatusOK {
		s.t.Errorf("reload: %d %s", status, answer)
	}
}

func (s *soak) drain(random *rand.Rand) {
	node := fmt.Sprintf(`{"node": %q}`, s.machines[random.IntN(len(s.machines))].address)
	// It is refused with 409 while the others are down.
	if status, answer := s.ask(http.MethodPost, "/tigergraph/drain", "application/json", node); status != http.StatusOK && status != http.StatusConflict {
		s.t.Errorf("drain: %d %s", status, answer)
	}
	time.Sleep(time.Second + upTo(random, 2*time.Second)) // it drains
	if status, answer := s.ask(http.MethodPost, "/tigergraph/ready", "application/json", node); status != http.StatusOK {
		s.t.Errorf("ready: %d %s", status, answer)
	}
}

func (s *soak) restart(signal syscall.Signal) {
	began := time.Now()
	_ = s.edge.command.Process.Signal(signal) // it may have crashed, which shows
	select {
	case <-s.edge.ended:
	case <-time.After(enough):
		s.t.Error("the edge does not end")
		_ = s.edge.command.Process.Kill()
		<-s.edge.ended
	}
	if code := s.edge.command.ProcessState.ExitCode(); signal == syscall.SIGTERM && code != 0 {
		s.t.Errorf("the edge ended with %d: %.2000s", code, s.edge.output)
	}
	s.startEdge()
	s.records.edgeSpan(&s.records.down, "restart", began, time.Now())
}

// loseStorage takes the storage away, and reloads without it.
func (s *soak) loseStorage() {
	if err := os.Rename(s.storage, s.storage+".away"); err != nil {
		s.t.Error(err)
		return
	}
	time.Sleep(time.Second) // without storage
	s.reload()
	time.Sleep(time.Second) // with another
	if err := os.RemoveAll(s.storage); err != nil {
		s.t.Error(err)
	}
	if err := os.Rename(s.storage+".away", s.storage); err != nil {
		s.t.Error(err)
	}
	s.reload()
}

// report logs the figures.
func (s *soak) report(before, after edgeSize) {
	s.records.mu.Lock()
	defer s.records.mu.Unlock()
	var out bytes.Buffer
	fmt.Fprintf(&out, "seed %d, %s\n", s.seed, *soakFor)
	fmt.Fprintf(&out, "\n%-12s %8s %8s %9s %9s %9s\n", "requests", "all", "failed", "median", "99th", "longest")
	durations := make(map[string][]time.Duration)
	failed := make(map[string]int)
	var kinds []string
	for _, request := range s.records.requests {
		if durations[request.kind] == nil {
			kinds = append(kinds, request.kind)
		}
		durations[request.kind] = append(durations[request.kind], request.end.Sub(request.start))
		if request.failure != "" {
			failed[request.kind]++
		}
	}
	slices.Sort(kinds)
	for _, kind := range kinds {
		all := durations[kind]
		slices.Sort(all)
		fmt.Fprintf(&out, "%-12s %8d %8d %9s %9s %9s\n", kind, len(all), failed[kind], all[len(all)/2].Round(time.Millisecond),
			all[len(all)*99/100].Round(time.Millisecond), all[len(all)-1].Round(time.Millisecond))
		if failed[kind] == len(all) {
			s.t.Errorf("no request of the kind %q was answered", kind)
		}
	}
	reasons := make(map[string]int)
	addresses := regexp.MustCompile(`\d+\.\d+\.\d+\.\d+:\d+|after \d+ bytes`)
	for _, request := range s.records.requests {
		if request.failure != "" {
			reasons[addresses.ReplaceAllString(request.failure, "...")]++
		}
	}
	fmt.Fprintf(&out, "\nwhy they failed:\n")
	for _, reason := range slices.Sorted(maps.Keys(reasons)) {
		fmt.Fprintf(&out, "%8d %s\n", reasons[reason], reason)
	}
	fmt.Fprintf(&out, "\nwhat excused them:\n")
	for _, excuse := range slices.Sorted(maps.Keys(s.records.excuses)) {
		fmt.Fprintf(&out, "%8d %s\n", s.records.excuses[excuse], excuse)
	}
	executed, watched := 0, time.Duration(0)
	for _, a := range s.records.arrivals {
		if a.Executed != tgnode.Read {
			executed++
		}
	}
	made := make(map[string]soakTimeline)
	place := func(node string, service tgnode.Service) string { return node + " " + serviceNames[service] }
	for _, m := range s.machines {
		for _, service := range allServices {
			made[place(m.name, service)] = newSoakTimeline(s.records.spans, 0, func(span soakSpan) bool {
				return span.made && span.node == m.name && slices.Contains(span.services, service)
			})
		}
	}
	for _, span := range s.records.spans {
		if !span.made && !made[place(span.node, span.services[0])].overlaps(span.from, span.to) {
			watched += span.to.Sub(span.from)
		}
	}
	fmt.Fprintf(&out, "\n%d sessions; %d entries in the nodes' journals, %d of them executions; %d in the edge's log\n",
		len(s.records.logins), len(s.records.arrivals), executed, s.logged)
	fmt.Fprintf(&out, "services that were slow without a fault: %s in all\n", watched.Round(time.Millisecond))
	fmt.Fprintf(&out, "the edge at rest: %d goroutines, %d KiB; afterwards %d, %d KiB, %d connections kept; most seen %d, %d KiB\n",
		before.goroutines, before.heap>>10, after.goroutines, after.heap>>10, after.kept, s.most.goroutines, s.most.heap>>10)
	fmt.Fprintf(&out, "\nwhat was made to fail, and until all was well again:\n")
	slices.Sort(s.fates)
	for _, fate := range s.fates {
		fmt.Fprintln(&out, fate)
	}
	s.t.Log(out.String())
}
