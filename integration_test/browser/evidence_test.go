package browser_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/tgnode"
)

// A service may be up by its probes while requests to one of its paths fail.
func TestThePageShowsWhatRequestsMet(t *testing.T) {
	t.Parallel()
	node := startCluster(t, 1, tgnode.Options{})[0]
	e := newEdge(t)
	e.run(behind([]*tgnode.Node{node}, "health_check {\n\tinterval 200ms\n\ttimeout 10s\n}"))
	b := newTab(t, e.address)
	b.open(e.url())
	b.allUp([]*tgnode.Node{node})
	if shown := b.row(node); strings.Contains(shown, "failed in the last five minutes") {
		t.Fatalf("nothing has failed, and the page shows\n%s", shown)
	}
	node.SetFault(tgnode.GUI, tgnode.Fault{Mode: tgnode.Dead, Path: "/api/sick"})
	for range 3 {
		response, err := http.Get("http://" + e.address + "/api/sick")
		if err != nil {
			t.Fatal(err)
		}
		_ = response.Body.Close()
	}
	b.await("3 requests failed in the last five minutes, the last one so: status 502")
	if shown := b.row(node); strings.Contains(strings.ToLower(shown), "down") {
		t.Errorf("a living service is shown as down:\n%s", shown)
	}
}
