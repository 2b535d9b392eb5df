package affinity

import "testing"

func TestWhetherABrowserShowsTheCookiesOfTwoSites(t *testing.T) {
	site := func(host, domain, path string) Scope {
		s := Scope{Domain: domain, Path: path}
		if host != "" {
			s.Hosts = []string{host}
		}
		return s
	}
	for _, test := range []struct {
		name       string
		one, other Scope
		want       bool
	}{
		{"one host", site("a.test", "", "/"), site("A.test", "", "/"), true},
		{"two hosts", site("a.test", "", "/"), site("b.test", "", "/"), false},
		{"any host", site("a.test", "", "/"), site("", "", "/"), true},
		{"a wildcard", site("a.test", "", "/"), site("*.test", "", "/"), true},
		{"a wildcard for one label", site("a.b.test", "", "/"), site("*.test", "", "/"), false},
		{"two paths", site("a.test", "", "/a"), site("a.test", "", "/b"), false},
		{"a path within the other", site("a.test", "", "/"), site("a.test", "", "/b"), true},
		{"one below the other", site("a.test", "", "/b/c"), site("a.test", "", "/b"), true},
		{"paths that begin alike", site("a.test", "", "/bc"), site("a.test", "", "/b"), false},
		{"one domain", site("a.x.test", "x.test", "/"), site("b.x.test", "x.test", "/"), true},
		{"the domain of one", site("a.x.test", "x.test", "/"), site("b.x.test", "", "/"), true},
		{"a domain elsewhere", site("a.x.test", "x.test", "/"), site("b.y.test", "", "/"), false},
		{"a name that ends alike", site("a.x.test", "x.test", "/"), site("ax.test", "", "/"), false},
		{"a domain for any host", site("a.x.test", "x.test", "/"), site("", "", "/"), true},
	} {
		if test.one.Meets(test.other) != test.want || test.other.Meets(test.one) != test.want {
			t.Errorf("%s: %+v, %+v: want %t", test.name, test.one, test.other, test.want)
		}
	}
}
