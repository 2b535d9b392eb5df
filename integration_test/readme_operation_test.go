package integration_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/tgnode"
)

// example is a command of the README and what it is said to print.
type example struct{ command, output string }

// readmeExamples returns the README's examples whose command begins with this.
func readmeExamples(t *testing.T, prefix string) (examples []example) {
	t.Helper()
	content, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, block := range regexp.MustCompile("(?ms)^```console\n(.*?)^```$").FindAllStringSubmatch(string(content), -1) {
		for _, part := range regexp.MustCompile(`(?m)^\$ `).Split(block[1], -1)[1:] {
			command, output, _ := strings.Cut(part, "\n")
			if strings.HasPrefix(command, prefix) {
				examples = append(examples, example{command, output})
			}
		}
	}
	if len(examples) == 0 {
		t.Fatalf("the README has no example of %s", prefix)
	}
	return examples
}

// readmeCluster is three nodes as in the README's examples: by the order of their
// addresses the second is draining and GSQL is down on the third.
func readmeCluster(t *testing.T) ([]*tgnode.Node, *admin, *strings.Replacer) {
	t.Helper()
	_, nodes := startCluster(t, 3)
	slices.SortFunc(nodes, func(a, b *tgnode.Node) int { return strings.Compare(a.Addr(), b.Addr()) })
	e, a := newAdminEdge(t)
	e.load(behind(nodes, quick))
	a.allUp()
	a.post("drain", fmt.Sprintf(`{"node": %q, "for": "1h"}`, nodes[1].Addr()))
	nodes[2].SetFault(tgnode.GSQL, tgnode.Fault{Mode: tgnode.Dead})
	a.awaitGSQL(nodes[2], "down")
	// The last one goes back and forth, so that no address is within another.
	return nodes, a, strings.NewReplacer(nodes[0].Addr(), "m1:14240", nodes[1].Addr(), "m2:14240", nodes[2].Addr(), "m3:14240",
		"m1:14240", nodes[0].Addr(), "m2:14240", nodes[1].Addr(), "m3:14240", nodes[2].Addr())
}

// keys returns the paths of all keys in JSON, those of services under one name.
func keys(t *testing.T, text string) []string {
	t.Helper()
	var value any
	if err := json.Unmarshal([]byte(text), &value); err != nil {
		t.Fatalf("%v in %s", err, text)
	}
	found := make(map[string]bool)
	var walk func(path string, value any)
	walk = func(path string, value any) {
		switch value := value.(type) {
		case []any:
			for _, element := range value {
				walk(path+"[]", element)
			}
		case map[string]any:
			for key, element := range value {
				found[path+"."+key] = true
				walk(path+"."+key, element)
			}
		}
	}
	walk("", value)
	return slices.Sorted(maps.Keys(found))
}

func TestTheReadmesCallsAreAnsweredAsItSays(t *testing.T) {
	nodes, a, names := readmeCluster(t)
	call := regexp.MustCompile(`^curl (?:-d '(.*)' )?http://localhost:2019(/\S+)$`)
	calls := readmeExamples(t, "curl ")
	if len(calls) != 4 {
		t.Errorf("%d calls, want 4", len(calls))
	}
	for _, example := range calls {
		parts := call.FindStringSubmatch(example.command)
		if parts == nil {
			t.Fatalf("what is %q?", example.command)
		}
		method := http.MethodGet
		if parts[1] != "" {
			method = http.MethodPost
		}
		reply := a.call(method, parts[2], names.Replace(parts[1]))
		got, want := keys(t, string(reply.body)), keys(t, example.output)
		switch {
		case strings.HasSuffix(parts[2], "/nodes"):
			a.ready(nodes[1]) // Else the first would be the last one.
			a.recover(nodes[2])
		case reply.StatusCode == http.StatusOK:
			isService := func(key string) bool { return strings.HasPrefix(key, ".services.") }
			got = slices.DeleteFunc(got, isService)
		default:
			var said, says struct{ Error string }
			decodeStrictly(t, reply.body, &said)
			decodeStrictly(t, []byte(example.output), &says)
			if names.Replace(said.Error) != says.Error {
				t.Errorf("%s answers %q, want %q", example.command, said.Error, says.Error)
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s answers with the keys\n%q, want\n%q", example.command, got, want)
		}
	}
}

func (c command) testReadme(t *testing.T) {
	_, a, names := readmeCluster(t)
	duration := regexp.MustCompile(`\b(\d+h)?(\d+m)?\d+s\b`)
	for _, example := range readmeExamples(t, "caddy tigergraph ") {
		arguments := append(strings.Fields(example.command)[1:], "--address", "unix/"+a.socket)
		normal := func(text string) string {
			return strings.Join(strings.Fields(duration.ReplaceAllString(text, "<duration>")), " ")
		}
		if got, want := normal(names.Replace(c.run(t, arguments...).out)), normal(example.output); got != want {
			t.Errorf("%s prints\n%s\nwant\n%s", example.command, got, want)
		}
	}
	content, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, usage := range regexp.MustCompile("(?m)^\\| `(caddy tigergraph ([a-z]+) ?[^`]*)` \\|").FindAllStringSubmatch(string(content), -1) {
		help := c.run(t, "tigergraph", usage[2], "--help").out
		for _, flag := range regexp.MustCompile(`--[a-z]+`).FindAllString(usage[1], -1) {
			if !strings.Contains(help, flag) {
				t.Errorf("%s has no %s", usage[2], flag)
			}
		}
	}
}

func TestTheReadmesMetricsAreThoseThereAre(t *testing.T) {
	content, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	said := make(map[string]string)
	for _, row := range regexp.MustCompile("(?m)^\\| `(caddy_tigergraph_[a-z_]+)` \\| (.*?) \\|").FindAllStringSubmatch(string(content), -1) {
		labels := strings.Split(strings.ReplaceAll(row[2], "`", ""), ", ")
		slices.Sort(labels)
		said[row[1]] = strings.Join(labels, ",")
	}
	nodes, port := startNeighbours(t, 2)
	names := startNameServer(t, port)
	names.point("nodes.test.", nodes...)
	e, a := newAdminEdge(t)
	e.load("handle /dynamic/* {\ntigergraph {\nhealth_check off\ndynamic a {\nname nodes.test\nport " + port + "\nversions ipv4\nresolvers " +
		names.conn.LocalAddr().String() + "\n}\n}\n}\n" + cluster(nodes, quick))
	a.allUp()
	e.newBrowser(3).get("/dynamic/")
	b := e.newBrowser(2)
	home := named(t, nodes, b.login())
	home.Stop()
	b.get("/api/ping") // on the other node
	there := make(map[string]string)
	series := regexp.MustCompile(`(?m)^(caddy_tigergraph_[a-z_]+?)(?:_bucket|_sum|_count)?\{(.*)\}`)
	for _, match := range series.FindAllStringSubmatch(a.metrics(), -1) {
		var labels []string
		for _, label := range regexp.MustCompile(`([a-z]+)="`).FindAllStringSubmatch(match[2], -1) {
			if label[1] != "le" {
				labels = append(labels, label[1])
			}
		}
		slices.Sort(labels)
		there[match[1]] = strings.Join(labels, ",")
	}
	if !maps.Equal(said, there) {
		t.Errorf("the README has the metrics\n%v, there are\n%v", said, there)
	}
}
