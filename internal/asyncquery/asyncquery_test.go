package asyncquery

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode/utf8"
)

func TestSubmissions(t *testing.T) {
	for _, test := range []struct {
		target, async string
		want          bool
	}{
		{"/restpp/query/social/friends", "true", true},
		{"/restpp/query/social/friends", " True ", true},
		{"/restpp/query/social/friends", "false", false},
		{"/restpp/query/social/friends", "", false},
		{"//restpp/query/social/friends", "true", true},
		{"/api/restpp/query/social/friends", "true", false},
		{"/gsqlserver/interpreted_query", "true", false},
		{"/restpp/query_status?requestid=a", "true", false},
		{"/restpp/query_result?requestid=a", "true", false},
		{"//restpp/abortquery/social?requestid=a", "true", false},
	} {
		r := httptest.NewRequest(http.MethodGet, "http://edge"+test.target, nil)
		if test.async != "" {
			r.Header.Set("GSQL-ASYNC", test.async)
		}
		if got := IsSubmit(r); got != test.want {
			t.Errorf("%s with GSQL-ASYNC %q: %t", test.target, test.async, got)
		}
	}
}

func TestFollowUps(t *testing.T) {
	for path, want := range map[string]bool{
		"/restpp/query_status":       true,
		"/restpp/query_result":       true,
		"/restpp/query_status/":      true,
		"/restpp/abortquery/social":  true,
		"//restpp//query_status":     true,
		"/restpp/./query_result":     true,
		"/a/../restpp/query_status":  true,
		"/restpp/query_status/../q":  false,
		"/query_status":              false,
		"/restpp/query_statuses":     false,
		"/restpp/query/social/q":     false,
		"/restpp":                    false,
		"/restpp/g/query_status":     false,
		"/restpp/showprocesslistall": false,
	} {
		if got := IsFollowUp(path); got != want {
			t.Errorf("%s: %t", path, got)
		}
	}
}

func TestIDsOfAFollowUp(t *testing.T) {
	for query, want := range map[string][]string{
		"":                                  nil,
		"graph_name=g":                      nil,
		"requestid=4.RESTPP_1_1.15.N":       {"4.RESTPP_1_1.15.N"},
		"graph_name=g&requestid=a&x&":       {"a"},
		"requestid=a&requestid=b":           {"a", "b"},
		"request_id=a&requestid=all":        {"a", "all"},
		"requestid=4%2ERESTPP_1_1":          {"4.RESTPP_1_1"},
		"requestid=%zz&requestid=b":         {"b"},
		"request%5Fid=a&%72equestid=b&%=c":  {"a", "b"},
		"xrequestid=a&requestids=b&other=c": nil,
	} {
		if got := slices.Collect(ids(query)); !slices.Equal(got, want) {
			t.Errorf("%q: %q, want %q", query, got, want)
		}
	}
}

// look hands a body over in pieces of a size, and returns the id and how many
// bytes were looked at before all was said.
func look(body string, size int) (id string, looked int) {
	var r Response
	for piece := range slices.Chunk([]byte(body), size) {
		looked += len(piece)
		if id, done := r.Look(piece); done {
			return id, looked
		}
	}
	return "", looked
}

func TestTheIDInAnAnswer(t *testing.T) {
	for body, want := range map[string]string{
		`{"error":false,"message":"The query is successfully submitted.","request_id":"4.RESTPP_1_1.15.N"}`: "4.RESTPP_1_1.15.N",
		`{"requestid":"RESTPP_2_1.15"}`:                            "RESTPP_2_1.15",
		` {"version":{"requestid":"inner"},"requestid":"outer"} `:  "outer",
		`{"results":[{"requestid":"inner"}]}`:                      "",
		`{"requestid":17}`:                                         "",
		`{"requestid":null,"request_id":"x"}`:                      "",
		`{"requestid":""}`:                                         "",
		`{"requestid":"` + strings.Repeat("x", longestID+1) + `"}`: "",
		`{"message":"the \"requestid\":\"no\""}`:                   "",
		`[{"requestid":"x"}]`:                                      "",
		`<html>502</html>`:                                         "",
		"\x1f\x8b\x08\x00":                                         "",
		`{"error":false`:                                           "",
		`{"error":false,,"requestid":"x"}`:                         "",
		``:                                                         "",
	} {
		for _, size := range []int{1000, 7} {
			if got, _ := look(body, size); got != want {
				t.Errorf("%s in pieces of %d: %q, want %q", body, size, got, want)
			}
		}
	}
}

func TestALongAnswerIsNotLookedAtForLong(t *testing.T) {
	long := `{"results":["` + strings.Repeat("x", 1<<20) + `"],"requestid":"a"}`
	if id, looked := look(long, 1000); id != "" || looked > 2*lookAhead {
		t.Errorf("id %q after %d bytes", id, looked)
	}
	if id, looked := look(long, 1); id != "" || looked > mostLooks {
		t.Errorf("id %q after %d pieces", id, looked)
	}
}

// find returns the nodes that a follow-up may go to.
func find(m *Memory, query string) string {
	return strings.Join(slices.Collect(m.Nodes(query)), " ")
}

func TestTheNodesOfTheIDsInTheirOrder(t *testing.T) {
	m := NewMemory(time.Hour, 10)
	if nodes := find(m, "requestid=a"); nodes != "" {
		t.Errorf("an empty memory knows %s", nodes)
	}
	m.Remember("a", "m1:14240")
	m.Remember("b", "m2:14240")
	for query, want := range map[string]string{
		"requestid=a": "m1:14240", "requestid=x&requestid=b&requestid=a": "m2:14240 m1:14240",
		"requestid=all": "", "requestid=x": "", "": "",
	} {
		if got := find(m, query); got != want {
			t.Errorf("%q: %q, want %q", query, got, want)
		}
	}
}

func TestClustersMayGiveTheSameID(t *testing.T) {
	m := NewMemory(time.Hour, 10)
	for _, node := range []string{"a1", "b1", "a1"} {
		m.Remember("a", node)
	}
	if got := find(m, "requestid=a"); got != "a1 b1" {
		t.Errorf("%q, want those of both", got)
	}
	m.Remember("a", "a2")
	if got := find(m, "requestid=a"); got != "a1 b1 a2" {
		t.Errorf("%q: the id was taken over", got)
	}
	for i := range 100 {
		m.Remember("a", fmt.Sprint(i))
	}
	if got := len(slices.Collect(m.Nodes("requestid=a"))); got != mostNodes {
		t.Errorf("%d nodes, want %d", got, mostNodes)
	}
}

func TestAnIDThatSeveralGiveAtOnceIsThatOfAll(t *testing.T) {
	m := NewMemory(time.Hour, 10000)
	for i := range 2000 {
		id := fmt.Sprint(i)
		var giving sync.WaitGroup
		for node := range mostNodes {
			giving.Go(func() { m.Remember(id, fmt.Sprint("m", node)) })
		}
		giving.Wait()
		if got := len(slices.Collect(m.Nodes("requestid=" + id))); got != mostNodes {
			t.Fatalf("%d nodes are remembered of %d that gave an id", got, mostNodes)
		}
	}
}

func TestTheMemoryOfQueriesIsBounded(t *testing.T) {
	m := NewMemory(time.Hour, 10)
	for i := range 1000 {
		m.Remember(fmt.Sprint(i), "m1:14240")
	}
	if length := m.nodes.Len(); length != 10 {
		t.Errorf("%d queries, want 10", length)
	}
	if find(m, "requestid=999") == "" {
		t.Error("the newest is forgotten")
	}
}

// Asking for a query does not keep it: its result is gone at its time.
func TestQueriesAreForgotten(t *testing.T) {
	m := NewMemory(50*time.Millisecond, 10)
	m.Remember("a", "m1:14240")
	for deadline := time.Now().Add(10 * time.Second); ; {
		if find(m, "requestid=a") == "" {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("remembered for ever")
		}
	}
	m.Tidy()
	if length := m.nodes.Len(); length != 0 {
		t.Errorf("%d queries are kept", length)
	}
}

func FuzzResponse(f *testing.F) {
	f.Add([]byte(`{"error":false,"request_id":"4.RESTPP_1_1.15.N"}`), 3)
	f.Add([]byte(`{"a":{"requestid":"x"},"requestid":"y"}`), 100)
	f.Add([]byte("\x1f\x8b{["), 1)
	f.Fuzz(func(t *testing.T, body []byte, size int) {
		whole, _ := look(string(body), len(body)+1)
		if len(body) > lookAhead {
			return // the end of a piece decides what is still seen
		}
		size = max(size, len(body)/mostLooks+1)
		if got, _ := look(string(body), size); got != whole {
			t.Errorf("%q in pieces of %d: %q, in one: %q", body, size, got, whole)
		}
		if len(whole) > longestID {
			t.Errorf("an id of %d bytes", len(whole))
		}
		// Where no key is there twice, it is what any parser finds.
		var object map[string]any
		if strings.Contains(string(body), `\`) || strings.Count(string(body), "request") != 1 || json.Unmarshal(body, &object) != nil {
			return
		}
		want, _ := object["requestid"].(string)
		if value, found := object["request_id"]; found {
			want, _ = value.(string)
		}
		if len(want) > longestID {
			want = ""
		}
		if whole != want {
			t.Errorf("%q: %q, want %q", body, whole, want)
		}
	})
}

// Any spelling of a follow-up is one, and leads to the node that took its query:
// by the ids that any parser of query strings finds.
func FuzzFollowUp(f *testing.F) {
	for _, path := range []string{
		"/restpp/query_status", "//restpp/.//query_result/", "/restpp/abortquery/g", "/a/../restpp/query_status", "/restpp/query_status/..",
		"restpp/query_status", "/restpp/query/g/q", "/query_status", "/restpp/restpp/query_status", "/restpp\x00/query_status", "/RESTPP/query_status", "/..",
	} {
		f.Add(path, "graph_name=g&requestid=a", "true")
	}
	for _, query := range []string{
		"", "requestid=%61&request_id==&&", "request%69d=a", "requestid=a+b", "requestid=%zz&requestid=b", "requestid=a;requestid=b", "requestid", "requestid=%00%ff",
		"requestid=all", "%zz=a&requestid=" + strings.Repeat("x", longestID) + "&requestid=" + strings.Repeat("y", longestID+1),
	} {
		f.Add("/restpp/query_status", query, " TRUE\t")
	}
	f.Fuzz(func(t *testing.T, path, query, async string) {
		var segments []string
		for segment := range strings.SplitSeq(path, "/") {
			switch {
			case segment == "" || segment == ".":
			case segment != "..":
				segments = append(segments, segment)
			case len(segments) > 0:
				segments = segments[:len(segments)-1]
			}
		}
		isRESTPP := len(segments) > 0 && segments[0] == "restpp"
		followUps := []string{"query_status", "query_result", "abortquery"}
		isFollowUp := isRESTPP && len(segments) > 1 && slices.Contains(followUps, segments[1])
		if got := IsFollowUp(path); got != isFollowUp {
			t.Errorf("%q is a follow-up: %t", path, got)
		}
		r := &http.Request{URL: &url.URL{Path: path, RawQuery: query}, Header: http.Header{"Gsql-Async": {async}}}
		isSubmit := isRESTPP && !isFollowUp && strings.ToLower(strings.TrimSpace(async)) == "true"
		if got := IsSubmit(r); got != isSubmit {
			t.Errorf("%q with GSQL-ASYNC %q is a submission: %t", path, async, got)
		}

		var want []string
		for parameter := range strings.SplitSeq(query, "&") {
			before, after, _ := strings.Cut(parameter, "=")
			// A semicolon is no separator, but url.ParseQuery refuses it.
			values, _ := url.ParseQuery(strings.ReplaceAll(before, ";", "%3B") + "=" + strings.ReplaceAll(after, ";", "%3B"))
			want = append(want, append(values["requestid"], values["request_id"]...)...)
		}
		if got := slices.Collect(ids(query)); !slices.Equal(got, want) {
			t.Errorf("%q: %q, want %q", query, got, want)
		}

		m := NewMemory(time.Hour, 10)
		var nodes []string
		for i, named := range want {
			answer, err := json.Marshal(map[string]string{"message": "submitted", "requestid": named})
			if err != nil || i == 5 {
				break
			}
			id, _ := look(string(answer), 100)
			if len(id) > longestID {
				t.Errorf("an id of %d bytes", len(id))
			}
			if utf8.ValidString(named) && len(answer) <= lookAhead && (id != "" && id != named || id == "" && named != "" && len(named) <= longestID) {
				t.Errorf("the answer %q has the id %q", answer, id)
			}
			if id != named || id == "" || slices.Contains(want[:i], id) {
				continue
			}
			node := fmt.Sprintf("m%d:14240", i)
			m.Remember(id, node)
			nodes = append(nodes, node)
		}
		var found []string
		for node := range m.Nodes(query) {
			if !slices.Contains(found, node) { // an id may be named twice
				found = append(found, node)
			}
		}
		if !slices.Equal(found, nodes) {
			t.Errorf("%q leads to %q, want %q", query, found, nodes)
		}
	})
}
