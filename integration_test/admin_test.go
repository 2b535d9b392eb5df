package integration_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/tgnode"
)

// admin is Caddy's admin endpoint.
type admin struct {
	t      *testing.T
	socket string
	http   *http.Client
}

// newAdminEdge chooses a Unix socket for the admin endpoint of an edge besides.
func newAdminEdge(t *testing.T) (*edge, *admin) {
	t.Helper()
	folder, err := os.MkdirTemp("", "edge") // the path of a socket must be short
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(folder) })
	socket := filepath.Join(folder, "admin")
	e := newEdge(t)
	e.address = freeAddress(t)
	e.globals = strings.Replace(e.globals, "admin off", "admin unix/"+socket, 1)
	if option := "storage_clean_interval off\n"; !strings.Contains(e.globals, option) {
		e.globals += option // Else it may go on while the test's folder is removed.
	}
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", socket)
	}, DisableKeepAlives: true} // a reload replaces the server
	return e, &admin{t: t, socket: socket, http: &http.Client{Transport: transport, Timeout: enough}}
}

// call makes a call and returns the answer.
func (a *admin) call(method, path, body string) *answer {
	a.t.Helper()
	request, err := http.NewRequest(method, "http://127.0.0.1"+path, strings.NewReader(body))
	if err != nil {
		a.t.Fatal(err)
	}
	response, err := a.http.Do(request)
	if err != nil {
		a.t.Fatal(err)
	}
	defer response.Body.Close()
	content, err := io.ReadAll(response.Body)
	if err != nil {
		a.t.Fatal(err)
	}
	return &answer{response, content}
}

// nodeShape and serviceShape are what the contract says of a node.
type nodeShape struct {
	Address     string                  `json:"address"`
	Cluster     string                  `json:"cluster"`
	Role        string                  `json:"role"`
	Draining    bool                    `json:"draining"`
	DrainUntil  *time.Time              `json:"drain_until"`
	LastSession *time.Time              `json:"last_session"`
	Weight      int                     `json:"weight"`
	Requests    int                     `json:"requests"`
	Fails       int                     `json:"fails"`
	Services    map[string]serviceShape `json:"services"`
}

type serviceShape struct {
	Verdict   string     `json:"verdict"`
	Since     *time.Time `json:"since"`
	Streak    int        `json:"streak"`
	LastProbe *time.Time `json:"last_probe"`
	LatencyMS float64    `json:"latency_ms"`
	LastError string     `json:"last_error"`
	Advice    string     `json:"advice"`
	Evidence  *struct {
		Last  string    `json:"last"`
		At    time.Time `json:"at"`
		Count int       `json:"count_5m"`
	} `json:"evidence"`
	Traffic *struct {
		PerSecond       float64  `json:"per_second"`
		ErrorsPerSecond float64  `json:"errors_per_second"`
		P95MS           *float64 `json:"p95_ms"`
	} `json:"traffic"`
}

// decodeStrictly decodes JSON that must have no other keys.
func decodeStrictly(t testing.TB, content []byte, into any) {
	t.Helper()
	decoder := json.NewDecoder(bytes.NewReader(content))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(into); err != nil {
		t.Fatalf("%v in %s", err, content)
	}
}

func (a *admin) nodes() []nodeShape {
	a.t.Helper()
	reply := a.call(http.MethodGet, "/tigergraph/nodes", "")
	if reply.StatusCode != http.StatusOK {
		a.t.Fatalf("%d %s", reply.StatusCode, reply.body)
	}
	var nodes []nodeShape
	decodeStrictly(a.t, reply.body, &nodes)
	return nodes
}

// node returns one node.
func (a *admin) node(address string) nodeShape {
	a.t.Helper()
	for _, node := range a.nodes() {
		if node.Address == address {
			return node
		}
	}
	a.t.Fatalf("there is no node %s", address)
	return nodeShape{}
}

// post makes a call that must succeed, and returns the node that it is about.
func (a *admin) post(call, body string) nodeShape {
	a.t.Helper()
	reply := a.call(http.MethodPost, "/tigergraph/"+call, body)
	if reply.StatusCode != http.StatusOK {
		a.t.Fatalf("%s %s: %d %s", call, body, reply.StatusCode, reply.body)
	}
	var node nodeShape
	decodeStrictly(a.t, reply.body, &node)
	return node
}

func (a *admin) drain(node *tgnode.Node) nodeShape {
	a.t.Helper()
	return a.post("drain", fmt.Sprintf(`{"node": %q}`, node.Addr()))
}

func (a *admin) ready(node *tgnode.Node) nodeShape {
	a.t.Helper()
	return a.post("ready", fmt.Sprintf(`{"node": %q}`, node.Addr()))
}

// allUp waits until every service of every node has passed a probe.
func (a *admin) allUp() {
	a.t.Helper()
	eventually(a.t, "all services are up", func() bool {
		nodes := a.nodes()
		for _, node := range nodes {
			for _, s := range node.Services {
				if s.Verdict != "up" {
					return false
				}
			}
		}
		return len(nodes) > 0
	})
}

// named returns the node with this name.
func named(t *testing.T, nodes []*tgnode.Node, name string) *tgnode.Node {
	t.Helper()
	for _, node := range nodes {
		if node.Name() == name {
			return node
		}
	}
	t.Fatalf("there is no node %q", name)
	return nil
}

func TestTheNodesAreListedAsTheContractSays(t *testing.T) {
	_, nodes := startCluster(t, 3)
	e, a := newAdminEdge(t)
	options := "weight " + nodes[0].Addr() + " 5\nbackup " + nodes[2].Addr() + "\ncookie {\nsecret swordfish\n}\n"
	e.load(behind(nodes, options+"health_check {\ninterval 100ms\ngsql off\nheader Authorization \"Bearer swordfish\"\n}"))
	nodes[1].SetFault(tgnode.RESTPP, tgnode.Fault{Mode: tgnode.Dead})
	eventually(t, "RESTPP is down", func() bool { return a.node(nodes[1].Addr()).Services["restpp"].Verdict == "down" })
	eventually(t, "the others are up", func() bool {
		return a.node(nodes[0].Addr()).Services["gui"].Verdict == "up" && a.node(nodes[1].Addr()).Services["gui"].Verdict == "up"
	})

	reply := a.call(http.MethodGet, "/tigergraph/nodes", "")
	if kind := reply.Header.Get("Content-Type"); kind != "application/json" {
		t.Errorf("the content type is %q", kind)
	}
	if bytes.Contains(reply.body, []byte("swordfish")) {
		t.Errorf("a secret is in the answer: %s", reply.body)
	}
	var raw []map[string]json.RawMessage
	if err := json.Unmarshal(reply.body, &raw); err != nil || len(raw) != 3 {
		t.Fatalf("%v: %s", err, reply.body)
	}
	for _, node := range raw {
		for _, key := range []string{"address", "role", "draining", "weight", "requests", "fails", "services"} {
			if node[key] == nil {
				t.Errorf("a node lacks %q: %s", key, reply.body)
			}
		}
	}

	list := a.nodes()
	if !slices.IsSortedFunc(list, func(a, b nodeShape) int { return strings.Compare(a.Address, b.Address) }) {
		t.Errorf("the nodes are not in order: %+v", list)
	}
	heavy, half, standby := a.node(nodes[0].Addr()), a.node(nodes[1].Addr()), a.node(nodes[2].Addr())
	if heavy.Weight != 5 || heavy.Role != "primary" || heavy.Draining || heavy.DrainUntil != nil {
		t.Errorf("%+v", heavy)
	}
	if standby.Weight != 1 || standby.Role != "backup" {
		t.Errorf("%+v", standby)
	}
	up, down, off := half.Services["gui"], half.Services["restpp"], half.Services["gsql"]
	if len(half.Services) != 3 || up.Since == nil || up.LastProbe == nil || up.Streak < 1 || up.LatencyMS <= 0 || up.LastError != "" {
		t.Errorf("a service that is up: %+v", up)
	}
	if down.Since == nil || down.Streak < 3 || !strings.Contains(down.LastError, "502") {
		t.Errorf("a service that is down: %+v", down)
	}
	if off.Verdict != "off" || off.Since != nil || off.LastProbe != nil {
		t.Errorf("a service that is not checked: %+v", off)
	}
}

func TestSitesThatCheckANodeDifferentlyAreListedBoth(t *testing.T) {
	_, nodes := startCluster(t, 1)
	e, a := newAdminEdge(t)
	site := func(check string) string {
		return "http://" + freeAddress(t) + " {\n" + behind(nodes, check) + "\n}\n"
	}
	if err := e.tryLoad(site(quick)+site("health_check off")+"http://"+e.address, behind(nodes, quick)); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the node is up in one of two entries", func() bool {
		verdicts := make(map[string]int)
		for _, node := range a.nodes() {
			verdicts[node.Services["gui"].Verdict]++
		}
		return len(verdicts) == 2 && verdicts["up"] == 1 && verdicts["off"] == 1
	})
}

func TestCallsThatAreRefusedSayWhatWasExpectedAndChangeNothing(t *testing.T) {
	_, nodes := startCluster(t, 2)
	e, a := newAdminEdge(t)
	e.load(behind(nodes, "drain "+nodes[1].Addr()+"\nhealth_check off"))
	first, inOrder := nodes[0].Addr(), []string{nodes[0].Addr(), nodes[1].Addr()}
	slices.Sort(inOrder)
	before := a.nodes()
	for _, test := range []struct {
		name, method, path, body string
		status                   int
		says                     string
	}{
		{"unknown node", "POST", "drain", `{"node": "m9:14240"}`, 404, strings.Join(inOrder, ", ")},
		{"unknown node, ready", "POST", "ready", `{"node": "m9:14240"}`, 404, strings.Join(inOrder, ", ")},
		{"no node", "POST", "drain", `{}`, 400, "must name a node"},
		{"no object", "POST", "ready", `null`, 400, "must name a node"},
		{"a node with a newline", "POST", "drain", `{"node": "m1\nm2"}`, 404, `m1\\nm2`},
		{"several nodes", "POST", "drain", `{"node": "127.0.0.1"}`, 404, "several"},
		{"last node", "POST", "drain", fmt.Sprintf(`{"node": %q}`, first), 409, "force"},
		{"last node, for a while", "POST", "drain", fmt.Sprintf(`{"node": %q, "for": "1s", "force": false}`, first), 409, "last node"},
		{"no JSON", "POST", "drain", "node=m1", 400, `{\"node\": \"m1:14240\", \"for\": \"1h\", \"force\": false}`},
		{"no body", "POST", "ready", "", 400, `{\"node\": \"m1:14240\"}`},
		{"cut JSON", "POST", "drain", `{"node": "m1`, 400, "must be JSON"},
		{"an array", "POST", "drain", `["m1"]`, 400, "must be JSON"},
		{"a number for a node", "POST", "drain", `{"node": 1}`, 400, "'node' must be a string, not number"},
		{"a bare number for a duration", "POST", "drain", fmt.Sprintf(`{"node": %q, "force": true, "for": 30}`, first), 400, "with its unit"},
		{"a list for a call", "POST", "switch", `["primary"]`, 400, "expected an object, not array"},
		{"no cluster", "POST", "switch", `{}`, 400, "must name a cluster"},
		{"unknown cluster", "POST", "switch", `{"cluster": "dr"}`, 404, "expected one of primary"},
		{"a negative drain of a cluster", "POST", "switch", `{"cluster": "primary", "drain": "-1s"}`, 400, "365d"},
		{"a bare number for a drain", "POST", "switch", `{"cluster": "primary", "drain": 1800}`, 400, "with its unit"},
		{"an unknown field of a switch", "POST", "switch", `{"cluster": "primary", "drian": "1h"}`, 400, "drian"},
		{"GET of a switch", "GET", "switch", "", 405, "POST"},
		{"HEAD of a drain", "HEAD", "drain", "", 405, "POST"},
		{"POST of the clusters", "POST", "clusters", "{}", 405, "GET, HEAD"},
		{"a word for force", "POST", "drain", fmt.Sprintf(`{"node": %q, "force": "yes"}`, first), 400, "must be JSON"},
		{"trailing data", "POST", "drain", fmt.Sprintf(`{"node": %q, "force": true} {}`, first), 400, "more after"},
		{"trailing rubbish", "POST", "drain", fmt.Sprintf(`{"node": %q, "force": true}}`, first), 400, "more after"},
		{"an unknown field", "POST", "drain", fmt.Sprintf(`{"node": %q, "force": true, "fro": "1h"}`, first), 400, "fro"},
		{"a field of another call", "POST", "ready", fmt.Sprintf(`{"node": %q, "force": true}`, first), 400, "force"},
		{"no duration", "POST", "drain", fmt.Sprintf(`{"node": %q, "force": true, "for": "soon"}`, first), 400, "such as 30m or 1h"},
		{"an empty duration", "POST", "drain", fmt.Sprintf(`{"node": %q, "force": true, "for": ""}`, first), 400, "such as 30m or 1h"},
		{"a negative duration", "POST", "drain", fmt.Sprintf(`{"node": %q, "force": true, "for": "-1s"}`, first), 400, "365d"},
		{"more than a year", "POST", "drain", fmt.Sprintf(`{"node": %q, "force": true, "for": "366d"}`, first), 400, "365d"},
		{"a thousand years", "POST", "drain", fmt.Sprintf(`{"node": %q, "force": true, "for": "365000d"}`, first), 400, "365d"},
		{"a huge body", "POST", "drain", `{"node": "` + strings.Repeat("m", 100<<10) + `"}`, 400, "too large"},
		{"a huge tail", "POST", "drain", fmt.Sprintf(`{"node": %q, "force": true}`, first) + strings.Repeat(" ", 100<<10), 400, "more after"},
		{"GET of a drain", "GET", "drain", "", 405, "POST"},
		{"PUT of a drain", "PUT", "drain", fmt.Sprintf(`{"node": %q, "force": true}`, first), 405, "POST"},
		{"GET of ready", "GET", "ready", "", 405, "POST"},
		{"POST of the nodes", "POST", "nodes", "{}", 405, "GET, HEAD"},
		{"DELETE of the nodes", "DELETE", "nodes", "", 405, "GET, HEAD"},
		{"an unknown call", "GET", "status", "", 404, "nodes, clusters, drain, ready or switch"},
		{"no call", "GET", "", "", 404, "nodes, clusters, drain, ready or switch"},
	} {
		t.Run(test.name, func(t *testing.T) {
			a.t = t
			reply := a.call(test.method, "/tigergraph/"+test.path, test.body)
			var refusal struct {
				Error string `json:"error"`
			}
			if test.method != "HEAD" {
				decodeStrictly(t, reply.body, &refusal)
			}
			if reply.StatusCode != test.status || test.method != "HEAD" && !strings.Contains(string(reply.body), test.says) {
				t.Errorf("%d %.300s, want %d and %q", reply.StatusCode, reply.body, test.status, test.says)
			}
			if len(reply.body) > 1000 {
				t.Errorf("the answer has %d bytes", len(reply.body))
			}
			if strings.Contains(string(reply.body), "struct") {
				t.Errorf("the answer speaks of Go: %s", reply.body)
			}
			if test.status == http.StatusMethodNotAllowed && reply.Header.Get("Allow") != test.says {
				t.Errorf("Allow is %q", reply.Header.Get("Allow"))
			}
		})
	}
	a.t = t
	for _, call := range []string{"nodes", "services", "clusters"} {
		reply := a.call("HEAD", "/tigergraph/"+call, "")
		if reply.StatusCode != http.StatusOK || len(reply.body) > 0 || reply.Header.Get("Content-Type") != "application/json" {
			t.Errorf("HEAD of the %s is answered by %d, %q", call, reply.StatusCode, reply.body)
		}
	}
	if after := a.nodes(); fmt.Sprint(after) != fmt.Sprint(before) {
		t.Errorf("a refused call changed the nodes from %+v to %+v", before, after)
	}
}

func TestTheHostAloneNamesANodeWhereThatIsClear(t *testing.T) {
	_, nodes := startCluster(t, 1)
	e, a := newAdminEdge(t)
	e.load("reverse_proxy " + addresses(nodes) + " m2:14240 {\nlb_policy tigergraph {\nhealth_check off\n}\n}")
	if node := a.post("drain", `{"node": "m2"}`); node.Address != "m2:14240" || !node.Draining {
		t.Errorf("%+v", node)
	}
	if node := a.post("ready", `{"node": "m2"}`); node.Draining {
		t.Errorf("%+v", node)
	}
}

func TestTheRunningNodesAreShownAfterAFailedReload(t *testing.T) {
	_, nodes := startCluster(t, 2)
	e, a := newAdminEdge(t)
	e.load(behind(nodes, quick))
	a.allUp()
	a.drain(nodes[0])
	check := func(when string) {
		t.Helper()
		list := a.nodes()
		if len(list) != 2 || !a.node(nodes[0].Addr()).Draining || a.node(nodes[1].Addr()).Services["gui"].Verdict != "up" {
			t.Fatalf("%s: %+v", when, list)
		}
		if metrics := a.metrics(); !strings.Contains(metrics, `caddy_tigergraph_node_draining{node="`+nodes[0].Addr()+`"} 1`) {
			t.Fatalf("%s the metrics lack the drain:\n%s", when, metrics)
		}
	}
	if err := e.tryLoad("http://"+e.address, behind(nodes, "weight m9:14240 2\n"+quick)); err == nil {
		t.Fatal("a weight of no upstream was accepted")
	}
	check("after a configuration that cannot be provisioned,")

	occupied, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer occupied.Close()
	for range 10 { // the apps start in random order
		if err := e.tryLoad("http://"+e.address+", http://"+occupied.Addr().String(), behind(nodes[1:], quick)); err == nil {
			t.Fatal("two servers listen on one port")
		}
		check("after a configuration that cannot start,")
	}
	a.ready(nodes[0])
	if a.node(nodes[0].Addr()).Draining {
		t.Error("the node still drains")
	}
}

func TestWithoutNodesTheListIsEmpty(t *testing.T) {
	e, a := newAdminEdge(t)
	e.load("respond ok")
	if reply := a.call(http.MethodGet, "/tigergraph/nodes", ""); strings.TrimSpace(string(reply.body)) != "[]" {
		t.Errorf("%s", reply.body)
	}
	reply := a.call(http.MethodPost, "/tigergraph/drain", `{"node": "m1"}`)
	if reply.StatusCode != http.StatusNotFound || !strings.Contains(string(reply.body), "has none") {
		t.Errorf("%d %s", reply.StatusCode, reply.body)
	}
}

// Two drains at once must not take each other's node for the one that is left.
func TestConcurrentDrainsLeaveANodeOverReloads(t *testing.T) {
	_, nodes := startCluster(t, 3)
	e, a := newAdminEdge(t)
	config := behind(nodes, quick)
	e.load(config)
	a.allUp()
	// The endpoint closes connections when it is replaced, so that a call may
	// have no answer.
	post := func(call string, node *tgnode.Node) (status int) {
		request, err := http.NewRequest(http.MethodPost, "http://127.0.0.1/tigergraph/"+call,
			strings.NewReader(fmt.Sprintf(`{"node": %q}`, node.Addr())))
		if err != nil {
			t.Error(err)
			return 0
		}
		response, err := a.http.Do(request)
		if err != nil {
			return 0
		}
		response.Body.Close()
		return response.StatusCode
	}
	for range 5 {
		var calls sync.WaitGroup
		for _, node := range nodes {
			calls.Go(func() {
				for range 5 {
					switch status := post("drain", node); status {
					case 0, http.StatusOK, http.StatusConflict:
					default:
						t.Errorf("a drain was answered %d", status)
					}
				}
			})
		}
		e.load(config)
		calls.Wait()
		ready := 0
		for _, node := range a.nodes() {
			if !node.Draining {
				ready++
			}
		}
		if ready == 0 {
			t.Fatal("no node is left for new clients")
		}
		for _, node := range nodes {
			a.ready(node)
		}
	}
}
