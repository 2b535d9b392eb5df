package service

import (
	pathpkg "path"
	"strings"
	"testing"
)

func TestOfRoutesByTheCleanedPath(t *testing.T) {
	for path, want := range map[string]Service{
		"/restpp":                     RESTPP,
		"/restpp/":                    RESTPP,
		"/restpp/echo":                RESTPP,
		"/restpp/query/g/q":           RESTPP,
		"/gsqlserver":                 GSQL,
		"/gsqlserver/gsql/login":      GSQL,
		"/gsql/v1":                    GSQL,
		"/gsql/v1/":                   GSQL,
		"/gsql/v1/schema":             GSQL,
		"/gsql/scim/v2/Users":         GSQL,
		"/":                           GUI,
		"":                            GUI,
		"*":                           GUI,
		"/api/ping":                   GUI,
		"/api/restpp/query/g/q":       GUI,
		"/api/gsql-server/gsql/v1":    GUI,
		"/studio/":                    GUI,
		"/gsql/":                      GUI,
		"/gsql/v10/schema":            GUI,
		"/restpp2/echo":               GUI,
		"/restppx":                    GUI,
		"/informant/metrics":          GUI,
		"/RESTPP/echo":                GUI,
		"/GSQLServer/gsql/login":      GUI,
		"//restpp//echo":              RESTPP,
		"/./restpp/echo":              RESTPP,
		"/api/../restpp/echo":         RESTPP,
		"/api/..//gsqlserver///gsql":  GSQL,
		"/restpp/../api/ping":         GUI,
		"/restpp/..":                  GUI,
		"/../../restpp":               RESTPP,
		"/gsql/./v1/schema":           GSQL,
		"/gsql//v1":                   GSQL,
		"/restpp/.hidden":             RESTPP,
		"/.restpp":                    GUI,
		"restpp/echo":                 RESTPP,
		"/restpp;x=1/echo":            GUI,
		"/restpp\\echo":               GUI,
		"/restpp/a b\x00\xff":         RESTPP,
		"/gsql/v1/../../api/ping":     GUI,
		"/a/b/c/../../../gsqlserver/": GSQL,
	} {
		if got := Of(path); got != want {
			t.Errorf("Of(%q) = %v, want %v", path, got, want)
		}
	}
}

func TestOfAllocatesNothingForOrdinaryPaths(t *testing.T) {
	allocations := testing.AllocsPerRun(100, func() {
		if Of("/restpp/query/g/q") != RESTPP || Of("/api/ping") != GUI {
			t.Fatal("wrong service")
		}
	})
	if allocations != 0 {
		t.Errorf("%v allocations, want 0", allocations)
	}
}

func FuzzOf(f *testing.F) {
	for _, seed := range []string{"", "/", "/restpp/../gsqlserver", "//", "/gsql/v1/%2e"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, path string) {
		want := GUI
		cleaned := pathpkg.Clean("/" + path)
		for _, prefix := range prefixes {
			if cleaned == prefix.path || strings.HasPrefix(cleaned, prefix.path+"/") {
				want = prefix.service
			}
		}
		if got := Of(path); got != want {
			t.Errorf("Of(%q) = %v, want %v", path, got, want)
		}
	})
}
