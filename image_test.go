package tigergraph_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
)

// secretFile writes a file as Docker lays a secret into a container.
func secretFile(t *testing.T, content string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

func TestTheImagesFurtherVariables(t *testing.T) {
	t.Setenv("XDG_DATA_HOME", t.TempDir())
	key, previous, page := secretFile(t, "0123456789abcdef\n"), secretFile(t, "fedcba9876543210\n"), secretFile(t, "<h1>Back soon</h1>")
	for _, test := range []struct {
		name      string
		variables []string
		contains  []string
	}{
		{"a key in a file", []string{"COOKIE_KEY_FILE", key}, []string{`"secrets":["{file.` + key + `}"]`}},
		{
			"keys that change, in files",
			[]string{"COOKIE_KEY_FILE", key, "PREVIOUS_COOKIE_KEY_FILE", previous},
			[]string{`"secrets":["{file.` + key + `}","{file.` + previous + `}"]`},
		},
		{
			"several options of the cookie, with a key",
			[]string{"COOKIE_KEY", "0123456789abcdef", "COOKIE_OPTIONS", "lifetime 8h\npersistent\nname Edge"},
			[]string{`"secrets":["{env.COOKIE_KEY}"]`, `"lifetime":28800000000000`, `"persistent":true`, `"name":"Edge"`},
		},
		{"without a key", []string{"COOKIE_OPTIONS", "lifetime 8h"}, []string{`"lifetime":28800000000000`}},
		{"with a key's file", []string{"COOKIE_KEY_FILE", key, "COOKIE_OPTIONS", "lifetime 8h"}, []string{`"lifetime":28800000000000`, `{file.`}},
		{"the whole block by hand", []string{"TIGERGRAPH_OPTIONS", "cookie {\nlifetime 8h\n}"}, []string{`"lifetime":28800000000000`}},
		{"the status page", []string{"STATUS_ADDRESS", ":9181"}, []string{`"listen":[":9181"]`, `"handler":"tigergraph_status"`}},
		{"an error page", []string{"ERROR_PAGE", page}, []string{`"uri":"` + page + `"`, `"errors":{"routes"`}},
		{"the admin endpoint", []string{"CADDY_ADMIN", "localhost:2020"}, []string{`"listen":"localhost:2020"`}},
	} {
		t.Run(test.name, func(t *testing.T) {
			config, warnings, err := adaptImage(t, append([]string{"SITE", "graph.example.com", "TIGERGRAPH_NODES", "m1 m2 m3"}, test.variables...)...)
			if err != nil || len(warnings) > 0 {
				t.Fatal(err, warnings)
			}
			compact := strings.Join(strings.Fields(config), "")
			for _, want := range test.contains {
				if !strings.Contains(compact, want) {
					t.Errorf("%s is not in\n%s", want, config)
				}
			}
			validate(t, config)
		})
	}
}

func TestTheImageNamesTheFurtherVariableThatIsWrong(t *testing.T) {
	key := secretFile(t, "0123456789abcdef\n")
	for _, test := range []struct {
		variable, want string
		variables      []string
	}{
		{"COOKIE_KEY_FILE", "no such file", []string{"COOKIE_KEY_FILE", "/run/secrets/nonesuch"}},
		{"COOKIE_KEY_FILE", "must be a whole path", []string{"COOKIE_KEY_FILE", "secrets/key"}},
		{"COOKIE_KEY_FILE", "it has 5 characters", []string{"COOKIE_KEY_FILE", secretFile(t, "short\n")}},
		{"COOKIE_KEY_FILE", "COOKIE_KEY is set too", []string{"COOKIE_KEY_FILE", key, "COOKIE_KEY", "0123456789abcdef"}},
		{"PREVIOUS_COOKIE_KEY_FILE", "it needs COOKIE_KEY_FILE", []string{"PREVIOUS_COOKIE_KEY_FILE", key}},
		{"METRICS_ADDRESS", "':443' is a port that clients reach", []string{"METRICS_ADDRESS", ":443"}},
		{"METRICS_ADDRESS", "':80' is a port that clients reach", []string{"METRICS_ADDRESS", ":80"}},
		{"METRICS_ADDRESS", "':8443' is a port that clients reach", []string{"METRICS_ADDRESS", ":8443", "SITE", "a.example.com, https://b.example.com:8443"}},
		{"STATUS_ADDRESS", "must be a port alone", []string{"STATUS_ADDRESS", "0.0.0.0:9181"}},
		{"STATUS_ADDRESS", "is METRICS_ADDRESS too", []string{"STATUS_ADDRESS", ":9180", "METRICS_ADDRESS", ":9180"}},
		{"ERROR_PAGE", "must be a whole path", []string{"ERROR_PAGE", "error.html"}},
		{"CADDY_ADMIN", "is no address to listen on", []string{"CADDY_ADMIN", "localhost"}},
		{"CADDY_ADMIN", "health check", []string{"CADDY_ADMIN", "off"}},
		{"CADDY_ADMIN", "no socket can be made in the folder '/nonesuch'", []string{"CADDY_ADMIN", "unix//nonesuch/admin.sock"}},
		{"TIGERGRAPH_OPTIONS", "slow_stert", []string{"TIGERGRAPH_OPTIONS", "slow_stert 1m"}},
		{"TIGERGRAPH_OPTIONS", "weight", []string{"TIGERGRAPH_OPTIONS", "weight m9 1", "SITE_DIRECTIVES", "respond /hello world"}},
		{"COOKIE_OPTIONS", "lifetim", []string{"COOKIE_OPTIONS", "lifetim 1h"}},
		{"COOKIE_OPTIONS", "secret", []string{"COOKIE_OPTIONS", "secret 0123456789abcdef", "COOKIE_KEY", "0123456789abcdef"}},
		{"SITE_DIRECTIVES", "respnod", []string{"SITE_DIRECTIVES", "respnod 200", "TIGERGRAPH_OPTIONS", "slow_start 1m"}},
		{"GLOBAL_OPTIONS", "emial", []string{"GLOBAL_OPTIONS", "emial a@example.com"}},
		{"GLOBAL_OPTIONS", "", []string{"GLOBAL_OPTIONS", "servers {"}},
	} {
		t.Run(strings.Join(test.variables, " "), func(t *testing.T) {
			_, _, err := adaptImage(t, append([]string{"SITE", "graph.example.com", "TIGERGRAPH_NODES", "m1 m2 m3"}, test.variables...)...)
			if err == nil || !strings.Contains(err.Error(), "the environment variable "+test.variable+" is wrong: ") || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want %s and %s", err, test.variable, test.want)
			}
		})
	}
}

// What people type first in the container says what to type.
func TestCaddysOwnAdapterSaysHowTheImageIsReloaded(t *testing.T) {
	content, err := os.ReadFile("deploy/docker/Caddyfile")
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("SITE", "graph.example.com")
	t.Setenv("TIGERGRAPH_NODES", "m1")
	_, _, err = caddyconfig.GetAdapter("caddyfile").Adapt(content, map[string]any{"filename": "/etc/caddy/Caddyfile"})
	if err == nil || !strings.Contains(err.Error(), "caddy_reload_needs:--adapter=tigergraph_--force") {
		t.Errorf("it says %v", err)
	}
}

// Of the folders of the image, its user may write to those that are volumes.
func TestTheGuidesSocketOfTheImageIsInAVolume(t *testing.T) {
	dockerfile, err := os.ReadFile("Dockerfile")
	if err != nil {
		t.Fatal(err)
	}
	sockets := regexp.MustCompile(`unix/(/\w+/)[\w./]*`).FindAllStringSubmatch(guides(t)["docs/deployment.md"], -1)
	if len(sockets) == 0 {
		t.Fatal("the guide names no socket")
	}
	for _, socket := range sockets {
		if folder := strings.TrimSuffix(socket[1], "/"); !regexp.MustCompile(`(?m)^VOLUME .*"` + folder + `"`).Match(dockerfile) {
			t.Errorf("nobody but root can make %s in the image", socket[0])
		}
	}
}

// The guide says that what only loading finds is told without the variable.
func TestTheGuidesWrongLineIsAdaptedAndNotLoaded(t *testing.T) {
	match := regexp.MustCompile(`-e SITE_DIRECTIVES=\$'([^']*)'`).FindStringSubmatch(guides(t)["docs/deployment.md"])
	if match == nil {
		t.Fatal("the guide has no such line")
	}
	t.Setenv("XDG_DATA_HOME", t.TempDir())
	config, _, err := adaptImage(t, "SITE", "http://graph.example.com", "TIGERGRAPH_NODES", "m1", "SITE_DIRECTIVES", strings.ReplaceAll(match[1], `\n`, "\n"))
	if err != nil {
		t.Fatalf("it names the variable, which the guide denies: %v", err)
	}
	var decoded caddy.Config
	if err := json.Unmarshal([]byte(config), &decoded); err != nil {
		t.Fatal(err)
	}
	if err := caddy.Validate(&decoded); err == nil || !strings.Contains(err.Error(), "error parsing regexp") {
		t.Errorf("it says %v", err)
	}
}
