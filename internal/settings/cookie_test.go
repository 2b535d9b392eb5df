package settings_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/settings"
)

func TestCookiesThatBrowsersWouldNotBearAreRefused(t *testing.T) {
	for _, test := range []struct {
		cookie settings.Cookie
		want   string
	}{
		{settings.Cookie{}, ""},
		{settings.Cookie{Name: "a b"}, "'a b' cannot be the name of a cookie"},
		{settings.Cookie{Domain: "a;b"}, "domain 'a;b' is not valid in a cookie"},
		{settings.Cookie{Path: "/;x"}, "path '/;x' is not valid in a cookie"},
		{settings.Cookie{Path: "graph"}, "path must begin with a slash, not 'graph'"},
		{settings.Cookie{Name: "__Host-node", Path: "/graph"}, "a cookie named '__Host-node' must have the path '/' and no domain"},
		{settings.Cookie{Name: "__Host-node", Path: "/"}, ""},
		{settings.Cookie{Lifetime: 10 * time.Millisecond}, "lifetime must be at least 1s, not 10ms"},
		{settings.Cookie{Lifetime: -time.Hour}, "lifetime must be at least 1s, not -1h0m0s"},
		{settings.Cookie{Secrets: []string{"a", ""}}, "secret must not be empty"},
		{settings.Cookie{SameSite: "both"}, "same_site must be 'lax', 'strict' or 'none', not 'both'"},
	} {
		if got := said(test.cookie.Check()); got != test.want {
			t.Errorf("%+v: %q, want %q", test.cookie, got, test.want)
		}
	}
}

func TestTheFormOfACookie(t *testing.T) {
	for _, test := range []struct {
		cookie        settings.Cookie
		plain, secure string
	}{
		{settings.Cookie{}, "TigerGraphNode=v; Path=/; HttpOnly; SameSite=Lax", "TigerGraphNode=v; Path=/; HttpOnly; Secure; SameSite=None"},
		{settings.Cookie{SameSite: "lax"}, "TigerGraphNode=v; Path=/; HttpOnly; SameSite=Lax", "TigerGraphNode=v; Path=/; HttpOnly; Secure; SameSite=Lax"},
		{settings.Cookie{SameSite: "strict"}, "TigerGraphNode=v; Path=/; HttpOnly; SameSite=Strict", "TigerGraphNode=v; Path=/; HttpOnly; Secure; SameSite=Strict"},
		{settings.Cookie{SameSite: "none"}, "TigerGraphNode=v; Path=/; HttpOnly; SameSite=Lax", "TigerGraphNode=v; Path=/; HttpOnly; Secure; SameSite=None"},
		{settings.Cookie{Name: "n", Path: "/graph", Domain: "example.com"}, "n=v; Path=/graph; Domain=example.com; HttpOnly; SameSite=Lax", "n=v; Path=/graph; Domain=example.com; HttpOnly; Secure; SameSite=None"},
	} {
		lines := test.cookie.Form().Lines("v")
		if lines.Line(false) != test.plain || lines.Line(true) != test.secure {
			t.Errorf("%+v: %q and %q", test.cookie, lines.Plain, lines.Secure)
		}
	}
	if lifetime := new(settings.Cookie).Form().Lifetime; lifetime != 24*time.Hour {
		t.Errorf("a lifetime of %s", lifetime)
	}
}

func TestSecretsAreExpandedAndNoErrorShowsOne(t *testing.T) {
	const secret = "hunter2-hunter2"
	expand := func(text string) (string, error) {
		switch {
		case strings.Contains(text, "{unset}"):
			return "", errors.New("unknown: " + text)
		case text == "{nested}":
			return " {env.KEY} ", nil
		}
		return strings.ReplaceAll(strings.ReplaceAll(text, "{key}", "k1"), "{empty}", ""), nil
	}
	for _, test := range []struct {
		secrets []string
		want    string
		refused string
	}{
		{secrets: nil},
		{secrets: []string{secret, "{key}"}, want: secret + " k1"},
		{secrets: []string{"{unset}"}, refused: "secret 1: unknown: {unset}"},
		{secrets: []string{secret, secret + "{unset}"}, refused: "secret 2 holds a placeholder that is unknown or empty"},
		{secrets: []string{"{empty}"}, refused: "secret 1: secret must not be empty"},
		{secrets: []string{"{nested}"}, refused: "secret 1 has a value that is a placeholder itself, which nothing expands: anybody could know it"},
	} {
		keys, err := settings.Keys(test.secrets, expand)
		var got []string
		for _, key := range keys {
			got = append(got, string(key))
		}
		if said(err) != test.refused || err == nil && !slices.Equal(got, strings.Fields(test.want)) {
			t.Errorf("%q: %q, %v", test.secrets, got, err)
		}
		if strings.Contains(said(err), secret) {
			t.Errorf("the error shows a secret: %v", err)
		}
	}
}
