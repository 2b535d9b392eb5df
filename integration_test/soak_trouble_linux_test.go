package integration_test

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"regexp"
	"slices"
	"syscall"
	"time"
)

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
		{"edge switches clusters", s.switchClusters},
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

// switchClusters makes the standby cluster the active one, and the primary again.
func (s *soak) switchClusters(random *rand.Rand) {
	to := func(cluster string) (began, ended time.Time) {
		began = time.Now()
		if status, answer := s.ask(http.MethodPost, "/tigergraph/switch", "application/json", fmt.Sprintf(`{"cluster": %q}`, cluster)); status != http.StatusOK {
			s.t.Errorf("switch to %s: %d %s", cluster, status, answer)
		}
		return began, time.Now()
	}
	var change soakSwitch
	change.began, change.ready = to("dr")
	time.Sleep(time.Second + upTo(random, 2*time.Second)) // the other cluster serves
	change.back, change.ended = to("primary")
	s.records.switched(change)
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
