package tgnode

import (
	"encoding/json"
	"strings"
	"testing"
	"time"
)

func TestEchoSleeps(t *testing.T) {
	node := startNode(t, Options{})
	start := time.Now()
	wantBody(t, get(t, node, "/restpp/echo?sleep=0.05"), 200, `{"error":false,"message":"Hello GSQL"}`)
	if took := time.Since(start); took < 50*time.Millisecond {
		t.Errorf("took %v", took)
	}
}

func TestSleepEndsWhenTheClientGoes(t *testing.T) {
	node := startNode(t, Options{})
	c := dial(t, node)
	c.write("GET /restpp/echo?sleep=3600 HTTP/1.1\r\nHost: a\r\n\r\n")
	eventually(t, "the request", func() bool { return node.Count(RESTPP) == 1 })
	_ = c.conn.Close()
	eventually(t, "the end of the connection", func() bool { return node.Connections() == 0 })
}

func TestAuthenticationCanBeRequired(t *testing.T) {
	node := startNode(t, Options{RequireAuth: true})
	for _, target := range []string{"/restpp/echo", "/restpp/query/g/q", "/gsqlserver/gsql/version", "/gsql/v1/version"} {
		wantStatus(t, node, target, 401)
		if got := get(t, node, target, "Authorization: Bearer token"); got.status != 200 {
			t.Errorf("%s with a token is answered %d", target, got.status)
		}
	}
	wantStatus(t, node, "/api/ping", 200)
	if n := node.cluster.Ledger().Count(Query); n != 1 {
		t.Errorf("%d queries executed, want 1", n)
	}
}

func TestResultsHaveTheSizeThatWasAskedFor(t *testing.T) {
	node := startNode(t, Options{})
	c := dial(t, node)
	for _, target := range []string{"bytes=1000", "bytes=1048576", "bytes=1048577", "bytes=3000000", "bytes=100000&chunked=true"} {
		got := c.do("GET", "/restpp/query/g/q?"+target, "")
		size, _, _ := strings.Cut(strings.TrimPrefix(target, "bytes="), "&")
		if itoa(len(got.body)) != size || !json.Valid([]byte(got.body)) {
			t.Errorf("%s: %d bytes, valid %v", target, len(got.body), json.Valid([]byte(got.body)))
		}
	}
}

func TestQueryTimesOut(t *testing.T) {
	got := get(t, startNode(t, Options{}), "/restpp/query/g/q?sleep=3600", "GSQL-TIMEOUT: 1")
	if got.status != 200 || !strings.Contains(got.body, "REST-3002") {
		t.Errorf("got %d %s", got.status, got.body)
	}
}

// submit starts an asynchronous query and returns its id.
func submit(t *testing.T, node *Node, key, target string) string {
	t.Helper()
	var answer map[string]any
	if err := json.Unmarshal([]byte(get(t, node, target, "GSQL-ASYNC: true").body), &answer); err != nil {
		t.Fatal(err)
	}
	id, _ := answer[key].(string)
	if id == "" {
		t.Fatalf("no %s in %v", key, answer)
	}
	return id
}

func TestAsynchronousQueriesAreKnownToTheirNodeOnly(t *testing.T) {
	nodes := startNodes(t, Options{}, Options{AsyncKey: "request_id"})
	done := submit(t, nodes[0], "requestid", "/restpp/query/g/quick?pid=2")
	running := submit(t, nodes[1], "request_id", "/restpp/query/g/slow?sleep=3600")
	if !strings.Contains(done, ".RESTPP_1_1.") || !strings.Contains(running, ".RESTPP_2_1.") || !strings.HasSuffix(done, ".N") {
		t.Errorf("ids %s and %s", done, running)
	}
	for _, test := range []struct {
		node   *Node
		target string
		want   string
		not    string
	}{
		{nodes[0], "/restpp/query_status?graph_name=g&requestid=" + done, `"url":"/query/g/quick?pid=2","elapsedTime":0,"status":"success"`, "unknown_requestid"},
		{nodes[1], "/restpp/query_status?graph_name=g&requestid=" + done, `"results":[],"unknown_requestid":["` + done + `"]`, "status"},
		{nodes[1], "/restpp/query_status?requestid=" + done + "&requestid=" + running, `"status":"running"`, `"success"`},
		{nodes[1], "/restpp/query_status?requestid=all", `"status":"running"`, "unknown"},
		{nodes[0], "/restpp/query_result?requestid=" + done, `"error":false`, "Unable"},
		{nodes[1], "/restpp/query_result?requestid=" + running, "Unable to retrieve result for query " + running, `"error":false`},
		{nodes[1], "/restpp/query_result?requestid=" + done, "Unable to retrieve result for query " + done, `"error":false`},
		{nodes[1], "/restpp/showprocesslist/g", running, done},
		{nodes[0], "/restpp/showprocesslistall", `"results":[]`, done},
		{nodes[0], "/restpp/abortquery/g?requestid=" + running, `"aborted_queries":[]`, running},
		{nodes[1], "/restpp/abortquery/other", `"aborted_queries":[]`, running},
		{nodes[1], "/restpp/abortquery/g?url=/query/g/quick.*", `"aborted_queries":[]`, running},
		{nodes[1], "/restpp/abortquery/g?requestid=" + running, `"aborted_queries":[{"requestid":"` + running, "unknown"},
		{nodes[1], "/restpp/query_status?requestid=" + running, `"status":"aborted"`, "running"},
	} {
		if got := get(t, test.node, test.target).body; !strings.Contains(got, test.want) || strings.Contains(got, test.not) || !json.Valid([]byte(got)) {
			t.Errorf("%s on %s:\n%s\nwant %s, not %s", test.target, test.node.Name(), got, test.want, test.not)
		}
	}
	if n := nodes[0].cluster.Ledger().Count(Query); n != 2 {
		t.Errorf("%d queries executed, want 2", n)
	}
}

func TestAsynchronousIDsMayAllLookAlikeAndResultsExpire(t *testing.T) {
	node := startNodes(t, Options{}, Options{SameAsyncIDs: true, AsyncExpiry: 20 * time.Millisecond})[1]
	id := submit(t, node, "requestid", "/restpp/query/g/q")
	if !strings.Contains(id, ".RESTPP_1_1.") {
		t.Errorf("id %s", id)
	}
	eventually(t, "the expiry", func() bool {
		return strings.Contains(get(t, node, "/restpp/query_status?requestid="+id).body, "unknown_requestid")
	})
	if got := get(t, node, "/restpp/query/g/q", "GSQL-ASYNC: false").body; strings.Contains(got, "requestid") {
		t.Errorf("GSQL-ASYNC: false is answered %s", got)
	}
}
