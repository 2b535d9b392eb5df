package integration_test

import (
	"bytes"
	"context"
	"fmt"
	"net/http"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/tgnode"
)

// requestsTo returns what the edge has counted of the attempts at a node's RESTPP, by
// code.
func requestsTo(series map[string]float64, node *tgnode.Node) map[string]int {
	codes := make(map[string]int)
	for name, value := range series {
		if !strings.HasPrefix(name, "caddy_tigergraph_requests_total{") || !strings.Contains(name, `node="`+node.Addr()+`"`) || !strings.Contains(name, `service="restpp"`) {
			continue
		}
		_, rest, _ := strings.Cut(name, `code="`)
		code, _, _ := strings.Cut(rest, `"`)
		codes[code] = int(value)
	}
	return codes
}

func sumOf(codes map[string]int, names ...string) (sum int) {
	for code, count := range codes {
		if len(names) == 0 || strings.Contains(strings.Join(names, " "), code) {
			sum += count
		}
	}
	return sum
}

// What the nodes have got is what the edge has counted, through retries, failover,
// reloads and clients that leave.
func TestTheMetricsOfRequestsAreTheNodesLedger(t *testing.T) {
	_, nodes := startCluster(t, 3)
	e := newEdge(t)
	site := withMetrics("tigergraph " + addresses(nodes) + " {\nhealth_check off\n}")
	e.load(site)
	clients := e.clients(6)
	asked, answered := 0, make(map[int]int)
	ask := func(times int, target string) {
		t.Helper()
		for i := range times {
			answered[clients[i%len(clients)].get(target).StatusCode]++
			asked++
		}
	}
	ask(30, "/restpp/query/social/friends")
	ask(12, "/restpp/echo")

	nodes[1].SetFault(tgnode.RESTPP,
		tgnode.Fault{Mode: tgnode.Answer, Status: 503, Body: "busy", Path: "/restpp/query", Times: 4},
		tgnode.Fault{Mode: tgnode.Answer, Status: 599, Body: "?", Path: "/restpp/query", Times: 3},
		tgnode.Fault{Mode: tgnode.Close, Path: "/restpp/query", Times: 2})
	ask(60, "/restpp/query/social/friends")
	nodes[1].ClearFaults()

	e.load(site)
	nodes[0].Stop() // refuses: what was to go there goes to another
	ask(30, "/restpp/query/social/friends")
	ask(12, "/restpp/echo")
	if err := nodes[0].Start(); err != nil {
		t.Fatal(err)
	}
	e.load(site)

	for _, node := range nodes {
		node.SetFault(tgnode.RESTPP, tgnode.Fault{Mode: tgnode.Hang, Path: "/restpp/query"})
	}
	const gone = 5
	for i := range gone { // clients that leave
		ctx, leave := context.WithCancel(t.Context())
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+e.address+fmt.Sprintf("/restpp/query/social/gone?n=%d", i), nil)
		if err != nil {
			t.Fatal(err)
		}
		arrived := func() (count int) {
			for _, node := range nodes {
				for _, got := range node.Requests() {
					if strings.HasPrefix(got.Target, "/restpp/query/social/gone") {
						count++
					}
				}
			}
			return count
		}
		over := make(chan struct{})
		go func() {
			defer close(over)
			if response, err := http.DefaultClient.Do(request); err == nil {
				_ = response.Body.Close()
			}
		}()
		eventually(t, "the request is at a node", func() bool { return arrived() == i+1 })
		leave()
		<-over
		asked++
	}
	for _, node := range nodes {
		node.ClearFaults()
	}
	e.load(site)
	eventually(t, "every client that left is counted", func() bool {
		count := 0
		for _, node := range nodes {
			count += requestsTo(e.scrape(), node)["canceled"]
		}
		return count == gone
	})

	series := e.scrape()
	attempts, retries, codes := 0, 0, make(map[string]int)
	for _, node := range nodes {
		counted := requestsTo(series, node)
		got := 0
		for _, request := range node.Requests() {
			if strings.HasPrefix(request.Target, "/restpp/") {
				got++
			}
		}
		left := int(series[fmt.Sprintf(`caddy_tigergraph_retries_total{node=%q,service="restpp"}`, node.Addr())])
		inTime := int(series[fmt.Sprintf(`caddy_tigergraph_request_duration_seconds_count{node=%q,service="restpp"}`, node.Addr())])
		// A refused connection is an attempt that the node knows nothing of, and goes on to another.
		refused := 0
		if node == nodes[0] {
			refused = counted["error"]
			if refused == 0 || left != refused {
				t.Errorf("%s refused %d attempts, of which %d went on", node.Name(), refused, left)
			}
		}
		if sum := sumOf(counted); sum-refused != got {
			t.Errorf("%s got %d requests, counted are %v without %d that it refused", node.Name(), got, counted, refused)
		}
		if answers := sumOf(counted) - counted["error"] - counted["canceled"]; inTime != answers {
			t.Errorf("the histogram of %s has %d answers, want %d", node.Name(), inTime, answers)
		}
		attempts, retries = attempts+sumOf(counted), retries+left
		for code, count := range counted {
			codes[code] += count
		}
	}
	if attempts != asked+retries {
		t.Errorf("%d attempts for %d requests and %d retries", attempts, asked, retries)
	}
	if codes["200"] != answered[200] || codes["503"] != answered[503] || codes["5xx"] != answered[599] || codes["503"] != 4 || codes["5xx"] != 3 {
		t.Errorf("counted are %v, the clients got %v", codes, answered)
	}
}

// A sick node decides what it answers, and not how many series there are.
func TestASickNodesStatusesMakeFewSeries(t *testing.T) {
	_, nodes := startCluster(t, 1)
	e := newEdge(t)
	e.load(withMetrics("tigergraph " + addresses(nodes) + " {\nhealth_check off\n}"))
	b := e.stranger(2)
	for status := 200; status < 1000; status += 7 {
		nodes[0].SetFault(tgnode.RESTPP, tgnode.Fault{Mode: tgnode.Answer, Status: status, Path: "/restpp/query"})
		b.get("/restpp/query/social/q")
	}
	counted := requestsTo(e.scrape(), nodes[0])
	if sum := sumOf(counted); len(counted) > 40 || sum != 115 {
		t.Errorf("%d requests in %d series: %v", sum, len(counted), counted)
	}
}

// Go's client takes 042 for a status, and Go's server ends a connection rather than send it.
func TestWhatIsNoStatusIsAnsweredForByTheEdge(t *testing.T) {
	_, nodes := startCluster(t, 1)
	e := newEdge(t)
	e.load(withMetrics("tigergraph " + addresses(nodes) + " {\nhealth_check off\n}"))
	b := e.stranger(2)
	for _, status := range []string{"000", "042", "099"} {
		nodes[0].SetFault(tgnode.RESTPP, tgnode.Fault{Mode: tgnode.Raw, Body: "HTTP/1.1 " + status + " Odd\r\nContent-Length: 0\r\n\r\n", Path: "/restpp/query"})
		for _, length := range []int{0, 10, 100 << 10} { // the longest goes the way of Go's client
			if a := b.do(http.MethodPost, "/restpp/query/social/q", bytes.Repeat([]byte("x"), length)); a.StatusCode != http.StatusBadGateway {
				t.Errorf("the status %s to a body of %d bytes was answered %d", status, length, a.StatusCode)
			}
		}
	}
	if counted := requestsTo(e.scrape(), nodes[0]); counted["error"] != 9 || len(counted) != 1 {
		t.Errorf("counted are %v", counted)
	}
	if lost := e.logs("panic"); len(lost) > 0 {
		t.Error(lost[0])
	}
}

// A reload takes a node away while it is at a request: its answer is late.
func TestALateAnswerMakesNoSeriesOfANodeThatIsGone(t *testing.T) {
	_, nodes := startCluster(t, 2)
	e := newEdge(t)
	load := func(nodes []*tgnode.Node) {
		e.load(withMetrics("tigergraph " + addresses(nodes) + " {\nhealth_check off\n}"))
	}
	load(nodes)
	late, other := nodes[0], nodes[1]
	late.SetFault(tgnode.RESTPP, tgnode.Fault{Mode: tgnode.SlowHeader, Delay: 2 * time.Second, Path: "/restpp/query"})
	statuses := make(chan int, 4)
	for _, b := range e.clients(cap(statuses)) {
		go func() {
			a, err := b.try(http.MethodGet, "/restpp/query/social/q", nil)
			if err != nil {
				statuses <- 0
				return
			}
			statuses <- a.StatusCode
		}()
	}
	eventually(t, "a request is at the node", func() bool { return late.Count(tgnode.RESTPP) > 0 })
	load([]*tgnode.Node{other})
	for range cap(statuses) {
		if status := <-statuses; status != http.StatusOK {
			t.Errorf("a request was answered %d", status)
		}
	}
	for series := range e.scrape() {
		if strings.Contains(series, late.Addr()) {
			t.Errorf("%s is left of a node that is gone", series)
		}
	}
}

func TestTheTrafficIsShownEverywhere(t *testing.T) {
	_, nodes := startCluster(t, 2)
	e, a := newAdminEdge(t)
	e.load(withStatus("tigergraph " + addresses(nodes) + " {\nhealth_check off\nspread off\n}"))
	for _, node := range a.nodes() {
		if traffic := node.Services["restpp"].Traffic; traffic != nil {
			t.Errorf("before any request there is %+v", traffic)
		}
	}
	b := e.stranger(2)
	node := named(t, nodes, b.get("/restpp/__echo").served(t))
	node.SetFault(tgnode.RESTPP, tgnode.Fault{Mode: tgnode.Answer, Status: 500, Path: "/restpp/query", Sequence: "-.", Repeat: true})
	for range 20 {
		b.get("/restpp/query/social/q")
	}
	eventually(t, "the traffic is counted", func() bool {
		traffic := a.node(node.Addr()).Services["restpp"].Traffic
		return traffic != nil && traffic.PerSecond > 0 && traffic.ErrorsPerSecond > 0 && traffic.P95MS != nil && *traffic.P95MS > 0
	})
	for _, other := range a.nodes() {
		for name, service := range other.Services {
			if (other.Address != node.Addr() || name != "restpp") && service.Traffic != nil {
				t.Errorf("%s of %s has %+v", name, other.Address, service.Traffic)
			}
		}
	}
	shown := false
	for _, seen := range b.status().Nodes {
		traffic := seen.Services["restpp"].Traffic
		shown = shown || seen.Address == node.Addr() && traffic != nil && traffic.PerSecond > 0
	}
	if !shown {
		t.Error("the status page does not show the traffic")
	}
	if output, err := exec.Command(caddyBinary, "tigergraph", "status", "--address", "unix/"+a.socket).CombinedOutput(); !strings.Contains(string(output), "REQUESTS/S") {
		t.Errorf("the command does not show it: %v %s", err, output)
	}
	if output, err := exec.Command(caddyBinary, "tigergraph", "status", "--json", "--address", "unix/"+a.socket).CombinedOutput(); !strings.Contains(string(output), `"errors_per_second"`) {
		t.Errorf("the command's JSON does not show it: %v %s", err, output)
	}
	before := a.node(node.Addr()).Services["restpp"].Traffic
	e.load(withStatus("tigergraph " + addresses(nodes) + " {\nhealth_check off\nspread off\n}"))
	if after := a.node(node.Addr()).Services["restpp"].Traffic; after == nil || after.PerSecond == 0 {
		t.Errorf("a reload forgets it: %+v and then %+v", before, after)
	}
}
