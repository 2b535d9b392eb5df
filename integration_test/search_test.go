package integration_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/tgnode"
)

// submitAt runs a query asynchronously on a node itself, and returns its id.
func submitAt(t *testing.T, node *tgnode.Node, query string) (id string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+node.Addr()+"/restpp/query/social/"+query, nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("GSQL-ASYNC", "true")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	var answer struct {
		ID    string `json:"requestid"`
		Older string `json:"request_id"`
	}
	if err := json.NewDecoder(response.Body).Decode(&answer); err != nil || answer.ID+answer.Older == "" {
		t.Fatalf("no id: %v", err)
	}
	return answer.ID + answer.Older
}

// searches counts the reads by which an edge looked for a query.
func searches(nodes []*tgnode.Node) (count int) {
	for _, node := range nodes {
		for _, request := range node.Requests() {
			if strings.HasPrefix(request.Target, "/restpp/query_status?") {
				count++
			}
		}
	}
	return count
}

func TestAQueryThatNobodyRemembersIsFoundOnItsNode(t *testing.T) {
	_, nodes := startCluster(t, 3)
	e := newEdge(t)
	e.load("tigergraph " + addresses(nodes) + " {\nhealth_check off\n}")
	b := e.newBrowser(2)
	b.http.Jar = nil
	// Submitted past this edge, as through another or before a restart.
	id := submitAt(t, nodes[1], "q")
	for _, other := range e.clients(4) {
		a := other.get("/restpp/query_status?graph_name=social&requestid="+id, "Authorization", "Bearer secret")
		if a.StatusCode != http.StatusOK || !strings.Contains(string(a.body), `"requestid":"`+id+`"`) {
			t.Errorf("%d %s", a.StatusCode, a.body)
		}
	}
	for _, node := range nodes {
		for _, request := range node.Requests() {
			if !strings.HasPrefix(request.Target, "/restpp/query_status?requestid=") {
				continue
			}
			if got := strings.Join(request.Values("Authorization"), ","); got != "Bearer secret" {
				t.Errorf("a search carried the credentials %q", got)
			}
			for _, field := range []string{"X-Forwarded-For", "X-Real-Ip", "Cookie", "Via"} {
				if got := strings.Join(request.Values(field), ","); got != "" {
					t.Errorf("a search carried %s: %s", field, got)
				}
			}
		}
	}
	if count := searches(nodes); count > 3+4 {
		t.Errorf("three nodes got %d reads for four requests", count)
	}
	// An abort is sent once, to the node that knows.
	id = submitAt(t, nodes[2], "q")
	if a := b.get("/restpp/abortquery/social?requestid=" + id); a.StatusCode != http.StatusOK {
		t.Errorf("the abort was answered %d %s", a.StatusCode, a.body)
	}
	for i, node := range nodes {
		aborts, want := 0, 0
		if i == 2 {
			want = 1
		}
		for _, request := range node.Requests() {
			if strings.HasPrefix(request.Target, "/restpp/abortquery/") {
				aborts++
			}
		}
		if aborts != want {
			t.Errorf("%s got %d aborts, want %d", node.Name(), aborts, want)
		}
	}
}

// Neither edge remembers anything of the other, and nothing after a restart.
func TestAQueryIsFoundFromAnotherEdgeAndAfterRestarts(t *testing.T) {
	_, nodes := startCluster(t, 3)
	edgeAt := func(address string) *process {
		p := startProcess(t, caddyBinary, processOptions(t.TempDir())+"}\nhttp://"+address+" {\n\ttigergraph "+addresses(nodes)+"\n}\n")
		p.listening(address)
		return p
	}
	a, b := freeAddress(t), freeAddress(t)
	first, second := edgeAt(a), edgeAt(b)
	atA, atB := newBrowser(t, "http://"+a, 2, nil), newBrowser(t, "http://"+b, 3, nil)
	var ids []string
	for range 4 {
		ids = append(ids, submit(atA, "q"))
	}
	check := func(when string) {
		t.Helper()
		for _, id := range ids {
			for _, client := range []*browser{atA, atB} {
				if !isKnown(client, id) {
					t.Errorf("%s the query %s is not found at %s", when, id, client.base)
				}
				if got := client.get("/restpp/query_result?requestid=" + id); !strings.Contains(string(got.body), `"error":false`) {
					t.Errorf("%s there is no result at %s: %s", when, client.base, got.body)
				}
			}
		}
	}
	check("at first")
	for _, edge := range []*process{first, second} {
		if err := edge.command.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		<-edge.ended
	}
	atA.http.CloseIdleConnections()
	atB.http.CloseIdleConnections()
	edgeAt(a)
	edgeAt(b)
	check("after both were restarted")
	// Clients at other addresses, who belong to whichever node, get the same answer.
	for host := range byte(5) {
		if client := newBrowser(t, "http://"+b, host+10, nil); !isKnown(client, ids[0]) {
			t.Errorf("the client at 127.0.0.%d does not find it", host+10)
		}
	}
}

func TestABogusIDCostsOneRoundOfReads(t *testing.T) {
	_, nodes := startCluster(t, 3)
	e := newEdge(t)
	e.load("tigergraph " + addresses(nodes) + " {\nhealth_check off\n}")
	var asking sync.WaitGroup
	const times = 10
	began := time.Now()
	for _, b := range e.clients(times) {
		asking.Go(func() { b.get("/restpp/query_status?requestid=bogus") })
	}
	asking.Wait()
	rounds := 1 + int(time.Since(began)/(2*time.Second)) // after which somebody may look again
	if count := searches(nodes); count > 3*rounds+times {
		t.Errorf("%d requests cost %d reads, want %d rounds of 3 besides", times, count, rounds)
	}
}

// Its address may be another machine's by now, which must not get credentials.
func TestANodeThatLeftIsNotSearched(t *testing.T) {
	nodes, port := startNeighbours(t, 3)
	names := startNameServer(t, port)
	e := newEdge(t)
	names.point("searched.test.", nodes...)
	e.load("tigergraph {\ndynamic a {\nname searched.test\nport " + port + "\nversions ipv4\nresolvers " +
		names.conn.LocalAddr().String() + "\nrefresh 20ms\n}\n" + quick + "\n}")
	if a := e.stranger(2).get("/restpp/query_status?requestid=first", "Authorization", "Bearer secret"); a.StatusCode != http.StatusOK {
		t.Fatalf("%d %s", a.StatusCode, a.body)
	}
	if searches(nodes[:1]) == 0 {
		t.Fatal("the first node is not searched while it is there")
	}
	names.point("searched.test.", nodes[1:]...)
	eventually(t, "the first node has left", func() bool {
		for host := byte(2); host < 22; host++ {
			if e.stranger(host).get("/api/__echo").echo(t).Node == nodes[0].Name() {
				return false
			}
		}
		return true
	})
	nodes[0].ResetRequests()
	e.stranger(2).get("/restpp/query_status?requestid=second", "Authorization", "Bearer secret")
	if count := searches(nodes[:1]); count != 0 {
		t.Errorf("a node that has left was asked %d times", count)
	}
}

func TestAStandbyIsNotSearched(t *testing.T) {
	_, nodes := startCluster(t, 4)
	e := newEdge(t)
	e.load(withStandby(nodes, ""))
	e.newBrowser(2).get("/restpp/query_status?requestid=unknown", "Authorization", "Bearer secret")
	if count := searches(nodes[:2]); count < 2 {
		t.Errorf("the cluster got %d searches", count)
	}
	if count := searches(nodes[2:]); count != 0 {
		t.Errorf("the standby got %d searches, with the client's credentials", count)
	}
}
