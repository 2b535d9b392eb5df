package options

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/spelling"
)

// OfPolicy are the options of 'lb_policy tigergraph', for those who misspell one.
var OfPolicy = []string{
	"affinity", "cookie", "ipv4_prefix", "ipv6_prefix", "fallback", "failback", "weight", "spread", "cluster", "standby",
	"standby_reads", "backup", "drain", "slow_start", "fail_closed", "health_check",
}

// Hint says what may have been meant by a word that is no option of the directive.
func Hint(word string) string {
	return spelling.Hint(word, OfPolicy, "expected an option of 'lb_policy tigergraph' or a subdirective of reverse_proxy")
}

// noes are other words for "off", and slips of it.
var noes = []string{"of", "offf", "false", "no", "none", "disable", "disabled"}

// Check reads the name of a health check, "services" if there is none. It is one of
// these, which modules have, or "off".
func Check(w Words, names []string) (string, error) {
	if !w.NextArg() {
		return "services", nil
	}
	name := w.Val()
	switch {
	case slices.Contains(names, name), name == "off":
		return name, nil
	case slices.Contains(noes, strings.ToLower(name)):
		return "", fmt.Errorf("health_check: there is no check named '%s': write 'off' to have none", name)
	}
	expected := "expected " + strings.Join(append(slices.Clone(names), "off"), " or ")
	return "", fmt.Errorf("health_check: there is no check named '%s': %s", name, spelling.Hint(name, names, expected))
}

// Fallback reads the name of the policy that stands in for the hash.
func Fallback(w Words) (string, error) {
	if !w.NextArg() {
		return "", errors.New("fallback needs the name of a selection policy")
	}
	return w.Val(), nil
}
