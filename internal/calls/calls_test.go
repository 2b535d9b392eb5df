package calls_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/calls"
	"github.com/caddy-tigergraph/caddy-tigergraph/internal/statuspage"
)

// span is a duration as the bodies of these calls have it.
type span time.Duration

func (s *span) UnmarshalJSON(text []byte) error {
	duration, err := time.ParseDuration(strings.Trim(string(text), `"`))
	*s = span(duration)
	return err
}

func TestCallsAreAnsweredOrRefusedByWhatIsWrong(t *testing.T) {
	var done string
	edge := &calls.Edge{
		Nodes:    func() []statuspage.NodeStatus { return []statuspage.NodeStatus{{Address: "m1:14240"}} },
		Services: func() map[string]statuspage.ServiceState { return map[string]statuspage.ServiceState{} },
		Clusters: func() []statuspage.ClusterStatus { return []statuspage.ClusterStatus{{Name: "dr"}} },
		Drain: func(node string, duration time.Duration, force bool) (statuspage.NodeStatus, error) {
			done = fmt.Sprintf("drain %s %s %t", node, duration, force)
			return statuspage.NodeStatus{Address: node}, nil
		},
		Ready: func(node string) (statuspage.NodeStatus, error) {
			done = "ready " + node
			return statuspage.NodeStatus{}, calls.Refuse(http.StatusNotFound, "there is no node %q", node)
		},
		Switch: func(cluster string, drain time.Duration) ([]statuspage.ClusterStatus, error) {
			done = fmt.Sprintf("switch %s %s", cluster, drain)
			return nil, nil
		},
	}
	for _, test := range []struct {
		method, call, body string
		done               string
		status             int // of the refusal, 0 if there is none
		says               string
	}{
		{"GET", "nodes", "", "", 0, `"m1:14240"`},
		{"HEAD", "services", "", "", 0, `{}`},
		{"GET", "clusters", "", "", 0, `"dr"`},
		{"POST", "nodes", "", "", 405, "the method of /tigergraph/nodes must be GET, HEAD, not POST"},
		{"GET", "drain", "", "", 405, "the method of /tigergraph/drain must be POST, not GET"},
		{"POST", "drain", `{"node":"m1"}`, "drain m1 0s false", 0, `"m1"`},
		{"POST", "drain", `{"node":"m1","for":"1h","force":true}`, "drain m1 1h0m0s true", 0, `"m1"`},
		{"POST", "drain", `{"node":"m1","for":"-1s"}`, "", 400, "'for' must be a duration from 0 (until the node is said to be ready) to"},
		{"POST", "drain", `{"node":"m1","for":"9000h"}`, "", 400, "'for' must be a duration from 0"},
		{"POST", "drain", `{}`, "", 400, `the body must name a node, as in {"node": "m1:14240", "for": "1h", "force": false}`},
		{"POST", "drain", `{"node":1}`, "", 400, "'node' must be a string, not number"},
		{"POST", "drain", `{"node":"m1","force":"yes"}`, "", 400, "'force' must be true or false, not string"},
		{"POST", "drain", `[]`, "", 400, "expected an object, not array"},
		{"POST", "drain", `{"node":"m1","fro":"1h"}`, "", 400, `unknown field "fro"`},
		{"POST", "drain", `{"node":"m1"} {}`, "", 400, "there is more after the object"},
		{"POST", "drain", `{"node":"` + strings.Repeat("m", 64<<10) + `"}`, "", 400, "too large"},
		{"POST", "ready", `{"node":"m9"}`, "ready m9", 404, `there is no node "m9"`},
		{"POST", "ready", `{}`, "", 400, `the body must name a node, as in {"node": "m1:14240"}`},
		{"POST", "switch", `{"cluster":"dr","drain":"30m"}`, "switch dr 30m0s", 0, "null"},
		{"POST", "switch", `{"cluster":"dr","drain":"-1s"}`, "", 400, "'drain' must be a duration from 0 (sessions end at once) to"},
		{"POST", "switch", `{}`, "", 400, `the body must name a cluster, as in {"cluster": "dr", "drain": "30m"}`},
		{"GET", "everything", "", "", 404, `there is no call "everything"; expected services, nodes, clusters, drain, ready or switch`},
	} {
		done = ""
		w := httptest.NewRecorder()
		err := calls.Answer[span](w, httptest.NewRequest(test.method, calls.Prefix+test.call, strings.NewReader(test.body)), edge)
		var refusal calls.RefusedError
		says := w.Body.String()
		if errors.As(err, &refusal) {
			says = refusal.Error()
		}
		if refusal.Status != test.status || (err != nil) != (test.status != 0) || !strings.Contains(says, test.says) || done != test.done {
			t.Errorf("%s %s %.60s: %d, %q, done %q; want %d, %q, %q", test.method, test.call, test.body, refusal.Status, says, done, test.status, test.says, test.done)
		}
		if refusal.Status == http.StatusMethodNotAllowed && w.Header().Get("Allow") == "" {
			t.Errorf("%s %s: nothing says what is allowed", test.method, test.call)
		}
	}
}

func TestNodesAndClustersAreFoundByWhatPeopleCallThem(t *testing.T) {
	several := []string{"m1:9000", "m1:14240", "m2:9000", "m2:9001"}
	for _, test := range []struct {
		name  string
		known []string
		want  string
		says  string
	}{
		{"m1", []string{"m1:14240"}, "m1:14240", ""},
		{"m2", several, "", `there are several nodes "m2"; expected one of m1:9000, m1:14240, m2:9000, m2:9001`},
		{"m3", several, "", `there is no node "m3"; expected one of m1:9000, m1:14240, m2:9000, m2:9001`},
		{"m3", nil, "", `there is no node "m3"; the configuration has none`},
		{"m1,", several, "", "there is no such node: "},
	} {
		got, err := calls.Find(test.name, test.known)
		if got != test.want || (err != nil) != (test.says != "") || err != nil && !strings.HasPrefix(err.Error(), test.says) {
			t.Errorf("%q of %q: %q, %v", test.name, test.known, got, err)
		}
	}
	for _, test := range []struct {
		known []string
		says  string
	}{
		{[]string{"primary", "dr"}, ""},
		{[]string{"primary", "qa", "primary"}, `there is no cluster "dr"; expected one of primary, qa`},
		{nil, `there is no cluster "dr"; the configuration has none`},
	} {
		if err := calls.ExpectCluster("dr", test.known); (err != nil) != (test.says != "") || err != nil && err.Error() != test.says {
			t.Errorf("of %q: %v", test.known, err)
		}
	}
}
