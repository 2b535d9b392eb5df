package response

import (
	"net/http"
	"slices"
	"strings"
	"testing"
)

// A node chooses what it answers. What is made of it is done once, and takes
// nothing away.
func FuzzHeader(f *testing.F) {
	for _, seed := range [][2]string{
		{"TigerGraphApp=1; Path=/", "public, max-age=60"},
		{"", ""},
		{"=;", ",,,"},
		{`{"a":"b; Secure"}`, "no-store"},
		{"a=b;secure;", "PUBLIC"},
		{"a=b; Secure=1", "private"},
		{"a\x00=b", "no-cache, public , x=\"public\""},
		{"a=b; Path=/; ;", "public"},
	} {
		f.Add(seed[0], seed[1], "GET")
	}
	f.Fuzz(func(t *testing.T, cookie, cache, method string) {
		cookies := []string{cookie}
		Secure(cookies)
		once := slices.Clone(cookies)
		if Secure(cookies); !slices.Equal(cookies, once) {
			t.Errorf("Set-Cookie %q became %q, and that %q", cookie, once, cookies)
		}
		if kept := strings.TrimRight(cookie, "; \t"); !strings.HasPrefix(once[0], kept) {
			t.Errorf("Set-Cookie %q became %q", cookie, once)
		}
		if once[0] != cookie && !isSecure(once[0]) {
			t.Errorf("Set-Cookie %q became %q, which is not Secure", cookie, once)
		}
		header := http.Header{"Cache-Control": {cache}}
		Private(header, method)
		first := slices.Clone(header["Cache-Control"])
		if Private(header, method); !slices.Equal(header["Cache-Control"], first) {
			t.Errorf("Cache-Control %q became %q, and that %q", cache, first, header["Cache-Control"])
		}
		has := func(directive string) bool {
			for part := range strings.SplitSeq(strings.Join(first, ","), ",") {
				if strings.EqualFold(strings.TrimSpace(part), directive) {
					return true
				}
			}
			return false
		}
		switch {
		case has("no-store"):
		case has("public") && !has("private"):
			t.Errorf("Cache-Control %q became %q, which is public", cache, first)
		case method == http.MethodGet && !has("private"):
			t.Errorf("Cache-Control %q became %q, which is not private", cache, first)
		}
	})
}
