package integration_test

import (
	"bufio"
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"net/http"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/tgnode"
)

// statusShape is what the page's JSON looks like.
type statusShape struct {
	Time               time.Time `json:"time"`
	Version            string    `json:"version"`
	CaddyVersion       string    `json:"caddy_version"`
	Started            time.Time `json:"started"`
	UptimeSeconds      int64     `json:"uptime_seconds"`
	LatencyStep        int64     `json:"latency_step"`
	LatencyStepSeconds int       `json:"latency_step_seconds"`
	Services           map[string]struct {
		FailOpen    bool `json:"fail_open"`
		Unavailable bool `json:"unavailable"`
	} `json:"services"`
	Nodes []struct {
		nodeShape
		DrainedBy        string `json:"drained_by"`
		DrainSecondsLeft *int64 `json:"drain_seconds_left"`
		Services         map[string]struct {
			serviceShape
			Advice string  `json:"advice"`
			Share  float64 `json:"share_of_new_clients"`
			Probes *struct {
				SlowestMS []*float64 `json:"slowest_ms"`
				Failed    []int      `json:"failed"`
			} `json:"probes"`
		} `json:"services"`
	} `json:"nodes"`
	History []transitionShape `json:"history"`
}

type transitionShape struct {
	Time    time.Time `json:"time"`
	Node    string    `json:"node"`
	Service string    `json:"service"`
	From    string    `json:"from"`
	To      string    `json:"to"`
	Why     string    `json:"why"`
}

const statusPath = "/tigergraph-status"

// withStatus returns these directives, and the status page.
func withStatus(directives string) string {
	return "tigergraph_status " + statusPath + "*\n" + directives
}

// status returns what the page shows.
func (b *browser) status() (status statusShape) {
	b.t.Helper()
	reply := b.get(statusPath, "Accept", "application/json")
	if kind := reply.Header.Get("Content-Type"); reply.StatusCode != http.StatusOK || kind != "application/json" {
		b.t.Fatalf("%d %s: %s", reply.StatusCode, kind, reply.body)
	}
	decodeStrictly(b.t, reply.body, &status)
	return status
}

// verdicts returns the verdicts of a service by node.
func (s statusShape) verdicts(service string) map[string]string {
	verdicts := make(map[string]string)
	for _, node := range s.Nodes {
		verdicts[node.Address] = node.Services[service].Verdict
	}
	return verdicts
}

// shares returns the shares of new clients by node, rounded to a hundredth.
func (s statusShape) shares(service string) map[string]float64 {
	shares := make(map[string]float64)
	for _, node := range s.Nodes {
		shares[node.Address] = math.Round(node.Services[service].Share*100) / 100
	}
	return shares
}

// of returns the transitions of a node's service, the newest first.
func (s statusShape) of(node *tgnode.Node, service string) (found []transitionShape) {
	for _, transition := range s.History {
		if transition.Node == node.Addr() && transition.Service == service {
			found = append(found, transition)
		}
	}
	return found
}

func TestTheStatusPageShowsWhatTheEdgeThinks(t *testing.T) {
	_, nodes := startCluster(t, 4)
	e, a := newAdminEdge(t)
	e.load(withStatus(behind(nodes, "weight "+nodes[0].Addr()+" 2\nbackup "+nodes[3].Addr()+"\nhealth_check {\ninterval 100ms\ngsql off\n}")))
	b := e.newBrowser(2)
	eventually(t, "RESTPP is up everywhere", func() bool {
		verdicts := b.status().verdicts("restpp")
		for _, node := range nodes {
			if verdicts[node.Addr()] != "up" {
				return false
			}
		}
		return true
	})
	status := b.status()
	if status.Version == "" || status.CaddyVersion == "" || status.Started.After(status.Time) ||
		status.UptimeSeconds != int64(status.Time.Sub(status.Started).Seconds()) || time.Since(status.Time).Abs() > time.Minute {
		t.Errorf("%+v", status)
	}
	half, quarter := 0.5, 0.25
	want := map[string]float64{nodes[0].Addr(): half, nodes[1].Addr(): quarter, nodes[2].Addr(): quarter, nodes[3].Addr(): 0}
	for _, service := range []string{"gui", "gsql", "restpp"} {
		if got := status.shares(service); fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("new %s clients are shared %v, want %v", service, got, want)
		}
	}
	for _, node := range status.Nodes {
		if off := node.Services["gsql"]; off.Verdict != "off" || off.Probes != nil {
			t.Errorf("a service that is not checked: %+v", off)
		}
	}

	// The drain and the dead node share their clients out among those who are left.
	a.post("drain", fmt.Sprintf(`{"node": %q, "for": "1h"}`, nodes[0].Addr()))
	nodes[1].SetFault(tgnode.RESTPP, tgnode.Fault{Mode: tgnode.Dead})
	eventually(t, "one node is drained and another is down", func() bool {
		status = b.status()
		return status.verdicts("restpp")[nodes[1].Addr()] == "down" && status.shares("gui")[nodes[0].Addr()] == 0
	})
	if got := status.shares("restpp")[nodes[2].Addr()]; got != 1 {
		t.Errorf("the only node left gets %v of RESTPP's new clients", got)
	}
	if got := status.shares("gui")[nodes[1].Addr()]; got != half {
		t.Errorf("a node whose RESTPP is down gets %v of the GUI's new clients, want %v", got, half)
	}
	for _, node := range status.Nodes {
		switch node.Address {
		case nodes[0].Addr():
			if left := node.DrainSecondsLeft; !node.Draining || node.DrainedBy != "call" || node.DrainUntil == nil || left == nil || *left < 3000 || *left > 3600 {
				t.Errorf("a draining node: %+v", node)
			}
		case nodes[3].Addr():
			if node.Role != "backup" {
				t.Errorf("a standby: %+v", node)
			}
		}
	}
	down := status.of(nodes[1], "restpp")[0]
	if down.From != "up" || down.To != "down" || !strings.Contains(down.Why, "502") || time.Since(down.Time) > time.Minute {
		t.Errorf("in the history it is %+v", down)
	}
	for _, node := range status.Nodes {
		service := node.Services["restpp"]
		if isDown := node.Address == nodes[1].Addr(); isDown != (service.Verdict == "down") || isDown != strings.Contains(service.Advice, "gadmin") {
			t.Errorf("%+v", service)
		}
	}
	drain := status.of(nodes[0], "all")
	if len(drain) != 1 || drain[0].From != "ready" || drain[0].To != "draining" || !strings.Contains(drain[0].Why, "1h") {
		t.Errorf("the drain in the history is %+v", drain)
	}
	a.ready(nodes[0])
	eventually(t, "the end of the drain is in the history", func() bool {
		drain := b.status().of(nodes[0], "all")
		return len(drain) == 2 && drain[0].To == "ready"
	})
}

func TestTheStatusPageSaysThatAServiceFailsOpenOrIsUnavailable(t *testing.T) {
	_, nodes := startCluster(t, 2)
	for _, test := range []struct {
		name, options             string
		failsOpen, isUnavailable  bool
		share, shareOfTheDraining float64
	}{
		{"by default", "", true, false, 1, 0},
		{"fail_closed", "fail_closed\n", false, true, 0, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			e := newEdge(t)
			e.load(withStatus(behind(nodes, test.options+"drain "+nodes[1].Addr()+"\n"+quick)))
			b := e.newBrowser(2)
			for _, node := range nodes {
				node.SetFault(tgnode.GSQL, tgnode.Fault{Mode: tgnode.Dead})
				defer node.ClearFaults()
			}
			eventually(t, "GSQL is down", func() bool {
				verdicts := b.status().verdicts("gsql")
				return verdicts[nodes[0].Addr()] == "down" && verdicts[nodes[1].Addr()] == "down"
			})
			status := b.status()
			if got := status.Services["gsql"]; got.FailOpen != test.failsOpen || got.Unavailable != test.isUnavailable {
				t.Errorf("GSQL: %+v", got)
			}
			if got := status.Services["gui"]; got.FailOpen || got.Unavailable {
				t.Errorf("GUI: %+v", got)
			}
			shares := status.shares("gsql")
			if shares[nodes[0].Addr()] != test.share || shares[nodes[1].Addr()] != test.shareOfTheDraining {
				t.Errorf("new GSQL clients are shared %v", shares)
			}
		})
	}
}

func TestTheShareFollowsASlowStart(t *testing.T) {
	_, nodes := startCluster(t, 3)
	e := newEdge(t)
	e.load(withStatus(behind(nodes, "slow_start 1h\n"+quick)))
	b := e.newBrowser(2)
	slow := nodes[0].Addr()
	verdict := func() string { return b.status().verdicts("gui")[slow] }
	eventually(t, "the node is up", func() bool { return verdict() == "up" })
	if share := b.status().shares("gui")[slow]; share != 0.33 {
		t.Errorf("after the start of the process it gets %v of the new clients", share)
	}
	nodes[0].SetFault(tgnode.GUI, tgnode.Fault{Mode: tgnode.Dead})
	eventually(t, "the node is down", func() bool { return verdict() == "down" })
	nodes[0].ClearFaults()
	eventually(t, "the node is up again", func() bool { return verdict() == "up" })
	// A tenth of its weight, 0.1 of 2.1, and a little more since.
	if share := b.status().shares("gui")[slow]; share != 0.05 {
		t.Errorf("when it comes up it gets %v of the new clients, want 0.05", share)
	}
}

func TestTheShareIsTheMeanOfTheSites(t *testing.T) {
	_, nodes := startCluster(t, 2)
	e := newEdge(t)
	site := "http://" + freeAddress(t) + " {\n" + behind(nodes[:1], quick) + "\n}\n"
	if err := e.tryLoad(site+"http://"+e.address, withStatus(behind(nodes, quick))); err != nil {
		t.Fatal(err)
	}
	b := e.newBrowser(2)
	if shares := b.status().shares("gui"); shares[nodes[0].Addr()] != 0.75 || shares[nodes[1].Addr()] != 0.5 {
		t.Errorf("with two sites, one of which has a node alone, the shares are %v", shares)
	}
}

func TestTheEndOfADrainByItsTimeIsRemembered(t *testing.T) {
	_, nodes := startCluster(t, 2)
	e, a := newAdminEdge(t)
	e.load(withStatus(behind(nodes, quick)))
	b := e.newBrowser(2)
	a.allUp()
	a.post("drain", fmt.Sprintf(`{"node": %q, "for": "1s"}`, nodes[0].Addr()))
	eventually(t, "the drain's end is in the history", func() bool {
		drain := b.status().of(nodes[0], "all")
		return len(drain) == 2 && drain[1].To == "draining" && drain[0].To == "ready" && strings.Contains(drain[0].Why, "time")
	})
}

func TestTheLatencyOfProbesIsShown(t *testing.T) {
	_, nodes := startCluster(t, 1)
	e := newEdge(t)
	site := withStatus(behind(nodes, quick))
	e.load(site)
	b := e.newBrowser(2)
	seen := func() (passed, failed int) {
		for _, node := range b.status().Nodes {
			probes := node.Services["gui"].Probes
			if len(probes.SlowestMS) != 60 {
				t.Fatalf("%d points", len(probes.SlowestMS))
			}
			for _, value := range probes.SlowestMS {
				if value != nil {
					if passed++; *value <= 0 {
						t.Errorf("a probe took %v ms", *value)
					}
				}
			}
			for _, count := range probes.Failed {
				failed += count
			}
		}
		return passed, failed
	}
	eventually(t, "the first step has ended", func() bool { passed, _ := seen(); return passed > 0 })
	nodes[0].SetFault(tgnode.GUI, tgnode.Fault{Mode: tgnode.Dead})
	eventually(t, "a step with failures has ended", func() bool { _, failed := seen(); return failed > 0 })
	passed, _ := seen()
	e.load(site + "\nheader X-Reloaded yes")
	if after, _ := seen(); after < passed {
		t.Errorf("of %d points %d have survived a reload", passed, after)
	}
}

func TestTheHistorySurvivesAReloadAndIsBounded(t *testing.T) {
	_, nodes := startCluster(t, 2)
	e := newEdge(t)
	site := withStatus(behind(nodes, "health_check {\ninterval 20ms\nfails 1\npasses 1\n}"))
	e.load(site)
	b := e.newBrowser(2)
	nodes[0].SetFault(tgnode.GUI, tgnode.Fault{Mode: tgnode.Dead})
	eventually(t, "the node's fall is in the history", func() bool {
		transitions := b.status().of(nodes[0], "gui")
		return len(transitions) > 0 && transitions[0].To == "down"
	})
	fall := b.status().of(nodes[0], "gui")[0]
	e.load(site + "\nheader X-Reloaded yes")
	if !slices.Contains(b.status().of(nodes[0], "gui"), fall) {
		t.Error("the fall is forgotten after a reload")
	}

	// A service that goes up and down pushes it out.
	nodes[1].SetFault(tgnode.GSQL, tgnode.Fault{Mode: tgnode.Dead, Sequence: "-+", Repeat: true})
	eventually(t, "the fall is forgotten", func() bool {
		status := b.status()
		if len(status.History) > 2000 { // two hundred outages, of ten transitions on the average
			t.Fatalf("there are %d transitions", len(status.History))
		}
		return len(status.History) >= 200 && !slices.Contains(status.of(nodes[0], "gui"), fall)
	})
	if history := b.status().History; !slices.IsSortedFunc(history, func(a, b transitionShape) int { return b.Time.Compare(a.Time) }) {
		t.Errorf("the newest are not first: %v", history)
	}
}

func TestTheStatusPageIsServedAsAskedFor(t *testing.T) {
	_, nodes := startCluster(t, 1)
	e := newEdge(t)
	e.load(withStatus(behind(nodes, quick)))
	b := e.newBrowser(2)
	for _, test := range []struct {
		method, query, accept string
		status                int
		kind                  string
	}{
		{"GET", "", "", 200, "text/html; charset=utf-8"},
		{"GET", "", "*/*", 200, "text/html; charset=utf-8"},
		{"GET", "", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", 200, "text/html; charset=utf-8"},
		{"GET", "", "application/json", 200, "application/json"},
		{"GET", "", "text/html;q=0.5, application/json", 200, "application/json"},
		{"GET", "?format=json", "text/html", 200, "application/json"},
		{"GET", "?format=html", "application/json", 200, "text/html; charset=utf-8"},
		{"GET", "?format=xml", "", 400, "text/plain; charset=utf-8"},
		{"HEAD", "", "", 200, "text/html; charset=utf-8"},
		{"HEAD", "?format=json", "", 200, "application/json"},
		{"HEAD", "?format=events", "", 200, "text/event-stream"},
		{"POST", "", "", 405, "text/plain; charset=utf-8"},
		{"PUT", "?format=json", "", 405, "text/plain; charset=utf-8"},
		{"DELETE", "", "application/json", 405, "text/plain; charset=utf-8"},
		{"OPTIONS", "", "", 405, "text/plain; charset=utf-8"},
	} {
		reply := b.do(test.method, statusPath+test.query, nil, "Accept", test.accept)
		if kind := reply.Header.Get("Content-Type"); reply.StatusCode != test.status || kind != test.kind {
			t.Errorf("%s %s, accepting %q: %d %s, want %d %s", test.method, test.query, test.accept, reply.StatusCode, kind, test.status, test.kind)
		}
		if (test.method == "HEAD") != (len(reply.body) == 0) {
			t.Errorf("%s %s: a body of %d bytes", test.method, test.query, len(reply.body))
		}
		if allow := reply.Header.Get("Allow"); (test.status == 405) != (allow == "GET, HEAD") {
			t.Errorf("%s: Allow is %q", test.method, allow)
		}
		if test.kind == "text/html; charset=utf-8" {
			policy := reply.Header.Get("Content-Security-Policy")
			if !strings.HasPrefix(policy, "default-src 'none'") || strings.Contains(policy, "unsafe") || strings.Contains(policy, "*") {
				t.Errorf("the policy is %q", policy)
			}
			if strings.Contains(string(reply.body), "//cdn") || strings.Contains(string(reply.body), `src="`) {
				t.Error("the page fetches something")
			}
		}
	}
	for _, node := range nodes {
		for _, request := range node.Requests() {
			if strings.Contains(request.Target, statusPath) {
				t.Errorf("the node got %s %s", request.Method, request.Target)
			}
		}
	}
}

func TestTheStatusPageWorksUnderAnyPath(t *testing.T) {
	e := newEdge(t)
	e.load("handle /tigergraph-status* {\ntigergraph_status\n}\nhandle_path /ops/status/* {\ntigergraph_status\n}\n" +
		"@secret header X-Secret yes\ntigergraph_status @secret\nhandle {\nrespond none 404\n}")
	b := e.newBrowser(2)
	for path, want := range map[string]int{
		"/tigergraph-status": 200, "/tigergraph-status/": 200, "/ops/status/": 200, "/ops/status/deep/": 200, "/": 404,
	} {
		if got := b.get(path).StatusCode; got != want {
			t.Errorf("%s: %d, want %d", path, got, want)
		}
	}
	if status := b.status(); len(status.Nodes) != 0 || status.Nodes == nil {
		t.Errorf("without a cluster there are nodes: %v", status.Nodes)
	}
}

func TestTheStatusPageCanBeLocked(t *testing.T) {
	_, nodes := startCluster(t, 1)
	e := newEdge(t)
	hash, code := caddyCommand(t, "hash-password", "--bcrypt-cost", "4", "--plaintext", "swordfish") // cheap, for the race detector makes it dear
	if code != 0 {
		t.Fatal(hash)
	}
	// The order of the directives says nothing; Caddy asks for the password first.
	e.load(withStatus(behind(nodes, quick)) + "\nbasic_auth " + statusPath + "* {\noperator " + strings.TrimSpace(hash) + "\n}")
	b := e.newBrowser(2)
	for _, query := range []string{"", "?format=json", "?format=events"} {
		if status := b.get(statusPath + query).StatusCode; status != http.StatusUnauthorized {
			t.Errorf("%q without a password: %d", query, status)
		}
	}
	password := "Basic " + base64.StdEncoding.EncodeToString([]byte("operator:swordfish"))
	if status := b.get(statusPath+"?format=json", "Authorization", password).StatusCode; status != http.StatusOK {
		t.Errorf("with the password: %d", status)
	}
	if status := b.get("/api/ping").StatusCode; status != http.StatusOK {
		t.Errorf("another path: %d", status)
	}
}

// events are those of a stream of the status page.
type events struct {
	t      testing.TB
	body   io.ReadCloser
	reader *bufio.Reader
}

func (b *browser) events(ctx context.Context) *events {
	b.t.Helper()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, b.base+statusPath, nil)
	if err != nil {
		b.t.Fatal(err)
	}
	request.Header.Set("Accept", "text/event-stream")
	response, err := b.http.Transport.RoundTrip(request)
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { response.Body.Close() })
	if kind := response.Header.Get("Content-Type"); response.StatusCode != http.StatusOK || kind != "text/event-stream" {
		b.t.Fatalf("%d %s", response.StatusCode, kind)
	}
	return &events{b.t, response.Body, bufio.NewReader(response.Body)}
}

// next returns the next event.
func (e *events) next() (name string, content json.RawMessage, err error) {
	for {
		line, err := e.reader.ReadString('\n')
		if err != nil {
			return "", nil, err
		}
		switch line = strings.TrimSuffix(line, "\n"); {
		case line == "" && name != "":
			return name, content, nil
		case strings.HasPrefix(line, "event: "):
			name = strings.TrimPrefix(line, "event: ")
		case strings.HasPrefix(line, "data: "):
			content = json.RawMessage(strings.TrimPrefix(line, "data: "))
		}
	}
}

// await returns the first event that says this.
func (e *events) await(name, text string) json.RawMessage {
	e.t.Helper()
	for deadline := time.Now().Add(enough); time.Now().Before(deadline); {
		got, content, err := e.next()
		if err != nil {
			e.t.Fatalf("waiting for %q: %v", text, err)
		}
		if got == name && strings.Contains(string(content), text) {
			return content
		}
	}
	e.t.Fatalf("waited in vain for an event with %q", text)
	return nil
}

func TestChangesArriveWithoutAsking(t *testing.T) {
	_, nodes := startCluster(t, 2)
	e := newEdge(t)
	e.load(withStatus(behind(nodes, quick)))
	b := e.newBrowser(2)
	eventually(t, "all is up", func() bool { return b.status().verdicts("gsql")[nodes[0].Addr()] == "up" })
	ctx, cancel := context.WithTimeout(t.Context(), 2*enough)
	defer cancel()
	stream := b.events(ctx)
	name, content, err := stream.next()
	if err != nil || name != "snapshot" {
		t.Fatalf("the first event is %q: %v", name, err)
	}
	var whole statusShape
	decodeStrictly(t, content, &whole)
	if len(whole.Nodes) != 2 {
		t.Fatalf("%s", content)
	}
	began := time.Now()
	nodes[0].Stop()
	changed := stream.await("update", `"verdict":"down"`)
	if took := time.Since(began); took > 20*time.Second {
		t.Errorf("it took %s", took)
	}
	var update struct {
		Nodes   map[string]struct{ Services map[string]serviceShape }
		History []transitionShape
	}
	if err := json.Unmarshal(changed, &update); err != nil {
		t.Fatal(err)
	}
	place := "0"
	if whole.Nodes[1].Address == nodes[0].Addr() {
		place = "1"
	}
	fallen := update.Nodes[place].Services
	if fallen["gui"].Verdict != "down" && fallen["gsql"].Verdict != "down" && fallen["restpp"].Verdict != "down" || len(update.History) == 0 {
		t.Errorf("it does not say what has changed: %s", changed)
	}
}

// A compression would hold events back, or at least cost more than they do.
func TestEventsAreNotCompressed(t *testing.T) {
	_, nodes := startCluster(t, 1)
	e := newEdge(t)
	e.load("encode zstd gzip {\nmatch {\nheader Content-Type text/*\nheader Content-Type application/*\n}\n}\n" + withStatus(behind(nodes, quick)))
	b := e.newBrowser(2)
	if coding := b.get(statusPath+"?format=json", "Accept-Encoding", "gzip").Header.Get("Content-Encoding"); coding != "gzip" {
		t.Errorf("the JSON's coding is %q", coding)
	}
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, b.base+statusPath+"?format=events", nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Accept-Encoding", "gzip, zstd")
	response, err := b.http.Transport.RoundTrip(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if coding := response.Header.Get("Content-Encoding"); coding != "" {
		t.Errorf("the coding is %q", coding)
	}
	(&events{t, response.Body, bufio.NewReader(response.Body)}).await("snapshot", nodes[0].Addr())
}

// A reload must not wait for those who look on, and they must not look at what is
// gone.
func TestAStreamEndsWithItsConfiguration(t *testing.T) {
	_, nodes := startCluster(t, 1)
	e := newEdge(t)
	site := withStatus(behind(nodes, quick))
	e.load(site)
	b := e.newBrowser(2)
	for reload := range 5 {
		ctx, cancel := context.WithTimeout(t.Context(), enough)
		var streams []*events
		for range 3 {
			stream := b.events(ctx)
			stream.await("snapshot", nodes[0].Addr())
			streams = append(streams, stream)
		}
		e.load(fmt.Sprintf("%s\nheader X-Reload %d", site, reload))
		for _, stream := range streams {
			for {
				if _, _, err := stream.next(); err != nil {
					if ctx.Err() != nil {
						t.Fatal("the stream outlives its configuration")
					}
					break
				}
			}
		}
		cancel()
	}
}

func TestAProcessWithStreamsEndsCleanly(t *testing.T) {
	_, nodes := startCluster(t, 1)
	address := freeAddress(t)
	p := startProcess(t, caddyBinary, processOptions(t.TempDir())+"}\nhttp://"+address+" {\n"+withStatus(behind(nodes, quick))+"\n}\n")
	p.listening(address)
	b := newBrowser(t, "http://"+address, 2, nil)
	for range 3 {
		b.events(t.Context()).await("snapshot", nodes[0].Addr())
	}
	if err := p.command.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	select {
	case <-p.ended:
	case <-time.After(enough):
		t.Fatal("streams hold up the end of the process")
	}
	if code := p.command.ProcessState.ExitCode(); code != 0 {
		t.Errorf("exit code %d: %s", code, p.output)
	}
}

func TestWhatANodeSendsIsNotEchoed(t *testing.T) {
	for name, site := range map[string]func([]*tgnode.Node, string) string{"Go's transport": behind, "the directive's own": cluster} {
		t.Run(name, func(t *testing.T) {
			_, nodes := startCluster(t, 1)
			e := newEdge(t)
			e.load(withStatus(site(nodes, quick)))
			b := e.newBrowser(2)
			const evil = `<script>alert(1)</script>`
			nodes[0].SetFault(tgnode.GUI, tgnode.Fault{Mode: tgnode.Answer, Status: 200, ContentType: "text/html", Body: evil})
			nodes[0].SetFault(tgnode.GSQL, tgnode.Fault{Mode: tgnode.Raw, Body: "HTTP/1.1 " + evil + "\r\n\r\n"})
			eventually(t, "both are down", func() bool {
				status := b.status()
				return status.verdicts("gui")[nodes[0].Addr()] == "down" && status.verdicts("gsql")[nodes[0].Addr()] == "down"
			})
			for _, format := range []string{"json", "html"} {
				if reply := b.get(statusPath + "?format=" + format); strings.Contains(string(reply.body), "alert(1)") {
					t.Errorf("%s", reply.body)
				}
			}
			for _, line := range e.logs("alert(1)") {
				t.Errorf("the log: %s", line)
			}
		})
	}
}
