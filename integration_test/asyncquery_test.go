package integration_test

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/tgnode"
)

// clients are programs without a cookie jar at so many addresses.
func (e *edge) clients(count int) []*browser {
	clients := make([]*browser, count)
	for i := range clients {
		clients[i] = e.newBrowser(byte(i + 2))
		clients[i].http.Jar = nil
	}
	return clients
}

// submit runs a query asynchronously, and returns its id.
func submit(b *browser, query string) (id string) {
	b.t.Helper()
	a := b.get("/restpp/query/social/"+query, "GSQL-ASYNC", "true")
	var answer struct {
		New string `json:"requestid"`
		Old string `json:"request_id"`
	}
	if err := json.Unmarshal(a.body, &answer); err != nil || answer.New+answer.Old == "" {
		b.t.Fatalf("%d %s", a.StatusCode, a.body)
	}
	return answer.New + answer.Old
}

// isKnown reports whether the node that answers knows a query.
func isKnown(b *browser, id string) bool {
	b.t.Helper()
	a := b.get("/restpp/query_status?graph_name=social&requestid=" + id)
	return a.StatusCode == http.StatusOK && strings.Contains(string(a.body), `"requestid":"`+id+`"`)
}

func TestEveryoneReachesTheNodeOfAnAsynchronousQuery(t *testing.T) {
	for _, key := range []string{"requestid", "request_id"} {
		t.Run(key, func(t *testing.T) {
			_, nodes := startCluster(t, 3)
			for _, node := range nodes {
				node.Update(func(o *tgnode.Options) { o.AsyncKey, o.SameAsyncIDs = key, true })
			}
			e := newEdge(t)
			e.load(cluster(nodes, "health_check off"))
			clients := e.clients(50)
			for i, submitter := range clients[:6] { // whose nodes differ
				id := submit(submitter, fmt.Sprint("q", i))
				for j, client := range clients {
					if !isKnown(client, id) {
						t.Fatalf("the poll of client %d did not reach the node of client %d's query", j, i)
					}
					if a := client.get("/restpp/query_result?requestid=" + id); !strings.Contains(string(a.body), `"error":false`) {
						t.Fatalf("client %d does not get the result: %s", j, a.body)
					}
				}
			}
		})
	}
}

func TestAFollowUpOfSeveralQueriesOrNone(t *testing.T) {
	_, nodes := startCluster(t, 3)
	e := newEdge(t)
	e.load(cluster(nodes, "health_check off"))
	clients := e.clients(50)
	var ids, at []string
	for _, client := range clients {
		id, node := submit(client, "q"), client.where()
		if !slices.Contains(at, node) {
			ids, at = append(ids, id), append(at, node)
		}
	}
	if len(ids) != 3 {
		t.Fatalf("50 clients are on %d nodes", len(ids))
	}
	for i, id := range ids {
		next := ids[(i+1)%3]
		for _, client := range clients[:10] {
			for query, want := range map[string]string{
				"requestid=" + id + "&requestid=" + next:                    id,
				"requestid=1.RESTPP_9_9.1.N&request_id=x&requestid=" + next: next,
			} {
				a := client.get("/restpp/query_status?" + query)
				if !strings.Contains(string(a.body), `"requestid":"`+want+`"`) {
					t.Errorf("%s did not reach the node of %s: %s", query, want, a.body)
				}
			}
			running := submit(clients[i], "q?sleep=60")
			if a := client.get("/restpp/abortquery/social?requestid=" + running); !strings.Contains(string(a.body), `"requestid":"`+running+`"`) {
				t.Errorf("the query was not aborted: %d %s", a.StatusCode, a.body)
			}
		}
	}
	// Without an id that is known, a client's own node answers.
	for _, client := range clients {
		own := client.where()
		for _, query := range []string{"", "?requestid=all", "?requestid=nonesuch", "?requestid=%zz"} {
			for _, node := range nodes {
				node.ResetRequests()
			}
			client.get("/restpp/query_status" + query)
			for _, node := range nodes {
				if len(visitsOf(node)) > 0 && node.Name() != own { // whatever is looked for elsewhere
					t.Errorf("query_status%s reached %s, want %s", query, node.Name(), own)
				}
			}
		}
	}
}

func TestAsynchronousQueriesAreKnownOverReloads(t *testing.T) {
	_, nodes := startCluster(t, 3)
	e := newEdge(t)
	e.load(cluster(nodes, "health_check off"))
	clients := e.clients(20)
	id := submit(clients[0], "q")
	e.load(cluster(nodes[1:], "health_check off"))
	e.load(cluster(nodes, "health_check off\nfailback 1m"))
	for i, client := range clients {
		if !isKnown(client, id) {
			t.Errorf("after reloads client %d does not reach the node of the query", i)
		}
	}
}

// "Unknown" from another node would let clients poll for ever.
func TestOnlyItsNodeIsAskedForAQuery(t *testing.T) {
	_, nodes := startCluster(t, 3)
	e := newEdge(t)
	e.load(cluster(nodes, "health_check off"))
	clients := e.clients(20)
	id := submit(clients[0], "q")
	var holder *tgnode.Node
	for _, node := range nodes {
		if node.Name() == clients[0].where() {
			holder = node
		}
	}
	holder.Stop()
	eventually(t, "the edge learns that its connections are closed", func() bool {
		return clients[0].get("/restpp/query_status?requestid="+id).StatusCode != http.StatusBadGateway
	})
	for _, client := range clients {
		a := client.get("/restpp/query_status?requestid=" + id)
		if a.StatusCode != http.StatusServiceUnavailable || a.Header.Get("Retry-After") == "" {
			t.Errorf("without its node: %d %s", a.StatusCode, a.body)
		}
	}
	if err := holder.Start(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the node is asked again", func() bool { return isKnown(clients[1], id) })
}

// DNS may leave out a node that is not ready, and bring it back.
func TestAQueryWaitsForANodeThatADynamicPoolLacks(t *testing.T) {
	nodes, port := startNeighbours(t, 3)
	names := startNameServer(t, port)
	names.point("nodes.test.", nodes...)
	e := newEdge(t)
	e.load("tigergraph {\nhealth_check off\ndynamic a {\nname nodes.test\nport " + port + "\nversions ipv4\nresolvers " +
		names.conn.LocalAddr().String() + "\nrefresh 10ms\n}\n}")
	clients := e.clients(10)
	id := submit(clients[0], "q")
	holder := clients[0].where()
	names.point("nodes.test.", slices.DeleteFunc(slices.Clone(nodes), func(n *tgnode.Node) bool { return n.Name() == holder })...)
	eventually(t, "the edge does without the node", func() bool { return clients[0].where() != holder })
	for _, client := range clients {
		if a := client.get("/restpp/query_status?requestid=" + id); a.StatusCode != http.StatusServiceUnavailable {
			t.Errorf("without its node: %d %s", a.StatusCode, a.body)
		}
	}
	names.point("nodes.test.", nodes...)
	for i, client := range clients {
		eventually(t, fmt.Sprint("client ", i, " reaches the node that is back"), func() bool { return isKnown(client, id) })
	}
}

// A cookie names the node of a session; but only one node knows the query.
func TestAQueryIDIsWorthMoreThanACookie(t *testing.T) {
	_, nodes := startCluster(t, 3)
	e := newEdge(t)
	e.load(cluster(nodes, "health_check off\nheader_down X-Affinity {http.tigergraph.affinity}"))
	id := submit(e.clients(1)[0], "q")
	for host := range byte(20) {
		b := e.newBrowser(host + 2)
		b.login()
		own, _ := b.whoami()
		if !isKnown(b, id) {
			t.Errorf("the cookie for %s was worth more than the id", own)
		}
		if a := b.get("/restpp/query_status?requestid=" + id); a.Header.Get("X-Affinity") != "request_id" {
			t.Errorf("the affinity is called %q", a.Header.Get("X-Affinity"))
		}
		if after, status := b.whoami(); after != own || status != http.StatusOK {
			t.Errorf("the session went from %s to %s, status %d", own, after, status)
		}
	}
}

func TestAnswersToSubmissionsPassUnchanged(t *testing.T) {
	_, nodes := startCluster(t, 2)
	e := newEdge(t)
	e.load(cluster(nodes, "health_check off"))
	client := e.clients(1)[0]
	client.http.Transport.(*http.Transport).DisableCompression = true
	var compressed bytes.Buffer
	writer := gzip.NewWriter(&compressed)
	_, _ = writer.Write([]byte(`{"requestid":"4.RESTPP_1_1.15.N"}`))
	_ = writer.Close()
	large := `{"results":["` + strings.Repeat("x", 1<<20) + `"],"requestid":"a"}`
	for name, fault := range map[string]tgnode.Fault{
		"large":      {Mode: tgnode.Answer, Status: 200, Body: large},
		"compressed": {Mode: tgnode.Answer, Status: 200, Body: compressed.String(), Fields: []tgnode.Field{{Name: "Content-Encoding", Value: "gzip"}}},
		"no JSON":    {Mode: tgnode.Answer, Status: 200, Body: "\x00{<html>"},
		"cut off":    {Mode: tgnode.Answer, Status: 200, Body: `{"requestid":"4.RES`},
		"empty":      {Mode: tgnode.Answer, Status: 200},
		"an error":   {Mode: tgnode.Answer, Status: 422, Body: `{"error":true,"requestid":"b"}`},
	} {
		for _, node := range nodes {
			node.SetFault(tgnode.RESTPP, fault)
		}
		a := client.get("/restpp/query/social/q", "GSQL-ASYNC", "true", "Accept-Encoding", "gzip")
		if a.StatusCode != fault.Status || string(a.body) != fault.Body {
			t.Errorf("%s: status %d, %d bytes, want %d", name, a.StatusCode, len(a.body), len(fault.Body))
		}
	}
	for _, node := range nodes {
		node.SetFault(tgnode.RESTPP, tgnode.Fault{Mode: tgnode.Cut})
	}
	if a, err := client.try("GET", "/restpp/query/social/q", nil, "GSQL-ASYNC", "true"); err == nil {
		t.Errorf("an answer that breaks off is whole: %d %q", a.StatusCode, a.body)
	}
}

// A program may send GSQL-ASYNC with all that it asks for.
func TestAFollowUpIsNoSubmission(t *testing.T) {
	_, nodes := startCluster(t, 3)
	e := newEdge(t)
	e.load(cluster(nodes, "health_check off"))
	clients := e.clients(20)
	id, holder := submit(clients[0], "q"), clients[0].where()
	other := clients[slices.IndexFunc(clients, func(b *browser) bool { return b.where() != holder })]
	for path, claim := range map[string]string{
		"/restpp/query_status": "/restpp/query_status?requestid=another", // as a follow-up
		"/restpp/query/":       "/restpp/query/social/q",                 // as a submission
	} {
		for _, node := range nodes {
			node.SetFault(tgnode.RESTPP, tgnode.Fault{Mode: tgnode.Answer, Status: 200, Path: path, ContentType: "application/json", Body: `{"requestid":"` + id + `"}`})
		}
		other.get(claim, "GSQL-ASYNC", "true")
		for _, node := range nodes {
			node.ClearFaults()
		}
		for i, client := range clients {
			if !isKnown(client, id) {
				t.Errorf("client %d does not reach the node of the query after %s of another's", i, claim)
			}
		}
	}
}
