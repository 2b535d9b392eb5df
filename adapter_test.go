package tigergraph_test

import (
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	_ "github.com/caddyserver/caddy/v2/modules/standard"
)

// imageVariables are all that the image's Caddyfile knows.
var imageVariables = []string{
	"SITE", "TIGERGRAPH_NODES", "COOKIE_KEY", "PREVIOUS_COOKIE_KEY", "ACME_EMAIL", "ACME_CA", "ACME_CA_ROOT", "TLS", "TRUSTED_PROXIES",
	"METRICS_ADDRESS", "LOG_LEVEL", "GRACE_PERIOD", "GLOBAL_OPTIONS", "TIGERGRAPH_OPTIONS", "SITE_DIRECTIVES",
	"COOKIE_KEY_FILE", "PREVIOUS_COOKIE_KEY_FILE", "COOKIE_OPTIONS", "STATUS_ADDRESS", "ERROR_PAGE", "CADDY_ADMIN",
}

// adaptImage adapts the Caddyfile of the Docker image with these variables and no
// other of those it knows.
func adaptImage(t *testing.T, variables ...string) (config string, warnings []caddyconfig.Warning, err error) {
	t.Helper()
	content, readErr := os.ReadFile("deploy/docker/Caddyfile")
	if readErr != nil {
		t.Fatal(readErr)
	}
	for _, name := range imageVariables {
		t.Setenv(name, "")
	}
	for i := 0; i < len(variables); i += 2 {
		t.Setenv(variables[i], variables[i+1])
	}
	adapted, warnings, err := caddyconfig.GetAdapter("tigergraph").Adapt(content, map[string]any{"filename": "Caddyfile"})
	return string(adapted), warnings, err
}

func TestTheImageIsConfiguredByItsEnvironment(t *testing.T) {
	t.Setenv("XDG_DATA_HOME", t.TempDir())
	for _, test := range []struct {
		name        string
		variables   []string
		contains    []string
		lacksAnyOf  []string
		notValidate bool
	}{
		{
			"the least", nil,
			[]string{`"host":["graph.example.com"]`, `"dial":"m1:14240"`, `"dial":"m3:14240"`, `"grace_period":3600000000000`, `"level":"INFO"`},
			[]string{"secrets", "issuers", "trusted_proxies", `"metrics"`, "srv1"},
			false,
		},
		{
			"a cookie key",
			[]string{"COOKIE_KEY", "0123456789abcdef"},
			[]string{`"secrets":["{env.COOKIE_KEY}"]`},
			[]string{"0123456789abcdef"},
			false,
		},
		{
			"rotated cookie keys",
			[]string{"COOKIE_KEY", "0123456789abcdef", "PREVIOUS_COOKIE_KEY", "fedcba9876543210"},
			[]string{`"secrets":["{env.COOKIE_KEY}","{env.PREVIOUS_COOKIE_KEY}"]`},
			[]string{"0123456789abcdef", "fedcba9876543210"},
			false,
		},
		{
			"an account at another authority",
			[]string{"ACME_EMAIL", "tls@example.com", "ACME_CA", "https://ca.example.com/acme/local/directory", "ACME_CA_ROOT", "/dev/null"},
			[]string{`"email":"tls@example.com"`, `"ca":"https://ca.example.com/acme/local/directory"`, `"trusted_roots_pem_files":["/dev/null"]`},
			nil, true,
		},
		{"its own authority", []string{"TLS", "internal"}, []string{`"module":"internal"`}, nil, false},
		{
			"trusted proxies",
			[]string{"TRUSTED_PROXIES", "10.0.0.0/8 private_ranges"},
			[]string{`"10.0.0.0/8"`, `"trusted_proxies_strict":1`},
			nil, false,
		},
		{
			"behind a proxy that does TLS",
			[]string{"SITE", "http://", "SITE_DIRECTIVES", "respond /edge 200", "TRUSTED_PROXIES", "10.0.0.0/8"},
			[]string{`"listen":[":80"]`, `"/edge"`},
			[]string{`"host"`},
			false,
		},
		{
			"another header of the trusted proxies",
			[]string{"GLOBAL_OPTIONS", "servers {\ntrusted_proxies static 192.0.2.0/24\ntrusted_proxies_strict\nclient_ip_headers CF-Connecting-IP\n}"},
			[]string{`"192.0.2.0/24"`, `"client_ip_headers":["CF-Connecting-IP"]`},
			[]string{`"max_header_bytes"`},
			false,
		},
		{"metrics", []string{"METRICS_ADDRESS", ":9180"}, []string{`"listen":[":9180"]`, `"handler":"metrics"`}, nil, false},
		{"level and grace", []string{"LOG_LEVEL", "debug", "GRACE_PERIOD", "1m"}, []string{`"level":"debug"`, `"grace_period":60000000000`}, nil, false},
		{
			"several sites, TLS to the nodes",
			[]string{"SITE", "graph.example.com, http://10.0.0.1:8080", "TIGERGRAPH_NODES", "https://m1 https://m2:443"},
			[]string{`"graph.example.com"`, `":8080"`, `"dial":"m1:14240"`, `"dial":"m2:443"`, `"tls":{}`},
			nil, false,
		},
		{
			"nodes on one machine",
			[]string{"TIGERGRAPH_NODES", "localhost:22151-22152 M2"},
			[]string{`"dial":"localhost:22151"`, `"dial":"localhost:22152"`, `"dial":"m2:14240"`},
			nil, false,
		},
		{
			"more of everything",
			[]string{
				"GLOBAL_OPTIONS", "admin off\nshutdown_delay 5s", "TIGERGRAPH_OPTIONS", "slow_start 1m\nweight m1 2",
				"SITE_DIRECTIVES", "respond /hello world",
			},
			[]string{`"shutdown_delay":5000000000`, `"slow_start":60000000000`, `"weights":{"m1:14240":2}`, `"world"`, `"max_header_bytes":65536`, `"read_idle_timeout":3600000000000`},
			nil, false,
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			config, warnings, err := adaptImage(t, append([]string{"SITE", "graph.example.com", "TIGERGRAPH_NODES", "m1 m2 m3"}, test.variables...)...)
			if err != nil {
				t.Fatal(err)
			}
			if len(warnings) > 0 {
				t.Errorf("warnings: %v", warnings)
			}
			compact := strings.Join(strings.Fields(config), "")
			for _, want := range test.contains {
				if !strings.Contains(compact, want) {
					t.Errorf("%s is not in\n%s", want, config)
				}
			}
			for _, surplus := range test.lacksAnyOf {
				if strings.Contains(compact, surplus) {
					t.Errorf("%s is in\n%s", surplus, config)
				}
			}
			if !test.notValidate {
				validate(t, config)
			}
		})
	}
}

func TestTheImageNamesTheVariableThatIsWrong(t *testing.T) {
	for _, test := range [][]string{ // the variable, its value, what is said of it
		{"SITE", "", "SITE is not set: it must be the name of the site, such as graph.example.com"},
		{"SITE", " ", "SITE is wrong: there is nothing but blanks in it"},
		{"SITE", "graph.example.com {", `SITE is wrong: "{" does not belong in '{'`},
		{"SITE", "a.com\nb.com", "SITE is wrong: write it on one line"},
		{"SITE", "https://graph.example.com/studio", "'https://graph.example.com/studio' must have no path"},
		{"SITE", "ftp://graph.example.com", "the scheme must be http or https"},
		{"SITE", "graph..example.com", "'graph..example.com' is no host name"},
		{"SITE", "graph.example.com:https!", "invalid port"},
		{"TIGERGRAPH_NODES", "", `TIGERGRAPH_NODES is not set: it must be the nodes, such as "m1 m2 m3"`},
		{"TIGERGRAPH_NODES", "m1,m2,m3", `TIGERGRAPH_NODES is wrong: separate the nodes by blanks, as in "m1 m2 m3"`},
		{"TIGERGRAPH_NODES", "m1 m2 m1", "TIGERGRAPH_NODES is wrong: node 'm1' is already specified"},
		{"TIGERGRAPH_NODES", "m1 https://m2", "TIGERGRAPH_NODES is wrong: node 'https://m2:14240' is dialled in another way"},
		{"TIGERGRAPH_NODES", "m1:99999", "TIGERGRAPH_NODES is wrong: node 'm1:99999' has no valid port"},
		{"TIGERGRAPH_NODES", "m1 <<m2", `TIGERGRAPH_NODES is wrong: "<<" does not belong in '<<m2'`},
		{"TIGERGRAPH_NODES", "m1 m\xff", `TIGERGRAPH_NODES is wrong: "\xff" does not belong in`},
		{"TIGERGRAPH_NODES", "m1/gsql", "TIGERGRAPH_NODES is wrong: node 'm1/gsql' must have no path: write 'm1'"},
		{"TIGERGRAPH_NODES", "m$i", "TIGERGRAPH_NODES is wrong: 'm$i' holds a variable that nothing has expanded"},
		{"COOKIE_KEY", "short", "COOKIE_KEY is wrong: it has 5 characters, and must have at least 16"},
		{"COOKIE_KEY", "{file./run/secrets/k}", "COOKIE_KEY is wrong: it must be the key itself"},
		{"COOKIE_KEY", "0123456789abcdef{env.MORE}", "COOKIE_KEY is wrong: it must be the key itself"},
		{"COOKIE_KEY", "$(openssl rand -hex 32)", "COOKIE_KEY is wrong: it must be the key itself"},
		{"COOKIE_KEY", "${EDGE_COOKIE_KEY}", "COOKIE_KEY is wrong: it must be the key itself"},
		{"TIGERGRAPH_NODES", "M1 m1", "TIGERGRAPH_NODES is wrong: node 'm1' is already specified"},
		{"TIGERGRAPH_NODES", "m1:0", "a number from 1 to 65535"},
		{"TIGERGRAPH_NODES", "user:word@m1,m2", "TIGERGRAPH_NODES is wrong: the address of a node must have no credentials"},
		{"PREVIOUS_COOKIE_KEY", "fedcba9876543210", "PREVIOUS_COOKIE_KEY is wrong: it needs COOKIE_KEY, which is not set"},
		{"ACME_EMAIL", "nobody", "ACME_EMAIL is wrong: 'nobody' is no e-mail address"},
		{"ACME_CA", "letsencrypt", "ACME_CA is wrong: 'letsencrypt' is no URL"},
		{"ACME_CA_ROOT", "/nonesuch.pem", "ACME_CA_ROOT is wrong: open /nonesuch.pem"},
		{"TLS", "off", "TLS is wrong: it must be 'internal', or a certificate's file and its key's"},
		{"TLS", "cert.pem key.pem", "'cert.pem' must be a whole path"},
		{"TRUSTED_PROXIES", "10.0.0.0/33", "TRUSTED_PROXIES is wrong: '10.0.0.0/33' is no range"},
		{"TRUSTED_PROXIES", "10.0.0.0/8,::1", "TRUSTED_PROXIES is wrong: separate the ranges by blanks"},
		{"METRICS_ADDRESS", "9180", "METRICS_ADDRESS is wrong: '9180' must be a port alone, such as :9180"},
		{"METRICS_ADDRESS", "127.0.0.1:9180", "METRICS_ADDRESS is wrong: '127.0.0.1:9180' must be a port alone, such as :9180"},
		{"METRICS_ADDRESS", "0.0.0.0:9180", "METRICS_ADDRESS is wrong: '0.0.0.0:9180' must be a port alone, such as :9180"},
		{"METRICS_ADDRESS", ":99999", "METRICS_ADDRESS is wrong: ':99999' must be a port alone, such as :9180"},
		{"LOG_LEVEL", "loud", "LOG_LEVEL is wrong: 'loud' is none of DEBUG, INFO, WARN, ERROR"},
		{"GRACE_PERIOD", "soon", "GRACE_PERIOD is wrong: 'soon' is no duration"},
	} {
		t.Run(test[0]+"="+test[1], func(t *testing.T) {
			_, _, err := adaptImage(t, "SITE", "graph.example.com", "TIGERGRAPH_NODES", "m1 m2 m3", test[0], test[1])
			if err == nil || !strings.Contains(err.Error(), "the environment variable "+test[0]+" is ") || !strings.Contains(err.Error(), test[2]) {
				t.Fatalf("got %v, want %s", err, test[2])
			}
			if (strings.Contains(test[0], "KEY") || strings.Contains(test[1], "@")) && strings.Contains(err.Error(), test[1]) {
				t.Errorf("the key is in the message: %v", err)
			}
		})
	}
}

func TestTheImagesVariablesAreThoseOfItsCaddyfile(t *testing.T) {
	content, err := os.ReadFile("deploy/docker/Caddyfile")
	if err != nil {
		t.Fatal(err)
	}
	if string(caddyfile.Format(content)) != string(content) {
		t.Error("caddy fmt would change deploy/docker/Caddyfile")
	}
	var found []string
	for _, placeholder := range strings.Split(string(content), "{$")[1:] {
		name := placeholder[:strings.IndexAny(placeholder, ":?}")]
		if !slices.Contains(found, name) {
			found = append(found, name)
		}
	}
	slices.Sort(found)
	if want := slices.Sorted(slices.Values(imageVariables)); !slices.Equal(found, want) {
		t.Errorf("the Caddyfile has %v, tested are %v", found, want)
	}
}
