package statuspage

import (
	"encoding/json"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/health"
	"github.com/caddy-tigergraph/caddy-tigergraph/internal/history"
)

// cluster is a state that tests change.
type cluster struct {
	mu            sync.Mutex
	verdict, role string
	nodes         []string
	requests      int
	traffic       *Traffic
	clusters      []ClusterStatus
	fails         bool
	changes       []history.Transition
	built         atomic.Int64
}

func (c *cluster) snapshot(now time.Time) *Snapshot {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.built.Add(1)
	step := health.LatencyStepAt(now)
	latency := &Latency{SlowestMS: make([]*float64, health.LatencyPoints)}
	for i := range latency.SlowestMS {
		milliseconds := float64(step - health.LatencyPoints + int64(i))
		latency.SlowestMS[i] = &milliseconds
	}
	s := &Snapshot{Time: now, LatencyStep: step, Services: map[string]ServiceState{"gui": {FailOpen: c.fails}}, History: c.changes, HistorySeen: uint64(len(c.changes)), Clusters: c.clusters}
	for _, address := range c.nodes {
		s.Nodes = append(s.Nodes, Node{
			NodeStatus: NodeStatus{Address: address, Role: c.role, Requests: c.requests},
			Services: map[string]Service{
				"gui":  {ServiceStatus: ServiceStatus{Verdict: c.verdict, Streak: int(now.Unix()), LatencyMS: float64(now.Unix()), Traffic: c.traffic}, Share: 1, Probes: latency},
				"gsql": {ServiceStatus: ServiceStatus{Verdict: "off"}},
			},
		})
	}
	return s
}

func (c *cluster) change(change func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	change()
}

// inBubble runs a test with a clock of its own.
func inBubble(t *testing.T, test func(t *testing.T, c *cluster, f *Feed)) {
	synctest.Test(t, func(t *testing.T) {
		c := &cluster{verdict: "up", role: "primary", nodes: []string{"m1", "m2"}}
		f := NewFeed(c.snapshot, func(err error) { t.Error(err) })
		defer f.End()
		test(t, c, f)
	})
}

func subscribe(t *testing.T, f *Feed) *Subscription {
	t.Helper()
	s, err := f.Subscribe()
	if err != nil {
		t.Fatal(err)
	}
	if first := next(t, s); first.name != "snapshot" {
		t.Fatalf("the first event is %s", first.name)
	}
	return s
}

type received struct {
	name    string
	content string
	update  update
}

// next returns the next event.
func next(t *testing.T, s *Subscription) (r received) {
	t.Helper()
	message, more := <-s.Events()
	if !more {
		t.Fatal("the stream has ended")
	}
	lines := strings.Split(string(message), "\n")
	if len(lines) != 4 || lines[2] != "" || lines[3] != "" {
		t.Fatalf("no event: %q", message)
	}
	r.name, r.content = strings.TrimPrefix(lines[0], "event: "), strings.TrimPrefix(lines[1], "data: ")
	if r.name == "snapshot" {
		return r
	}
	if err := json.Unmarshal([]byte(r.content), &r.update); err != nil {
		t.Fatalf("%v in %s", err, r.content)
	}
	return r
}

// nextNews returns the next event that is about more than a step's points.
func nextNews(t *testing.T, s *Subscription) received {
	t.Helper()
	for {
		r := next(t, s)
		if r.name == "snapshot" || r.update.Nodes != nil || r.update.Requests != nil || r.update.Services != nil || r.update.History != nil ||
			r.update.Traffic != nil || r.update.Clusters != nil {
			return r
		}
	}
}

func TestAnUpdateTellsWhatHasChanged(t *testing.T) {
	inBubble(t, func(t *testing.T, c *cluster, f *Feed) {
		s := subscribe(t, f)
		c.change(func() {
			c.verdict = "down"
			c.changes = []history.Transition{{Node: "m1", To: "down"}}
		})
		r := nextNews(t, s)
		if len(r.update.Nodes) != 2 || !strings.Contains(string(r.update.Nodes[0]), `"verdict":"down"`) || r.update.Requests != nil ||
			r.update.Services != nil || len(r.update.History) != 1 {
			t.Errorf("a verdict: %s", r.content)
		}
		c.change(func() { c.requests = 7 })
		if r = nextNews(t, s); len(r.update.Requests) != 2 || r.update.Requests[0] != 7 || r.update.Nodes != nil || r.update.History != nil {
			t.Errorf("requests: %s", r.content)
		}
		c.change(func() { c.fails = true })
		if r = nextNews(t, s); !r.update.Services["gui"].FailOpen || r.update.Nodes != nil || r.update.Requests != nil {
			t.Errorf("a service: %s", r.content)
		}
		c.change(func() { c.traffic = &Traffic{PerSecond: 2.5} })
		if r = nextNews(t, s); len(r.update.Traffic) != 2 || r.update.Traffic[1]["gui"].PerSecond != 2.5 || r.update.Nodes != nil {
			t.Errorf("traffic: %s", r.content)
		}
		c.change(func() { c.traffic = &Traffic{PerSecond: 2.5}; c.clusters = []ClusterStatus{{Name: "dr", Active: true}} })
		if r = nextNews(t, s); len(r.update.Clusters) != 1 || r.update.Traffic != nil {
			t.Errorf("a cluster: %s", r.content)
		}
		c.change(func() { c.nodes = []string{"m1", "m2", "m3"} })
		if r = nextNews(t, s); r.name != "snapshot" || !strings.Contains(r.content, "m3") {
			t.Errorf("a node: %s %s", r.name, r.content)
		}
	})
}

func TestThePointsOfTheLatencyFollowEachOther(t *testing.T) {
	inBubble(t, func(t *testing.T, _ *cluster, f *Feed) {
		s := subscribe(t, f)
		began := health.LatencyStepAt(time.Now())
		for expected := began; expected < began+20; {
			r := next(t, s)
			if r.update.Points == nil {
				continue
			}
			if len(r.update.Points) != 2 || r.update.Points[0]["gsql"] != nil {
				t.Fatalf("%s", r.content)
			}
			for _, point := range r.update.Points[1]["gui"].SlowestMS {
				if *point != float64(expected) {
					t.Fatalf("point %v, want %d", *point, expected)
				}
				expected++
			}
			if r.update.LatencyStep != expected {
				t.Errorf("the step is %d, want %d", r.update.LatencyStep, expected)
			}
		}
	})
}

func TestASilentStreamIsNotSilentForLong(t *testing.T) {
	inBubble(t, func(t *testing.T, _ *cluster, f *Feed) {
		s := subscribe(t, f)
		for range 20 {
			began := time.Now()
			next(t, s)
			if silent := time.Since(began); silent > longestSilence+pace {
				t.Fatalf("it was silent for %s", silent)
			}
		}
	})
}

func TestOneSnapshotASecondIsMadeForAllAndNoneForNobody(t *testing.T) {
	inBubble(t, func(t *testing.T, c *cluster, f *Feed) {
		var streams []*Subscription
		for range 50 {
			streams = append(streams, subscribe(t, f))
		}
		began := c.built.Load()
		for range 10 {
			time.Sleep(time.Second)
			for _, s := range streams {
				for len(s.events) > 0 {
					<-s.events
				}
				if _, err := f.Snapshot(); err != nil {
					t.Fatal(err)
				}
			}
		}
		if built := c.built.Load() - began; built < 9 || built > 11 {
			t.Errorf("%d snapshots in ten seconds", built)
		}
		for _, s := range streams {
			s.Close()
			s.Close()
		}
		synctest.Wait()
		began = c.built.Load()
		time.Sleep(time.Minute)
		if built := c.built.Load() - began; built != 0 {
			t.Errorf("%d snapshots for nobody", built)
		}
		for range 50 { // who asks again and again
			if _, err := f.Snapshot(); err != nil {
				t.Fatal(err)
			}
		}
		if built := c.built.Load() - began; built != 1 {
			t.Errorf("%d snapshots at one moment", built)
		}
	})
}

func TestAReaderThatIsTooSlowBeginsAnew(t *testing.T) {
	inBubble(t, func(t *testing.T, c *cluster, f *Feed) {
		slow, quick := subscribe(t, f), subscribe(t, f)
		for i := range 3 * mostPending {
			c.change(func() { c.requests = i + 1 })
			nextNews(t, quick)
		}
		pending := 0
		for range slow.Events() {
			pending++
		}
		if pending != mostPending {
			t.Errorf("%d updates were kept for it, want %d", pending, mostPending)
		}
		subscribe(t, f).Close()
	})
}

func TestThereIsAnEndToStreamsAndToTheirNumber(t *testing.T) {
	inBubble(t, func(t *testing.T, _ *cluster, f *Feed) {
		var streams []*Subscription
		for range mostStreams {
			streams = append(streams, subscribe(t, f))
		}
		if _, err := f.Subscribe(); !errors.Is(err, ErrTooMany) {
			t.Errorf("one too many: %v", err)
		}
		streams[0].Close()
		subscribe(t, f)
		f.End()
		if _, more := <-streams[1].Events(); more {
			t.Error("a stream outlives its feed")
		}
		if _, err := f.Subscribe(); !errors.Is(err, ErrEnded) {
			t.Errorf("after the end: %v", err)
		}
		if _, err := f.Snapshot(); err != nil {
			t.Errorf("after the end: %v", err)
		}
		streams[1].Close()
		f.End()
	})
}

func BenchmarkTick(b *testing.B) {
	c := &cluster{verdict: "up", role: "primary"}
	for i := range 100 {
		c.nodes = append(c.nodes, "10.0.0."+string(rune('0'+i%10))+":14240")
	}
	f := NewFeed(c.snapshot, func(err error) { b.Error(err) })
	defer f.End()
	s, err := f.Subscribe()
	if err != nil {
		b.Fatal(err)
	}
	go func() {
		for range s.Events() {
		}
	}()
	now := time.Now()
	for b.Loop() {
		now = now.Add(pace)
		f.tick(f.stop, now)
	}
}
