package integration_test

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/tgnode"
)

var (
	soakFor  = flag.Duration("soak", 20*time.Second, "for how long TestSoak makes faults; for more than ten minutes, -timeout has to be longer as well")
	soakSeed = flag.Uint64("soak.seed", 0, "the seed of TestSoak's faults, 0 for another each time")
)

const (
	soakSessions      = 200
	soakQueries       = 10
	soakStreams       = 5
	soakUploads       = 5
	soakSubmissions   = 10
	soakConversations = 5
	soakMachines      = 3
	soakSlowAfter     = time.Second // when a service that answers is not up
)

// TestSoak lets three nodes fail in every way at random, while 200 users work and
// programs stream, query, load, talk and have queries run for later, by HTTP/1.1, 2 and
// 3 and at two edges with one storage, others do what no client should, and the operator
// drains, switches to a standby cluster and back, and restarts edges. It checks what the
// edges owe to them, by the journals of the nodes:
//
//   - no session is served by a node that is not its own while its own is up, by
//     whichever edge it comes;
//   - nothing that must not be repeated is carried out twice;
//   - no client gets what is another's;
//   - what only one node knows (an asynchronous query, a GSQL session with its dialogs)
//     is asked of that node;
//   - each request that fails is one whose node failed: the one that the edge chose
//     last, by its own log;
//   - nothing reaches a cluster that is not the active one, and both edges soon agree
//     on which one that is;
//   - afterwards the edges have as many goroutines and open files, and as much memory, as
//     before.
//
// What counts as failing, and for how long, is in soakSpan and soakRecovery. In runs of
// a minute and more an edge's clock jumps as well.
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
	s.standby = newSoakMachine(t, soakMachines, subnet, s.records.arrived)
	s.records.standby = s.standby.name
	for _, m := range s.allMachines() {
		s.awaitWell(m, allServices)
	}
	s.binary = caddyBinary
	if s.jumps() {
		s.binary = buildJumping(t)
	}
	s.newEdges()
	s.warmUp()
	watching := s.watch()
	var clients, faults sync.WaitGroup
	s.startClients(&clients)
	s.startOffenders(&clients)
	if t.Failed() {
		return
	}
	over := make(chan struct{})
	time.AfterFunc(*soakFor, func() { close(over) })
	faults.Go(func() { s.failMachines(over) })
	faults.Go(func() { s.keepQuiet(over) })
	faults.Go(func() { s.troubleEdges(over) })
	faults.Wait()
	close(s.stop)
	clients.Wait()
	watching.Wait()
	s.coolDown()
	s.readLogs()
	breaches := s.records.check()
	for i, breach := range breaches {
		if i == 20 {
			t.Errorf("and %d more", len(breaches)-i)
			break
		}
		t.Error(breach)
	}
	s.report()
	if t.Failed() {
		t.Logf("to do it again: -soak %s -soak.seed %d; the edges' logs are kept with -artifacts", *soakFor, s.seed)
		s.keepLogs()
		for _, e := range s.edges {
			if _, panics, found := strings.Cut(e.written(), "panic"); found {
				t.Errorf("%s: panic%.2000s", e.name, panics)
			}
		}
	}
}

type soak struct {
	t        *testing.T
	seed     uint64
	records  *soakRecords
	machines []*soakMachine // of the primary cluster, which fail
	standby  *soakMachine   // the other cluster, which does not
	stop     chan struct{}  // for clients and watchers

	noNetwork, noFirewall string // why some faults cannot be made

	binary  string // of the edges
	edges   []*soakEdge
	storage string // that they share

	quiet sync.RWMutex // held for reading by whatever makes something fail

	mu    sync.Mutex
	dealt map[string]int
	fates []string
}

// newClient returns a client that begins at one of the edges. Of five, three speak
// HTTP/1.1, one HTTP/2 and one HTTP/3.
func (s *soak) newClient(number int, stop <-chan struct{}) *soakClient {
	c := newSoakClient(s.records, number, s.edges, stop, s.seed)
	c.version = max(1, number%5-1)
	return c
}

func (s *soak) startClients(clients *sync.WaitGroup) {
	number := 0
	start := func(count int, life func(*soakClient)) {
		for range count {
			c := s.newClient(number, s.stop)
			number++
			clients.Go(func() { life(c) })
		}
	}
	start(soakSessions, (*soakClient).browse)
	start(soakQueries, (*soakClient).query)
	start(soakStreams, (*soakClient).stream)
	start(soakUploads, (*soakClient).upload)
	start(soakSubmissions, (*soakClient).submit)
	start(soakConversations, (*soakClient).converse)
	eventually(s.t, "all users are logged in", func() bool {
		s.records.mu.Lock()
		defer s.records.mu.Unlock()
		return len(s.records.logins) >= soakSessions
	})
}

func (s *soak) allMachines() []*soakMachine { return append(slices.Clip(s.machines), s.standby) }

// newWatcher returns a client that asks machines without the edge.
func newWatcher() *http.Client {
	return &http.Client{Timeout: soakSlowAfter, Transport: &http.Transport{DisableKeepAlives: true}}
}

// watch looks after the machines, and records when one was not up for longer than
// the faults that were made say.
func (s *soak) watch() *sync.WaitGroup {
	watching := new(sync.WaitGroup)
	for _, m := range s.allMachines() {
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
					s.quiet.RLock()
					s.fail(m, faults[i], random)
					s.quiet.RUnlock()
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
	s.records.span(soakSpan{node: m.name, services: fault.services, from: began, to: time.Now(), what: fault.name, made: true, inner: fault.inner, forgets: fault.forgets})
	s.note(fault.name+" of "+m.name, began)
}
