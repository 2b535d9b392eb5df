package tigergraph

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/environment"
)

func init() {
	caddyconfig.RegisterAdapter("tigergraph", adapter{})
}

// adapter is a Caddyfile adapter for configurations that come out of environment
// variables, as that of the Docker image does: deploy/docker/Caddyfile. It differs
// from Caddy's own in these:
//
//   - a {$NAME} without a default is an error that names the variable if that is
//     not set, or empty;
//   - {$NAME:default} is the default for an empty variable too;
//   - {$NAME?} is "set" or "unset", {$NAME?word} "set" if a line begins with the word;
//   - the values of variables that the image knows are checked.
type adapter struct{}

// Adapt implements caddyconfig.Adapter.
func (adapter) Adapt(body []byte, options map[string]any) ([]byte, []caddyconfig.Warning, error) {
	expanded, err := environment.Expand(body, os.LookupEnv, environmentVariables)
	if err != nil {
		return nil, nil, err
	}
	config, warnings, err := caddyconfig.GetAdapter("caddyfile").Adapt(expanded, options)
	if err != nil {
		err = environment.BlameLines(err, func(name string) error { return adaptWithout(name, body, options) })
	}
	// What became of the file is not what its author has formatted.
	warnings = slices.DeleteFunc(warnings, func(w caddyconfig.Warning) bool { return strings.Contains(w.Message, "not formatted") })
	return config, warnings, err
}

// adaptWithout tells what would be wrong if a variable were not set.
func adaptWithout(unset string, body []byte, options map[string]any) error {
	expanded, err := environment.Expand(body, func(name string) (string, bool) {
		if name == unset {
			return "", false
		}
		return os.LookupEnv(name)
	}, environmentVariables)
	if err != nil {
		return err
	}
	_, _, err = caddyconfig.GetAdapter("caddyfile").Adapt(expanded, options)
	return err
}

// environmentVariables are those of the Docker image.
var environmentVariables = map[string]environment.Variable{
	"SITE":                {Hint: "the name of the site, such as graph.example.com", Check: checkSite},
	"TIGERGRAPH_NODES":    {Hint: "the nodes, such as \"m1 m2 m3\"", Check: checkNodeList},
	"COOKIE_KEY":          {Check: environment.CheckKey},
	"PREVIOUS_COOKIE_KEY": {Check: environment.CheckKey, Needs: "COOKIE_KEY"},
	"ACME_EMAIL":          {Check: environment.CheckEmail},
	"ACME_CA":             {Check: environment.CheckURL},
	"ACME_CA_ROOT":        {Check: environment.CheckFiles(1)},
	"TLS":                 {Check: environment.CheckTLS},
	"TRUSTED_PROXIES":     {Check: environment.CheckRanges},
	"METRICS_ADDRESS":     {Check: checkInternalPort},
	"LOG_LEVEL":           {Check: environment.CheckLogLevel},
	"GRACE_PERIOD":        {Check: checkDuration},

	"COOKIE_KEY_FILE":          {Check: environment.CheckOnlyKeyFile},
	"PREVIOUS_COOKIE_KEY_FILE": {Check: environment.CheckKeyFile, Needs: "COOKIE_KEY_FILE"},
	"STATUS_ADDRESS":           {Check: checkStatusPort},
	"ERROR_PAGE":               {Check: environment.CheckFiles(1)},
	"CADDY_ADMIN":              {Check: checkAdmin},
}

func checkSite(value string) error {
	list, err := environment.Words(strings.ReplaceAll(value, ",", " "))
	if err != nil {
		return err
	}
	for _, site := range list {
		address, err := httpcaddyfile.ParseAddress(site)
		if err != nil {
			return fmt.Errorf("'%s': %w", site, err)
		}
		if address.Scheme != "" && address.Scheme != "http" && address.Scheme != "https" {
			return fmt.Errorf("'%s': the scheme must be http or https", site)
		}
		if address.Path != "" {
			return fmt.Errorf("'%s' must have no path", site)
		}
		host := strings.Trim(address.Host, "[]")
		if _, err := netip.ParseAddr(host); host != "" && err != nil && !environment.IsHostName(host) {
			return fmt.Errorf("'%s' is no host name", site)
		}
		if _, err := net.LookupPort("tcp", cmp.Or(address.Port, "443")); err != nil {
			return fmt.Errorf("'%s': '%s' is no port", site, address.Port)
		}
	}
	return nil
}

func checkNodeList(value string) error {
	if strings.ContainsAny(value, ",;") && !strings.Contains(value, "@") { // whose error shows no credentials
		return errors.New("separate the nodes by blanks, as in \"m1 m2 m3\"")
	}
	list, err := environment.Words(value)
	if err != nil {
		return err
	}
	var nodes directive
	for _, node := range list {
		if strings.ContainsRune(node, '$') {
			return fmt.Errorf("'%s' holds a variable that nothing has expanded", node)
		}
		if _, err := nodes.addNode(caddyfile.Token{Text: node}); err != nil {
			return err
		}
	}
	return nil
}

func checkDuration(value string) error {
	duration, err := caddy.ParseDuration(value)
	if err != nil || duration <= 0 {
		return fmt.Errorf("'%s' is no duration, such as 30s", value)
	}
	return nil
}
