package integration_test

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/tgnode"
)

// nodesOf returns how many of so many requests each node answers.
func nodesOf(b *browser, times int, path string, fields ...string) map[string]int {
	b.t.Helper()
	counts := make(map[string]int)
	for range times {
		counts[b.get(path, fields...).served(b.t)]++
	}
	return counts
}

func TestOneApplicationHostUsesAllNodes(t *testing.T) {
	_, nodes := startCluster(t, 3)
	for name, test := range map[string]struct {
		options, path string
		want          int // nodes that are used
	}{
		"by default":                    {"", "/restpp/query/social/__echo", 3},
		"what is RESTPP's alone":        {"", "/gsql/v1/__echo", 1},
		"with spread restpp":            {"spread restpp\n", "/restpp/graph/social/__echo", 3},
		"with spread off":               {"spread off\n", "/restpp/query/social/__echo", 1},
		"by the address alone":          {"affinity client_ip\n", "/restpp/query/social/__echo", 1},
		"by the address, and spread":    {"affinity client_ip\nspread restpp\n", "/restpp/query/social/__echo", 3},
		"by nothing":                    {"affinity none\n", "/api/__echo", 3},
		"by nothing, GSQL":              {"affinity none\n", "/gsql/v1/__echo", 3},
		"running queries of one node":   {"", "/restpp/showprocesslist/social/__echo", 1},
		"delayed queries of one node":   {"", "/restpp/showdelayedlistall/__echo", 1},
		"queries without an id":         {"", "/restpp/query_status/__echo", 1},
		"an abort of all of a graph's":  {"", "/restpp/abortquery/social/__echo", 1},
		"queries that spread otherwise": {"", "//restpp/./query/social/__echo", 3},
	} {
		t.Run(name, func(t *testing.T) {
			e := newEdge(t)
			e.load("tigergraph " + addresses(nodes) + " {\nhealth_check off\n" + test.options + "}")
			counts := nodesOf(e.stranger(2), 60, test.path)
			if len(counts) != test.want {
				t.Errorf("one host's requests went to %v, want %d nodes", counts, test.want)
			}
			for node, count := range counts {
				if test.want == 3 && count < 6 {
					t.Errorf("%s got %d of 60", node, count)
				}
			}
		})
	}
}

func TestAsynchronousSubmissionsOfOneHostGoToOneNode(t *testing.T) {
	_, nodes := startCluster(t, 3)
	e := newEdge(t)
	e.load("tigergraph " + addresses(nodes) + " {\nhealth_check off\n}")
	if counts := nodesOf(e.stranger(2), 30, "/restpp/query/social/__echo", "GSQL-ASYNC", "true"); len(counts) != 1 {
		t.Errorf("submissions went to %v", counts)
	}
	if counts := nodesOf(e.stranger(2), 60, "/restpp/query/social/__echo", "GSQL-ASYNC", "false"); len(counts) != 3 {
		t.Errorf("what is none went to %v", counts)
	}
	b := e.newBrowser(2)
	node := b.login()
	if counts := nodesOf(b, 30, "/restpp/query/social/__echo"); counts[node] != 30 {
		t.Errorf("a browser of %s had queries of it answered by %v", node, counts)
	}
}

// Of the queries in flight each node has a part by its weight.
func TestQueriesInFlightAreSpreadByTheWeights(t *testing.T) {
	_, nodes := startCluster(t, 3)
	for name, options := range map[string]string{"restpp": "", "none": "affinity none\n"} {
		t.Run(name, func(t *testing.T) {
			for _, node := range nodes {
				node.ResetRequests()
				node.SetFault(tgnode.RESTPP, tgnode.Fault{Mode: tgnode.SlowHeader, Delay: 3 * time.Second, Path: "/restpp/query"})
			}
			e := newEdge(t)
			e.load("tigergraph " + addresses(nodes) + " {\nhealth_check off\n" + options + "weight " + nodes[0].Addr() + " 2\n}")
			b := e.stranger(2)
			var asking sync.WaitGroup
			for i := range 40 {
				asking.Go(func() {
					if a, err := b.try(http.MethodGet, fmt.Sprintf("/restpp/query/social/q?n=%d", i), nil); err != nil || a.StatusCode != http.StatusOK {
						t.Errorf("%v %v", a, err)
					}
				})
			}
			asking.Wait()
			// 20, 10 and 10, but for those that are chosen at the same moment.
			for i, most := range []int{26, 16, 16} {
				if got := nodes[i].Count(tgnode.RESTPP); got > most || got < most-12 {
					t.Errorf("node %d, of the weights 2, 1, 1, got %d of 40 queries at once", i+1, got)
				}
			}
		})
	}
}

// A GSQL session is kept by its id, whoever brings it, and nothing else is kept of it.
func TestAGSQLSessionIsKeptByItsID(t *testing.T) {
	_, nodes := startCluster(t, 3)
	e, a := newAdminEdge(t)
	site := "tigergraph " + addresses(nodes) + " {\nhealth_check off\n}"
	e.load(site)
	credentials := base64.StdEncoding.EncodeToString([]byte("anna:" + tgnode.Password))
	type session struct{ node, header string }
	var sessions []session
	for _, b := range e.strangers(12) {
		answer := b.do(http.MethodPost, "/gsqlserver/gsql/login", []byte(credentials))
		for name, values := range answer.Header {
			if strings.EqualFold(name, "Set-GSQL-Cookie") {
				sessions = append(sessions, session{b.get("/gsqlserver/gsql/__echo").served(t), values[0]})
			}
		}
	}
	if len(sessions) != 12 {
		t.Fatalf("%d of 12 clients have a session", len(sessions))
	}
	check := func(when string) {
		t.Helper()
		for i, s := range sessions {
			for _, field := range []string{"GSQL-Cookie", "Cookie"} { // the latter of older clients
				for _, host := range []byte{byte(100 + i), 200} { // from elsewhere, and all from one address
					if now := e.stranger(host).get("/gsqlserver/gsql/__echo", field, s.header).served(t); now != s.node {
						t.Errorf("%s a session of %s, in %s from 127.0.0.%d, was sent to %s", when, s.node, field, host, now)
					}
				}
			}
		}
	}
	check("at first")
	e.load(site)
	check("after a reload")
	drained := named(t, nodes, sessions[0].node)
	a.drain(drained)
	check("during a drain")
	// One that nobody knows goes by the address, as one without a session does.
	own := e.stranger(60).get("/gsqlserver/gsql/__echo").served(t)
	for _, unknown := range []string{`{"sessionId":"bogus"}`, `{"sessionId":`, `{}`, strings.Repeat(`{"sessionId":"`, 100)} {
		if now := e.stranger(60).get("/gsqlserver/gsql/__echo", "GSQL-Cookie", unknown).served(t); now != own {
			t.Errorf("%s was sent to %s, not to the client's own node", unknown, now)
		}
	}
}
