package integration_test

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/tgnode"
)

func TestAProxyThatRewritesIsJudgedByWhatItSends(t *testing.T) {
	firstCluster, first := startCluster(t, 2)
	secondCluster, second := startCluster(t, 1)
	const options = "health_check off\nmax_fails 1000\nrewrite /gsql/v1/drop-all"
	for name, site := range map[string]string{
		"alone":         cluster(first, options),
		"handle_errors": cluster(first, options) + "\nhandle_errors {\n" + cluster(second, options) + "\n}",
		"intercept":     "intercept {\n@broken status 5xx\nhandle_response @broken {\n" + cluster(second, options) + "\n}\n}\n" + cluster(first, options),
	} {
		t.Run(name, func(t *testing.T) {
			fault := tgnode.Fault{Mode: tgnode.Reset}
			if name == "intercept" {
				fault.Mode = tgnode.Died
			}
			for _, node := range first {
				node.SetFault(tgnode.All, fault)
			}
			firstCluster.Ledger().Reset()
			secondCluster.Ledger().Reset()
			e := newEdge(t)
			e.load(site)
			const read = "/studio/main.js"
			if a := e.newBrowser(2).get(read, "Early-Data", "1"); a.StatusCode != http.StatusTooEarly {
				t.Errorf("in early data: %d", a.StatusCode)
			}
			if done := firstCluster.Ledger().Total() + secondCluster.Ledger().Total(); done != 0 {
				t.Errorf("in early data it was done %d times", done)
			}
			if a := e.newBrowser(2).get(read); a.StatusCode != http.StatusBadGateway || a.Header.Get("Retry-After") != "" {
				t.Errorf("the client is asked to try again: %d %v", a.StatusCode, a.Header)
			}
			if once, again := firstCluster.Ledger().Total(), secondCluster.Ledger().Total(); once != 1 || again != 0 {
				t.Errorf("done %d times by the first, %d times by the second", once, again)
			}
		})
	}
}

// A site of its own for RESTPP leaves out the prefix.
func TestAProxyThatAddsThePrefixKnowsItsGraphsAndQueries(t *testing.T) {
	_, nodes := startCluster(t, 3)
	const shown = "header_down X-Query \"{http.tigergraph.graph}/{http.tigergraph.query}\"\n"
	for name, site := range map[string]string{
		"directive": cluster(nodes, "health_check off\nrewrite /restpp{uri}\n"+shown),
		"policy":    "reverse_proxy " + addresses(nodes) + " {\nlb_policy tigergraph {\nhealth_check off\n}\nrewrite /restpp{uri}\n" + shown + "}",
	} {
		t.Run(name, func(t *testing.T) {
			for _, node := range nodes {
				node.ResetRequests()
			}
			e := newEdge(t)
			e.load("log\nlog_append query {http.tigergraph.query}\n" + site)
			clients := e.clients(9)
			a := clients[0].get("/query/social/friends", "GSQL-ASYNC", "true")
			if got := a.Header.Get("X-Query"); got != "social/friends" {
				t.Errorf("the query is %q", got)
			}
			eventually(t, "the query is in the access log", func() bool { return len(e.logs(`"query":"friends"`)) > 0 })
			if name == "policy" { // which remembers no queries
				return
			}
			var answer struct {
				New string `json:"requestid"`
				Old string `json:"request_id"`
			}
			if err := json.Unmarshal(a.body, &answer); err != nil || answer.New+answer.Old == "" {
				t.Fatalf("%d %s", a.StatusCode, a.body)
			}
			for i, client := range clients {
				a := client.get("/query_status?graph_name=social&requestid=" + answer.New + answer.Old)
				if !strings.Contains(string(a.body), `"requestid":"`+answer.New+answer.Old+`"`) {
					t.Errorf("client %d does not reach the node of the query: %s", i, a.body)
				}
			}
			if asked := searches(nodes); asked != len(clients) {
				t.Errorf("the nodes were asked %d times by %d clients", asked, len(clients))
			}
		})
	}
}
