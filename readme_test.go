package tigergraph_test

import (
	"encoding/json"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
)

var fence = regexp.MustCompile("(?ms)^```([a-z]+)\n(.*?)^```$")

// blocks returns the fenced blocks of the README by their language.
func blocks(t *testing.T) map[string][]string {
	t.Helper()
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	found := make(map[string][]string)
	for _, match := range fence.FindAllStringSubmatch(string(readme), -1) {
		found[match[1]] = append(found[match[1]], match[2])
	}
	return found
}

// Where each command of the README is run. What is not in here, nothing runs.
var commandsRunBy = map[string]string{
	"go run ./cmd/demo":                         "cmd/demo/demo_test.go",
	"go test -timeout 30m ./...":                ".ci/run",
	"go build ./cmd/caddy":                      "integration_test/main_test.go",
	"caddy validate --config example.Caddyfile": "integration_test/binary_test.go",
	"xcaddy build v2.11.9 --with github.com/caddy-tigergraph/caddy-tigergraph":          "integration_test/xcaddy_test.go",
	"xcaddy build v2.11.9 --with github.com/caddy-tigergraph/caddy-tigergraph@v0.0.0=.": "integration_test/xcaddy_test.go",
}

func TestEveryCommandOfTheReadmeIsRunSomewhere(t *testing.T) {
	var commands []string
	for _, block := range blocks(t)["sh"] {
		commands = append(commands, strings.Split(strings.TrimSpace(block), "\n")...)
	}
	slices.Sort(commands)
	if want := slices.Sorted(maps.Keys(commandsRunBy)); !slices.Equal(commands, want) {
		t.Fatalf("the README has the commands\n%q, known are\n%q", commands, want)
	}
	for command, file := range commandsRunBy {
		content, err := os.ReadFile(file)
		if err != nil {
			t.Error(err)
		} else if !strings.Contains(string(content), command) {
			t.Errorf("%s does not mention %q", file, command)
		}
	}
}

func TestEveryCaddyfileOfTheReadmeIsValid(t *testing.T) {
	t.Setenv("COOKIE_KEY", "new")
	t.Setenv("PREVIOUS_COOKIE_KEY", "old")
	caddyfiles := blocks(t)["caddyfile"]
	if len(caddyfiles) < 2 {
		t.Fatalf("only %d Caddyfiles", len(caddyfiles))
	}
	for _, caddyfile := range caddyfiles {
		validate(t, adapt(t, "{\n\tstorage file_system "+t.TempDir()+"\n}\n"+caddyfile))
	}
}

func TestTheReadmesJSONMeansWhatItsCaddyfileMeans(t *testing.T) {
	t.Setenv("COOKIE_KEY", "new")
	t.Setenv("PREVIOUS_COOKIE_KEY", "old")
	handlers := blocks(t)["json"]
	if len(handlers) != 1 {
		t.Fatalf("%d blocks of JSON, want 1", len(handlers))
	}
	ctx, err := caddy.ProvisionContext(&caddy.Config{Admin: &caddy.AdminConfig{Disabled: true}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := ctx.LoadModuleByID("http.handlers.reverse_proxy", stripInlineKey(t, handlers[0])); err != nil {
		t.Error(err)
	}
	// Every option of the policy is in both.
	caddyfile := strings.Join(blocks(t)["caddyfile"], "\n")
	var handler struct {
		LoadBalancing struct {
			Policy struct {
				Cookie      map[string]any
				HealthCheck map[string]any `json:"health_check"`
			} `json:"selection_policy"`
		} `json:"load_balancing"`
	}
	if err := json.Unmarshal([]byte(handlers[0]), &handler); err != nil {
		t.Fatal(err)
	}
	policy := handler.LoadBalancing.Policy
	delete(policy.HealthCheck, "checker")
	if len(policy.Cookie) != 7 || len(policy.HealthCheck) != 10 {
		t.Errorf("the JSON has %d options of the cookie and %d of the health check, want 7 and 10", len(policy.Cookie), len(policy.HealthCheck))
	}
	for _, options := range []map[string]any{policy.Cookie, policy.HealthCheck} {
		for option := range options {
			if !strings.Contains(caddyfile, option) && !strings.Contains(caddyfile, strings.TrimSuffix(option, "s")) {
				t.Errorf("no Caddyfile shows %s", option)
			}
		}
	}
}

// stripInlineKey removes the key that names the module, for the module itself
// does not know it.
func stripInlineKey(t *testing.T, config string) json.RawMessage {
	t.Helper()
	var fields map[string]any
	if err := json.Unmarshal([]byte(config), &fields); err != nil {
		t.Fatal(err)
	}
	delete(fields, "handler")
	stripped, err := json.Marshal(fields)
	if err != nil {
		t.Fatal(err)
	}
	return stripped
}
