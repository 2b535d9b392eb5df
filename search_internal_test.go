package tigergraph

import (
	"net/http/httptrace"
	"net/url"
	"strings"
	"testing"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/tgnode"
)

// What hears of the connections of a client's request tells whether it was sent. The
// questions of a search are not that request.
func TestASearchLeavesNoTraceAtTheClientsRequest(t *testing.T) {
	nodes := startNodes(t, 2)
	p, _ := loadPolicy(t, plainPolicy, nodes[0].Addr(), nodes[1].Addr())
	until(t, "the nodes are checked", func() bool { return nodes[0].Count(tgnode.RESTPP) > 0 && nodes[1].Count(tgnode.RESTPP) > 0 })
	r, w := visitor("")
	r.URL = &url.URL{Path: "/restpp/query_status", RawQuery: "requestid=of-another-edge"}
	r.RequestURI = r.URL.RequestURI()
	r = r.WithContext(httptrace.WithClientTrace(r.Context(), &httptrace.ClientTrace{
		GetConn:      func(string) { t.Error("a connection is looked for") },
		WroteHeaders: func() { t.Error("a header is written") },
	}))
	if p.Select(p.host.Upstreams, r, w) == nil {
		t.Fatal("no node is chosen")
	}
	all := 0
	for _, node := range nodes {
		asked := 0
		for _, request := range node.Requests() {
			if strings.HasPrefix(request.Target, "/restpp/query_status") {
				asked++
			}
		}
		if asked > 1 {
			t.Errorf("%s was asked %d times", node.Addr(), asked)
		}
		all += asked
	}
	if all == 0 {
		t.Error("no node was asked")
	}
}
