package integration_test

import (
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/tgnode"
)

// withStandby is a site whose first two nodes are the active cluster, and whose others
// are its standby.
func withStandby(nodes []*tgnode.Node, options string) string {
	return "tigergraph " + addresses(nodes[:2]) + " {\nstandby dr " + addresses(nodes[2:]) + "\n" + quick + "\n" + options + "\n}"
}

// active returns the cluster that is the active one.
func (a *admin) active() string {
	a.t.Helper()
	var clusters []struct {
		Name          string   `json:"name"`
		Active        bool     `json:"active"`
		Nodes         []string `json:"nodes"`
		Since         string   `json:"since"`
		DrainingUntil string   `json:"draining_until"`
	}
	decodeStrictly(a.t, a.call(http.MethodGet, "/tigergraph/clusters", "").body, &clusters)
	active := ""
	for _, cluster := range clusters {
		if cluster.Active {
			active += cluster.Name
		}
	}
	return active
}

func TestAStandbyClusterGetsNothingUntilASwitch(t *testing.T) {
	_, nodes := startCluster(t, 4)
	e, a := newAdminEdge(t)
	e.load(withStandby(nodes, ""))
	a.allUp()
	old := e.newBrowser(2)
	if node := old.login(); node != "m1" && node != "m2" {
		t.Fatalf("a login went to %s", node)
	}
	// Not even if the active cluster is down.
	for _, node := range nodes[:2] {
		node.SetFault(tgnode.GUI, tgnode.Fault{Mode: tgnode.Dead})
	}
	eventually(t, "the active cluster is down", func() bool {
		return a.node(nodes[0].Addr()).Services["gui"].Verdict == "down" && a.node(nodes[1].Addr()).Services["gui"].Verdict == "down"
	})
	for _, node := range nodes[2:] {
		node.ResetRequests()
	}
	for range 10 {
		_, _ = e.newBrowser(3).try(http.MethodGet, "/api/x", nil)
		_, _ = e.newBrowser(3).try(http.MethodGet, "/", nil)
	}
	for _, node := range nodes[2:] {
		for _, request := range node.Requests() {
			if request.Target == "/api/x" || request.Target == "/" {
				t.Fatalf("the standby got %s", request.Target)
			}
		}
	}
	for _, node := range nodes[:2] {
		node.ClearFaults()
	}
	a.allUp()

	if answer := a.call(http.MethodPost, "/tigergraph/switch", `{"cluster": "nowhere"}`); answer.StatusCode != http.StatusNotFound || !strings.Contains(string(answer.body), "primary, dr") {
		t.Errorf("a switch to nowhere: %d %s", answer.StatusCode, answer.body)
	}
	if answer := a.call(http.MethodPost, "/tigergraph/switch", `{"cluster": "dr", "drain": "1h"}`); answer.StatusCode != http.StatusOK {
		t.Fatalf("%d %s", answer.StatusCode, answer.body)
	}
	if active := a.active(); active != "dr" {
		t.Errorf("%s is active", active)
	}
	if node, status := old.whoami(); status != http.StatusOK || node != "m1" && node != "m2" {
		t.Errorf("during the drain the old session is answered %d by %s", status, node)
	}
	if seen := e.arrivals(20); seen["m1"]+seen["m2"] > 0 {
		t.Errorf("new clients get %v", seen)
	}
	// A login is a new session.
	if node := old.login(); node != "m3" && node != "m4" {
		t.Errorf("a login went to %s", node)
	}
	if got := a.metric(`caddy_tigergraph_cluster_active{cluster="dr"}`); got != "1" {
		t.Errorf("the metric of the active cluster is %q", got)
	}

	// Over a reload, and back.
	e.load(withStandby(nodes, "failback 1m"))
	if active := a.active(); active != "dr" {
		t.Errorf("after a reload %s is active", active)
	}
	if answer := a.call(http.MethodPost, "/tigergraph/switch", `{"cluster": "primary"}`); answer.StatusCode != http.StatusOK {
		t.Fatalf("%d %s", answer.StatusCode, answer.body)
	}
	if _, status := old.whoami(); status != http.StatusUnauthorized {
		t.Errorf("after the switch back the session of the other cluster is answered %d", status)
	}
	if seen := e.arrivals(20); seen["m3"]+seen["m4"] > 0 {
		t.Errorf("new clients get %v", seen)
	}
}

func TestOnlyWhatReadsReachesAStandbyBefore(t *testing.T) {
	_, nodes := startCluster(t, 4)
	e, a := newAdminEdge(t)
	e.load(withMetrics(withStandby(nodes, "standby_reads")))
	a.allUp()
	for _, node := range nodes[:2] {
		node.SetFault(tgnode.RESTPP, tgnode.Fault{Mode: tgnode.Dead})
	}
	eventually(t, "RESTPP of the active cluster is down", func() bool {
		return a.node(nodes[0].Addr()).Services["restpp"].Verdict == "down" && a.node(nodes[1].Addr()).Services["restpp"].Verdict == "down"
	})
	b := e.newBrowser(2)
	if got := b.get("/restpp/version"); got.StatusCode != http.StatusOK {
		t.Errorf("a read was answered %d", got.StatusCode)
	}
	if got, err := b.try(http.MethodGet, "/restpp/query/g/q", nil); err == nil && got.StatusCode == http.StatusOK {
		t.Errorf("a query, which may write, was answered %d", got.StatusCode)
	}
	for _, node := range nodes[2:] {
		for _, request := range node.Requests() {
			if strings.HasPrefix(request.Target, "/restpp/query/") {
				t.Errorf("the standby got %s", request.Target)
			}
		}
	}
	var services map[string]any
	if got := a.call(http.MethodGet, "/tigergraph/services", ""); got.StatusCode != http.StatusOK || json.Unmarshal(got.body, &services) != nil {
		t.Errorf("the services are %d %s", got.StatusCode, got.body)
	}
	if e.scrape()[`caddy_tigergraph_fail_open{cluster="primary",service="restpp"}`] != 1 {
		t.Error("what is no read may go to the standby, as the metrics have it")
	}
	if panics := e.logs("panic"); len(panics) > 0 {
		t.Errorf("logged: %v", panics)
	}
}

func TestAReadAtTheStandbyCostsNobodyTheSession(t *testing.T) {
	_, nodes := startCluster(t, 4)
	e, a := newAdminEdge(t)
	e.load(withMetrics(withStandby(nodes, "standby_reads")))
	a.allUp()
	b := e.newBrowser(2)
	home := b.login()
	for _, node := range nodes[:2] {
		node.SetFault(tgnode.All, tgnode.Fault{Mode: tgnode.Dead})
	}
	gui := func() (verdicts string) {
		return a.node(nodes[0].Addr()).Services["gui"].Verdict + a.node(nodes[1].Addr()).Services["gui"].Verdict
	}
	eventually(t, "the active cluster is down", func() bool { return gui() == "downdown" })
	page := b.get("/")
	if page.StatusCode != http.StatusOK {
		t.Errorf("a page that the standby has as well was answered %d", page.StatusCode)
	}
	if cookies := page.Header["Set-Cookie"]; len(cookies) > 0 {
		t.Errorf("the standby, which is nobody's node, has set %v", cookies)
	}
	for _, node := range nodes[:2] {
		node.ClearFaults()
	}
	eventually(t, "the active cluster is up", func() bool { return gui() == "upup" })
	if node, status := b.whoami(); status != http.StatusOK || node != home {
		t.Errorf("%s answers %d to a user who is logged in on %s", node, status, home)
	}
	for series, value := range e.scrape() {
		if strings.HasPrefix(series, "caddy_tigergraph_displaced_total") && value > 0 {
			t.Errorf("%s is %v, and nobody has lost a session", series, value)
		}
	}
}

// edgeProcess is an edge in a process of its own.
type edgeProcess struct {
	*process
	admin string
}

// startEdgeProcess starts an edge in front of these nodes whose storage is a folder.
func startEdgeProcess(t *testing.T, storage string, nodes []*tgnode.Node) *edgeProcess {
	t.Helper()
	address, admin := freeAddress(t), freeAddress(t)
	options := strings.Replace(processOptions(storage), "admin off", "admin "+admin, 1)
	p := startProcess(t, caddyBinary, options+"}\nhttp://"+address+" {\n"+withStandby(nodes, "")+"\n}\n")
	p.listening(address)
	return &edgeProcess{p, admin}
}

// get asks the admin endpoint.
func (p *edgeProcess) get(t *testing.T, call string, into any) {
	t.Helper()
	response, err := http.Get("http://" + p.admin + "/tigergraph/" + call)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if err := json.NewDecoder(response.Body).Decode(into); err != nil {
		t.Fatal(err)
	}
}

// post gives the admin endpoint an order, and returns the status of the answer.
func (p *edgeProcess) post(t *testing.T, call, body string) int {
	t.Helper()
	response, err := http.Post("http://"+p.admin+"/tigergraph/"+call, "application/json", strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	return response.StatusCode
}

func TestEdgesThatShareAStorageFollowTheOperator(t *testing.T) {
	_, nodes := startCluster(t, 4)
	storage := t.TempDir()
	first, second := startEdgeProcess(t, storage, nodes), startEdgeProcess(t, storage, nodes)
	type state struct {
		Address, Role string
		Draining      bool
	}
	of := func(p *edgeProcess, address string) (found state) {
		var states []state
		p.get(t, "nodes", &states)
		for _, s := range states {
			if s.Address == address {
				found = s
			}
		}
		return found
	}
	if status := first.post(t, "drain", `{"node": "`+nodes[0].Addr()+`", "force": true}`); status != http.StatusOK {
		t.Fatalf("the drain was answered %d", status)
	}
	eventually(t, "the other edge drains the node", func() bool { return of(second, nodes[0].Addr()).Draining })
	if status := second.post(t, "switch", `{"cluster": "dr"}`); status != http.StatusOK {
		t.Fatalf("the switch was answered %d", status)
	}
	eventually(t, "the first edge follows the switch", func() bool { return of(first, nodes[0].Addr()).Role == "standby" })

	// It survives a restart.
	third := startEdgeProcess(t, storage, nodes)
	eventually(t, "a third edge knows what was said before it began", func() bool {
		s := of(third, nodes[0].Addr())
		return s.Draining && s.Role == "standby"
	})

	// A storage that cannot be written is an error of the command, and nothing is lost.
	file := filepath.Join(storage, "tigergraph", "operator.json")
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(file, 0o700); err != nil {
		t.Fatal(err)
	}
	if status := first.post(t, "ready", `{"node": "`+nodes[0].Addr()+`"}`); status != http.StatusServiceUnavailable {
		t.Errorf("without a storage the command was answered %d", status)
	}
	if s := of(first, nodes[0].Addr()); !s.Draining || s.Role != "standby" {
		t.Errorf("without a storage the node is %+v", s)
	}
}
