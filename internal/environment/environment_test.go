package environment_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/environment"
)

var known = map[string]environment.Variable{
	"SITE": {Hint: "a name", Check: func(value string) error {
		if strings.Contains(value, " ") {
			return errors.New("there is a blank in it")
		}
		return nil
	}},
	"OLD_KEY": {Needs: "KEY"},
}

func expand(caddyfile string, variables map[string]string) (string, error) {
	expanded, err := environment.Expand([]byte(caddyfile), func(name string) (string, bool) {
		value, found := variables[name]
		return value, found
	}, known)
	return string(expanded), err
}

func TestExpand(t *testing.T) {
	for _, test := range []struct {
		name, caddyfile string
		variables       map[string]string
		want            string
	}{
		{"no placeholder", "a.com {\n}\n", nil, "a.com {\n}\n"},
		{"what Caddy expands is left to it", "{$SITE} {$OTHER:b} {env.C}", map[string]string{"SITE": "a", "OTHER": "c"}, "{$SITE} {$OTHER:b} {env.C}"},
		{"default of a missing variable", "{$OTHER:b c}", nil, "b c"},
		{"default of an empty variable", "{$OTHER:b}", map[string]string{"OTHER": ""}, "b"},
		{"empty default", "[{$OTHER:}]", nil, "[]"},
		{"default with a colon", "{$OTHER::80}", nil, ":80"},
		{"set", "import key_{$KEY?}", map[string]string{"KEY": "secret"}, "import key_set"},
		{"unset", "import key_{$KEY?}", nil, "import key_unset"},
		{"empty is unset", "import key_{$KEY?}", map[string]string{"KEY": ""}, "import key_unset"},
		{"a line begins with the word", "import s_{$A?servers}", map[string]string{"A": "debug\n\tservers {\n}"}, "import s_set"},
		{"no line begins with the word", "import s_{$A?servers}", map[string]string{"A": "default_sni servers\nservers2 {\n}"}, "import s_unset"},
		{"not there, so that nothing begins with the word", "import s_{$A?servers}", nil, "import s_unset"},
		{"comments are left alone", "  # {$SITE} {$OTHER?}\na", nil, "  # {$SITE} {$OTHER?}\na"},
		{"another that is needed is there", "{$OLD_KEY?}", map[string]string{"OLD_KEY": "a", "KEY": "b"}, "set"},
		{"not there, and nothing needs the other", "{$OLD_KEY?}", nil, "unset"},
		{"two on a line", "{$A?} {$B?}", map[string]string{"B": "b"}, "unset set"},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := expand(test.caddyfile, test.variables)
			if err != nil || got != test.want {
				t.Errorf("got %q, %v; want %q", got, err, test.want)
			}
		})
	}
}

func TestExpandNamesEachWrongVariableOnce(t *testing.T) {
	for _, test := range []struct {
		name, caddyfile string
		variables       map[string]string
		want            string
	}{
		{"missing", "{$SITE} {$SITE}", nil, "the environment variable SITE is not set: it must be a name"},
		{"empty", "{$SITE}", map[string]string{"SITE": ""}, "the environment variable SITE is not set: it must be a name"},
		{"missing and unknown", "{$OTHER}", nil, "the environment variable OTHER is not set"},
		{"malformed", "{$SITE}\n{$SITE:x}", map[string]string{"SITE": "a b"}, "the environment variable SITE is wrong: there is a blank in it"},
		{"malformed where only its being set counts", "{$SITE?}", map[string]string{"SITE": "a b"}, "the environment variable SITE is wrong: there is a blank in it"},
		{
			"another that is needed is missing", "{$OLD_KEY?}",
			map[string]string{"OLD_KEY": "a", "KEY": ""},
			"the environment variable OLD_KEY is wrong: it needs KEY, which is not set",
		},
		{
			"several", "{$SITE}\n{$OTHER}", nil,
			"the environment variable SITE is not set: it must be a name\nthe environment variable OTHER is not set",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			if _, err := expand(test.caddyfile, test.variables); err == nil || err.Error() != test.want {
				t.Errorf("got %v, want %s", err, test.want)
			}
		})
	}
}
