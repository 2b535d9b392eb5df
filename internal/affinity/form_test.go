package affinity

import (
	"net/http"
	"strings"
	"testing"
	"time"
)

func TestACookieCoversWhatIsBelowItsPath(t *testing.T) {
	for _, test := range []struct {
		cookie, path string
		want         bool
	}{
		{"/", "/anything", true},
		{"/", "*", true},
		{"/graph", "/graph", true},
		{"/graph", "/graph/studio", true},
		{"/graph/", "/graph/studio", true},
		{"/graph", "/graphs", false},
		{"/graph/", "/graph", false},
		{"/graph", "/", false},
	} {
		form := Form{Plain: http.Cookie{Path: test.cookie}}
		if got := form.Covers(test.path); got != test.want {
			t.Errorf("a cookie of %s covers %s: %t", test.cookie, test.path, got)
		}
	}
}

func TestAPersistentCookieLastsToTheEndOfTheNextEpoch(t *testing.T) {
	const line = "n=v; Path=/; HttpOnly; Secure"
	now := time.Unix(90, 0)
	form := Form{Lifetime: time.Minute}
	if got := form.Lasting(line, Epoch(now, form.Lifetime), now); got != line {
		t.Errorf("a session's cookie is %q", got)
	}
	form.Persistent = true
	if got := form.Lasting(line, Epoch(now, form.Lifetime), now); got != "n=v; Path=/; Max-Age=90; HttpOnly; Secure" {
		t.Errorf("a persistent one is %q", got)
	}
}

func TestStaleCookiesAreThoseOfOtherSettings(t *testing.T) {
	form := Form{Plain: http.Cookie{Name: "n", Path: "/"}, Secure: http.Cookie{Name: "n", Path: "/", Secure: true}}
	for _, secure := range []bool{false, true} {
		lines := form.Stale("www.example.com", "/graph/studio", secure)
		if len(lines) == 0 {
			t.Fatal("there are none")
		}
		for _, line := range lines {
			if !strings.HasPrefix(line, "n=;") || strings.Contains(line, "Secure") != secure {
				t.Errorf("over TLS %t: %q", secure, line)
			}
		}
	}
}
