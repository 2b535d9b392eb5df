package browser_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/tgnode"
)

// A tab in the background tells that something is wrong.
func TestTheTitleSaysWhatIsWrong(t *testing.T) {
	t.Parallel()
	nodes := startCluster(t, 2, tgnode.Options{})
	e := newEdge(t)
	// A busy machine may be late, and must not take a service down by that.
	e.run(behind(nodes, "health_check {\n\tinterval 200ms\n\ttimeout 10s\n}"))
	b := newTab(t, e.address)
	b.open(e.url())
	b.allUp(nodes)
	title := func() string { return eval[string](b, "document.title") }
	eventually(t, "the title of an edge that is well", func() bool { return title() == "TigerGraph edge" })
	nodes[0].SetFault(tgnode.GSQL, tgnode.Fault{Mode: tgnode.Dead})
	eventually(t, "a service is down", func() bool { return title() == "(1 down) TigerGraph edge" })
	nodes[1].SetFault(tgnode.GSQL, tgnode.Fault{Mode: tgnode.Dead})
	eventually(t, "the service fails open", func() bool { return title() == "(Failing open: GSQL) TigerGraph edge" })
	nodes[0].SetFault(tgnode.GSQL)
	nodes[1].SetFault(tgnode.GSQL)
	eventually(t, "all is well again", func() bool { return title() == "TigerGraph edge" })

	// What happened to a node that is looked for, and nothing else.
	visible := func() string {
		return eval[string](b, `[...document.querySelectorAll("#history > li")].filter((li) => !li.hidden).map((li) => li.innerText).join("\n")`)
	}
	const drained = "an operator drained it"
	e.drain(nodes[1], "1h")
	eventually(t, "all is in the history", func() bool {
		return strings.Contains(visible(), "status 502") && strings.Contains(visible(), drained)
	})
	find := func(words string) {
		t.Helper()
		eval[bool](b, fmt.Sprintf(`(() => {
			const box = document.querySelector("#find");
			box.value = %q;
			return box.dispatchEvent(new Event("input", {bubbles: true}));
		})()`, words))
	}
	find(nodes[0].Addr())
	if shown := visible(); !strings.Contains(shown, "status 502") || strings.Contains(shown, drained) {
		t.Errorf("looking for the node that was down shows\n%s", shown)
	}
	find(nodes[1].Addr())
	if shown := visible(); !strings.Contains(shown, drained) {
		t.Errorf("looking for the node that was drained shows\n%s", shown)
	}
	find("nowhere")
	if shown := visible(); shown != "" {
		t.Errorf("looking for nothing shows\n%s", shown)
	}
	b.await("Nothing has changed of the nodes that are shown.")
}
