package tigergraph

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"os"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

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
//   - {$NAME?} is "set" or "unset": a snippet can be imported by it;
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
		err = blameLines(err, func(name string) error { return adaptWithout(name, body, options) })
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
	"COOKIE_KEY":          {Check: checkCookieKey},
	"PREVIOUS_COOKIE_KEY": {Check: checkCookieKey, Needs: "COOKIE_KEY"},
	"ACME_EMAIL":          {Check: checkEmail},
	"ACME_CA":             {Check: checkURL},
	"ACME_CA_ROOT":        {Check: checkFiles(1)},
	"TLS":                 {Check: checkTLS},
	"TRUSTED_PROXIES":     {Check: checkRanges},
	"METRICS_ADDRESS":     {Check: checkInternalPort},
	"LOG_LEVEL":           {Check: checkLogLevel},
	"GRACE_PERIOD":        {Check: checkDuration},

	"COOKIE_KEY_FILE":          {Check: checkCookieKeyFile},
	"PREVIOUS_COOKIE_KEY_FILE": {Check: checkKeyFile, Needs: "COOKIE_KEY_FILE"},
	"STATUS_ADDRESS":           {Check: checkStatusPort},
	"ERROR_PAGE":               {Check: checkFiles(1)},
	"CADDY_ADMIN":              {Check: checkAdmin},
}

// checkWord refuses what would be more than one word of a Caddyfile.
func checkWord(value string) error {
	if i := strings.IndexFunc(value, func(r rune) bool { return r <= ' ' || r == utf8.RuneError || strings.ContainsRune("{}\"`\\#", r) }); i >= 0 {
		return fmt.Errorf("%q does not belong in '%s'", value[i:i+1], value)
	}
	if strings.HasPrefix(value, "<<") { // which begins a text of several lines
		return fmt.Errorf("%q does not belong in '%s'", "<<", value)
	}
	return nil
}

// words splits a list. What separates them is the check's affair, for Caddy gets
// the list as it is.
func words(value string) ([]string, error) {
	list := strings.Fields(value)
	if len(list) == 0 {
		return nil, errors.New("there is nothing but blanks in it")
	}
	if strings.ContainsAny(value, "\r\n") {
		return nil, errors.New("write it on one line")
	}
	for _, word := range list {
		if err := checkWord(word); err != nil {
			return nil, err
		}
	}
	return list, nil
}

// hostName is a name as a site can have one, with a wildcard or without.
var hostName = regexp.MustCompile(`^(\*\.)?[\pL\pN_]([\pL\pN_-]*[\pL\pN_])?(\.[\pL\pN_]([\pL\pN_-]*[\pL\pN_])?)*$`)

func checkSite(value string) error {
	list, err := words(strings.ReplaceAll(value, ",", " "))
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
		if _, err := netip.ParseAddr(host); host != "" && err != nil && !hostName.MatchString(host) {
			return fmt.Errorf("'%s' is no host name", site)
		}
		if _, err := net.LookupPort("tcp", orDefault(address.Port, "443")); err != nil {
			return fmt.Errorf("'%s': '%s' is no port", site, address.Port)
		}
	}
	return nil
}

func checkNodeList(value string) error {
	if strings.ContainsAny(value, ",;") && !strings.Contains(value, "@") { // whose error shows no credentials
		return errors.New("separate the nodes by blanks, as in \"m1 m2 m3\"")
	}
	list, err := words(value)
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

func checkCookieKey(value string) error {
	if looksLikePlaceholder(value) {
		return errors.New("it must be the key itself, for a placeholder in it is not expanded; to read the key from a file, write 'cookie { secret {file.<path>} }' into TIGERGRAPH_OPTIONS")
	}
	if len(value) < shortestKey {
		return fmt.Errorf("it has %d characters, and must have at least %d; make one with 'openssl rand -hex 32'", len(value), shortestKey)
	}
	return nil
}

func checkEmail(value string) error {
	if err := checkWord(value); err != nil {
		return err
	}
	if before, after, found := strings.Cut(value, "@"); !found || before == "" || after == "" {
		return fmt.Errorf("'%s' is no e-mail address", value)
	}
	return nil
}

func checkURL(value string) error {
	if err := checkWord(value); err != nil {
		return err
	}
	address, err := url.Parse(value)
	if err != nil || address.Scheme != "https" && address.Scheme != "http" || address.Host == "" {
		return fmt.Errorf("'%s' is no URL", value)
	}
	return nil
}

// checkFiles returns a check for so many readable files.
func checkFiles(count int) func(value string) error {
	return func(value string) error {
		list, err := words(value)
		if err != nil {
			return err
		}
		if len(list) != count {
			return fmt.Errorf("it must name %d file(s), not %d", count, len(list))
		}
		for _, file := range list {
			if !path.IsAbs(file) {
				return fmt.Errorf("'%s' must be a whole path, from / on", file)
			}
			if _, err := os.ReadFile(file); err != nil { //nolint:gosec // the administrator names it
				return err
			}
		}
		return nil
	}
}

func checkTLS(value string) error {
	if value == "internal" {
		return nil
	}
	if err := checkFiles(2)(value); err != nil {
		return fmt.Errorf("it must be 'internal', or a certificate's file and its key's: %w", err)
	}
	return nil
}

func checkRanges(value string) error {
	if strings.Contains(value, ",") {
		return errors.New("separate the ranges by blanks")
	}
	list, err := words(value)
	if err != nil {
		return err
	}
	for _, one := range list {
		_, prefixErr := netip.ParsePrefix(one)
		_, addressErr := netip.ParseAddr(one)
		if one != "private_ranges" && prefixErr != nil && addressErr != nil {
			return fmt.Errorf("'%s' is no range: expected one such as 10.0.0.0/8, or private_ranges", one)
		}
	}
	return nil
}

// checkPort refuses a host: in the address of a site it is no address to listen on,
// but the one host that is answered.
func checkPort(value string) error {
	port, found := strings.CutPrefix(value, ":")
	if number, err := strconv.ParseUint(port, 10, 16); !found || err != nil || number == 0 {
		return fmt.Errorf("'%s' must be a port alone, such as :9180", value)
	}
	return nil
}

func checkLogLevel(value string) error {
	levels := []string{"DEBUG", "INFO", "WARN", "ERROR"}
	if !slices.Contains(levels, strings.ToUpper(value)) {
		return fmt.Errorf("'%s' is none of %s", value, strings.Join(levels, ", "))
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
