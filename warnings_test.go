package tigergraph_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
)

// warningsOf loads a Caddyfile as 'caddy validate' does, and returns what it warns of:
// the site, the option and the text of each.
func warningsOf(t *testing.T, caddyfile string) (warnings []string, err error) {
	t.Helper()
	log := filepath.Join(t.TempDir(), "log")
	text := adapt(t, "{\n\tadmin off\n\tlog {\n\t\toutput file "+log+"\n\t\tformat json\n\t}\n\tstorage file_system "+t.TempDir()+"\n}\n"+caddyfile)
	config := new(caddy.Config)
	if err := json.Unmarshal([]byte(text), config); err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	err = caddy.Validate(config)
	lines, readErr := os.ReadFile(log)
	if readErr != nil && !os.IsNotExist(readErr) {
		t.Fatal(readErr)
	}
	for line := range strings.Lines(string(lines)) {
		var entry struct{ Level, Logger, Site, Option, Msg string }
		if json.Unmarshal([]byte(line), &entry) == nil && entry.Level == "warn" && strings.HasSuffix(entry.Logger, ".tigergraph") {
			warnings = append(warnings, entry.Site+" | "+entry.Option+" | "+entry.Msg)
		}
	}
	return warnings, err
}

func TestWhatCanHardlyBeMeantIsWarnedOf(t *testing.T) {
	t.Setenv("SHORT", "secret")
	for _, test := range []struct{ name, caddyfile, want string }{
		{"secret", "http://a.test {\ntigergraph m1 m2 {\ncookie {\nsecret {env.SHORT}\n}\n}\n}", "a.test | cookie secret | secret 1 has 6 characters"},
		{"draining", "http://a.test, http://b.test:8080 {\ntigergraph m1 m2 {\ndrain m1\nweight m2 0\n}\n}", "a.test | drain | all nodes are draining"},
		{"a standby without a name", "http://a.test {\ntigergraph m1 m2 {\nstandby dr1 dr2 dr3\n}\n}", "a.test | standby | the first word is the name of the cluster, and 'dr1' looks like one of its nodes: if it is, write 'standby dr dr1 dr2 dr3'"},
		{"backups", ":8080 {\ntigergraph m1 m2 {\nbackup m1 m2\n}\n}", ":8080 | backup | all nodes are backups"},
		{"draining or backups", ":8080 {\ntigergraph m1 m2 {\nbackup m1\ndrain m2\n}\n}", ":8080 | drain | all nodes are draining or backups"},
		{"checks off", "http://a.test {\nhandle /x/* {\ntigergraph m1 {\nhealth_check {\ngui off\ngsql off\nrestpp off\n}\n}\n}\n}", "a.test | health_check | all checks are off"},
		{"health_check off", "http://a.test {\ntigergraph m1 {\nhealth_check off\n}\n}", "a.test | health_check | the nodes are not checked"},
		{"health_uri", "http://a.test {\ntigergraph m1 m2 {\nhealth_uri /api/ping\n}\n}", "a.test | health_uri | Caddy's active checks are on beside those of the policy"},
		{"health_port", "http://a.test {\ntigergraph m1 m2 {\nhealth_port 8080\n}\n}", "a.test | health_port | Caddy's active checks are on beside those of the policy"},
		{"health_interval", "http://a.test {\ntigergraph m1 m2 {\nhealth_interval 1s\n}\n}", "a.test | health_* | the options of Caddy's active checks have no effect"},
		{"another port of a site", ":8080, :8081 {\ntigergraph m1 {\nhealth_check off\n}\n}", ":8081 | health_check | the nodes are not checked"},
		{"timeout", "http://a.test {\ntigergraph m1 m2 {\nhealth_check {\ninterval 1s\ntimeout 5s\n}\n}\n}", "a.test | health_check timeout | the timeout 5s is longer than the interval 1s"},
		{"every GET again", "http://a.test {\nreverse_proxy m1:14240 m2:14240 {\nlb_policy tigergraph\nlb_retries 1\n}\n}", "a.test | lb_retry_match | a GET is sent again"},
		{"whatever again", "http://a.test {\ntigergraph m1 m2 {\nlb_retry_match {\nmethod POST\n}\ntransport http\n}\n}", "a.test | lb_retry_match | requests are sent again"},
		{"no effect", "http://a.test {\ntigergraph m1 m2 {\naffinity none\nfailback 5m\n}\n}", "a.test | failback | the option has no effect"},
		{"slow_start", "http://a.test {\ntigergraph m1 m2 {\nhealth_check off\nslow_start 5m\n}\n}", "a.test | slow_start | the option has no effect"},
		{"one node", "http://a.test {\ntigergraph m1 {\nweight m1 2\n}\n}", "a.test | weight | the option has no effect"},
		{"a fallback for one node", "http://a.test {\ntigergraph m1 {\nfallback random\n}\n}", "a.test | fallback | the option has no effect"},
		{"a path within another", "http://a.test {\nhandle /b/* {\ntigergraph m3 m4 {\ncookie {\npath /b\n}\n}\n}\nhandle {\ntigergraph m1 m2\n}\n}", "a.test | cookie name | another policy with other nodes"},
		{"a domain of one", "http://a.x.test {\ntigergraph m1 {\ncookie {\ndomain x.test\n}\n}\n}\nhttp://b.x.test {\ntigergraph m3\n}", ".x.test | cookie name | another policy"},
		{"another secret", "http://a.test {\nhandle_path /b/* {\ntigergraph m1 m2 {\ncookie {\nsecret 0123456789abcdef\n}\n}\n}\nhandle {\ntigergraph m1 m2\n}\n}", "a.test | cookie secret | another policy with the same nodes"},
		{"another lifetime", "http://a.test {\nhandle_path /b/* {\ntigergraph m1 m2 {\ncookie {\nlifetime 1h\n}\n}\n}\nhandle {\ntigergraph m1 m2\n}\n}", "a.test | cookie secret | another policy with the same nodes"},
		{"two clusters by path", "http://a.test {\nhandle_path /a/* {\ntigergraph m1 m2\n}\nhandle_path /b/* {\ntigergraph m3 m4\n}\n}", "a.test | cookie name | another policy with other nodes"},
		{"two clusters by port", "http://a.test {\ntigergraph m1 m2\n}\nhttp://a.test:8080 {\ntigergraph m3\n}", "a.test | cookie name | another policy with other nodes"},
		{"two clusters by wildcard", "http://a.test {\ntigergraph m1 m2\n}\nhttp://*.test {\ntigergraph m3\n}", ".test | cookie name | another policy with other nodes"},
		{"two clusters of a domain", "http://a.x.test {\ntigergraph m1 {\ncookie {\ndomain x.test\n}\n}\n}\nhttp://b.x.test {\ntigergraph m3 {\ncookie {\ndomain x.test\n}\n}\n}", ".x.test | cookie name | another policy"},
	} {
		t.Run(test.name, func(t *testing.T) {
			warnings, err := warningsOf(t, test.caddyfile)
			if err != nil {
				t.Fatal(err)
			}
			if strings.Count(strings.Join(warnings, "\n"), test.want) != 1 { // and not again
				t.Errorf("the warnings are\n%s\nwant %s", strings.Join(warnings, "\n"), test.want)
			}
			if strings.Contains(strings.Join(warnings, "\n"), "{env.SHORT}") || test.name == "secret" && strings.Contains(warnings[0], "= secret") {
				t.Error("the secret is in the log")
			}
		})
	}
}

func TestWhatIsMeantIsNotWarnedOf(t *testing.T) {
	t.Setenv("COOKIE_KEY", "0123456789abcdef")
	for name, caddyfile := range map[string]string{
		"the least":                   "http://a.test {\ntigergraph m1 m2 m3\n}",
		"one node":                    "http://a.test {\ntigergraph m1\n}",
		"a secret":                    "http://a.test {\ntigergraph m1 m2 {\ncookie {\nsecret {env.COOKIE_KEY}\n}\n}\n}",
		"two sites":                   "http://a.test {\ntigergraph m1 m2\n}\nhttp://b.test {\ntigergraph m3\n}",
		"one cluster twice":           "http://a.test {\nhandle /a/* {\ntigergraph m1 m2\n}\nhandle {\ntigergraph m2 m1\n}\n}",
		"two clusters with names":     "http://a.test {\nhandle_path /a/* {\ntigergraph m1 m2\n}\nhandle_path /b/* {\ntigergraph m3 m4 {\ncluster b\n}\n}\n}",
		"two clusters without cookie": "http://a.test {\nhandle_path /a/* {\ntigergraph m1 m2\n}\nhandle_path /b/* {\ntigergraph m3 m4 {\naffinity client_ip\n}\n}\n}",
		"cookies of two paths":        "http://a.test {\nhandle /a/* {\ntigergraph m1 {\ncookie {\npath /a\n}\n}\n}\nhandle /b/* {\ntigergraph m3 {\ncookie {\npath /b\n}\n}\n}\n}",
		"a standby":                   "http://a.test {\ntigergraph m1 m2 {\nstandby dr m3\ndrain m3\n}\n}",
		"a quick check":               "http://a.test {\ntigergraph m1 m2 {\nhealth_check {\ninterval 250ms\n}\n}\n}",
		"retries that do no harm":     "http://a.test {\nreverse_proxy m1:14240 m2:14240 {\nlb_policy tigergraph\nlb_retries 1\nlb_retry_match {\ntigergraph_repeatable\n}\n}\n}",
	} {
		t.Run(name, func(t *testing.T) {
			if warnings, err := warningsOf(t, caddyfile); err != nil || warnings != nil {
				t.Errorf("%q, %v", warnings, err)
			}
		})
	}
}

func TestWhatOnlyLoadingFindsNamesTheSite(t *testing.T) {
	t.Setenv("EMPTY", "")
	t.Setenv("PLACEHOLDER", "{file./run/secrets/k}")
	for _, test := range []struct{ name, caddyfile, want string }{
		{"no upstream", "http://ok.test {\nrespond ok\n}\nhttp://a.test {\nreverse_proxy m1:14240 {\nlb_policy tigergraph {\nbackup m9\n}\n}\n}", "site a.test: backup: 'm9' is not an upstream"},
		{"a secret that is not there", "http://a.test:8080 {\ntigergraph m1 {\ncookie {\nsecret {env.EMPTY}\n}\n}\n}", "site a.test: cookie: secret 1"},
		{"a secret that is a placeholder", "http://a.test {\nhandle_path /x/* {\ntigergraph m1 {\ncookie {\nsecret {env.PLACEHOLDER}\n}\n}\n}\n}", "site a.test: cookie: secret 1 has a value that is a placeholder itself"},
		{"behind another site", "http://a.test {\ntigergraph m1\n}\nhttp://b.test {\ntigergraph {env.EMPTY}\n}", "site b.test: the upstream '{env.EMPTY}' is empty"},
		{"a named route", "&(cluster) {\ntigergraph {env.EMPTY}\n}\nhttp://b.test {\ninvoke cluster\n}", "site the named route cluster: the upstream"},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := warningsOf(t, test.caddyfile)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("%v, want %q", err, test.want)
			}
		})
	}
}
