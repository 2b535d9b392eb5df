package integration_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"time"
)

const soakEdgeKilled = "edge killed"

// troubleEdges lets the edges reload, restart, drain nodes, and lose their storage. One
// trouble is over before the next begins, so that one edge always serves.
func (s *soak) troubleEdges(over <-chan struct{}) {
	// In the second half of a run the edges live on, to show what they leak.
	half := time.Now().Add(*soakFor / 2)
	const restarted, killed = "edge restarted", soakEdgeKilled
	random := rand.New(rand.NewPCG(s.seed, 100))
	type trouble struct {
		name string
		make func(*rand.Rand)
	}
	troubles := []trouble{
		{"edge reloaded", func(random *rand.Rand) { s.reload(s.anyEdge(random)) }},
		{"edge drains a node", s.drain},
		{"edge switches clusters", s.switchClusters},
		{restarted, func(random *rand.Rand) { s.restart(s.anyEdge(random), syscall.SIGTERM) }},
		{killed, func(random *rand.Rand) { s.restart(s.anyEdge(random), syscall.SIGKILL) }},
		{"edges' storage gone", s.loseStorage},
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
			if ends(i) && time.Now().After(half) {
				continue
			}
			s.quiet.RLock()
			began := time.Now()
			troubles[i].make(random)
			s.note(troubles[i].name, began)
			s.quiet.RUnlock()
			for _, e := range s.edges {
				e.most = e.most.most(e.size())
			}
			select {
			case <-over:
			case <-time.After(2*time.Second + upTo(random, 6*time.Second)):
			}
		}
	}
}

func (s *soak) anyEdge(random *rand.Rand) *soakEdge { return s.edges[random.IntN(len(s.edges))] }

// reload loads a configuration that differs.
func (s *soak) reload(e *soakEdge) {
	e.reloads++
	generation := regexp.MustCompile(`(# generation|header_up X-Generation) \d+`)
	e.caddyfile = generation.ReplaceAllString(e.caddyfile, fmt.Sprintf("header_up X-Generation %d", e.reloads))
	began := time.Now()
	status, answer := e.ask(http.MethodPost, "/load", "text/caddyfile", e.caddyfile)
	s.records.edgeSpan(&s.records.reloads, e.name, "reload", began, time.Now())
	if status != http.StatusOK {
		s.t.Errorf("reload of %s: %d %s", e.name, status, answer)
	}
}

func (s *soak) drain(random *rand.Rand) {
	e := s.anyEdge(random)
	node := fmt.Sprintf(`{"node": %q}`, s.machines[random.IntN(len(s.machines))].address)
	// It is refused with 409 while the others are down.
	if status, answer := e.ask(http.MethodPost, "/tigergraph/drain", "application/json", node); status != http.StatusOK && status != http.StatusConflict {
		s.t.Errorf("drain: %d %s", status, answer)
	}
	time.Sleep(time.Second + upTo(random, 2*time.Second)) // it drains
	if status, answer := e.ask(http.MethodPost, "/tigergraph/ready", "application/json", node); status != http.StatusOK {
		s.t.Errorf("ready: %d %s", status, answer)
	}
}

// soakFollowing is how long an edge may take at most to do what the operator told the
// other: five seconds are promised, and a busy machine gets as much again.
const soakFollowing = 10 * time.Second

// switchClusters has one edge make the standby cluster the active one, and the primary
// again. The others follow by the storage.
func (s *soak) switchClusters(random *rand.Rand) {
	told := s.anyEdge(random)
	changes := make([]soakSwitch, len(s.edges))
	to := func(cluster string, note func(change *soakSwitch, began, ended time.Time)) {
		began := time.Now()
		if status, answer := told.ask(http.MethodPost, "/tigergraph/switch", "application/json", fmt.Sprintf(`{"cluster": %q}`, cluster)); status != http.StatusOK {
			s.t.Errorf("switch to %s: %d %s", cluster, status, answer)
		}
		for i, e := range s.edges {
			for e.active() != cluster {
				if time.Since(began) > soakFollowing {
					s.records.breach("%s: %s uses %s %s after %s was told to use %s", time.Now().Format(soakTime), e.name, e.active(), time.Since(began), told.name, cluster)
					break
				}
				time.Sleep(20 * time.Millisecond) // it follows
			}
			note(&changes[i], began, time.Now())
		}
	}
	to("dr", func(change *soakSwitch, began, ended time.Time) { change.began, change.ready = began, ended })
	time.Sleep(time.Second + upTo(random, 2*time.Second)) // the other cluster serves
	to("primary", func(change *soakSwitch, began, ended time.Time) { change.back, change.ended = began, ended })
	for i, e := range s.edges {
		changes[i].edge = e.name
		s.records.switched(changes[i])
	}
}

// active returns the cluster that an edge uses.
func (e *soakEdge) active() string {
	status, answer := e.ask(http.MethodGet, "/tigergraph/clusters", "", "")
	var clusters []struct {
		Name   string
		Active bool
	}
	if err := json.Unmarshal([]byte(answer), &clusters); err != nil {
		e.t.Errorf("clusters of %s: %d %s", e.name, status, answer)
	}
	for _, c := range clusters {
		if c.Active {
			return c.Name
		}
	}
	return ""
}

func (s *soak) restart(e *soakEdge, signal syscall.Signal) {
	began := time.Now()
	_ = e.process.command.Process.Signal(signal) // it may have crashed, which shows
	select {
	case <-e.process.ended:
	case <-time.After(4 * enough): // it waits for its requests, and nodes hang
		_ = e.process.command.Process.Signal(syscall.SIGQUIT)
		<-e.process.ended
		_, stacks, _ := strings.Cut(e.process.output.String(), "SIGQUIT")
		s.t.Errorf("%s does not end: %.20000s", e.name, stacks)
	}
	if code := e.process.command.ProcessState.ExitCode(); signal == syscall.SIGTERM && code != 0 {
		s.t.Errorf("%s ended with %d: %.2000s", e.name, code, e.process.output)
	}
	e.start()
	e.awaitStart()
	s.records.edgeSpan(&s.records.down, e.name, "restart", began, time.Now())
}

// loseStorage takes the storage away, or puts a file in its place, so that nothing can be
// written either, and reloads the edges without it.
func (s *soak) loseStorage(random *rand.Rand) {
	if err := os.Rename(s.storage, s.storage+".away"); err != nil {
		s.t.Error(err)
		return
	}
	useless := random.IntN(2) == 0
	if useless {
		if err := os.WriteFile(s.storage, nil, 0o600); err != nil {
			s.t.Error(err)
		}
	}
	time.Sleep(time.Second) // without storage
	for _, e := range s.edges {
		s.reload(e)
	}
	if useless {
		// Who is told that it was done would rely on it.
		e := s.anyEdge(random)
		if status, answer := e.ask(http.MethodPost, "/tigergraph/switch", "application/json", `{"cluster": "dr"}`); status < 500 {
			s.t.Errorf("a switch that cannot be kept is answered %d %s", status, answer)
		}
	}
	time.Sleep(time.Second) // with another, or with none
	if err := os.RemoveAll(s.storage); err != nil {
		s.t.Error(err)
	}
	if err := os.Rename(s.storage+".away", s.storage); err != nil {
		s.t.Error(err)
	}
	for _, e := range s.edges {
		s.reload(e)
	}
}
