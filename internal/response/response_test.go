package response

import (
	"maps"
	"net/http"
	"slices"
	"testing"
)

func TestSecureCompletesCookiesAndNothingElse(t *testing.T) {
	for value, want := range map[string]string{
		"TigerGraphApp=1; Path=/; SameSite=None": "TigerGraphApp=1; Path=/; SameSite=None; Secure",
		"TigerGraphApp=1":                        "TigerGraphApp=1; Secure",
		"TigerGraphApp=":                         "TigerGraphApp=; Secure",
		"TigerGraphApp=1; ":                      "TigerGraphApp=1; Secure",
		"TigerGraphApp=1;Secure;Path=/":          "TigerGraphApp=1;Secure;Path=/",
		"TigerGraphApp=1; secure":                "TigerGraphApp=1; secure",
		"Secure=1; Path=/":                       "Secure=1; Path=/; Secure",
		"a=Secure":                               "a=Secure; Secure",
		`{"sessionId":"1","auth":"Basic eA=="}`:  `{"sessionId":"1","auth":"Basic eA=="}`,
		`{"a":1}; Secure=x`:                      `{"a":1}; Secure=x`,
		"no cookie":                              "no cookie",
		"=1":                                     "=1",
		"":                                       "",
	} {
		values := []string{value}
		if Secure(values); values[0] != want {
			t.Errorf("Secure(%q) = %q, want %q", value, values[0], want)
		}
	}
}

func TestHasFindsACookieByItsWholeName(t *testing.T) {
	cookies := []string{"a=1; b=2", "TigerGraphNode=x; Path=/", "spaced =1", "=nameless=1"}
	for name, want := range map[string]bool{"a": true, "spaced": true, "nameless": true, "TigerGraphNode": true, "b": false, "TigerGraph": false, "TigerGraphNodes": false} {
		if Has(cookies, name) != want {
			t.Errorf("Has(%q) = %v", name, !want)
		}
	}
}

func TestPrivateKeepsSharedCachesOut(t *testing.T) {
	for _, test := range []struct {
		method       string
		before, want []string
	}{
		{"GET", nil, []string{"private"}},
		{"HEAD", nil, []string{"private"}},
		{"POST", nil, nil},
		{"GET", []string{""}, []string{"private"}},
		{"GET", []string{"max-age=60"}, []string{"private, max-age=60"}},
		{"POST", []string{"max-age=60"}, []string{"private, max-age=60"}},
		{"GET", []string{"public, max-age=60"}, []string{"private, max-age=60"}},
		{"GET", []string{"Public"}, []string{"private"}},
		{"GET", []string{"public", "max-age=60"}, []string{"private, max-age=60"}},
		{"GET", []string{"no-cache"}, []string{"private, no-cache"}},
		{"GET", []string{"no-cache,no-store"}, []string{"no-cache,no-store"}},
		{"GET", []string{"max-age=1", "Private"}, []string{"max-age=1", "Private"}},
		{"GET", []string{`private="set-cookie", max-age=1`}, []string{`private, private="set-cookie", max-age=1`}},
		{"GET", []string{`ext="public, x", max-age=1`}, []string{`private, ext="public, x", max-age=1`}},
	} {
		header := make(http.Header)
		if test.before != nil {
			header["Cache-Control"] = test.before
		}
		if Private(header, test.method); !slices.Equal(header["Cache-Control"], test.want) {
			t.Errorf("%s %q became %q, want %q", test.method, test.before, header["Cache-Control"], test.want)
		}
	}
	header := http.Header{"Expires": {"Thu, 01 Jan 2099 00:00:00 GMT"}}
	if Private(header, http.MethodPost); header.Get("Cache-Control") != "private" {
		t.Errorf("with Expires: %q", header)
	}
}

func TestRenameKeepsValuesAndOrder(t *testing.T) {
	header := http.Header{"Set-Gsql-Cookie": {"a", "b"}, "X": {"c"}}
	Rename(header, "Set-Gsql-Cookie", "Set-GSQL-Cookie")
	Rename(header, "Y", "y")
	want := http.Header{"Set-GSQL-Cookie": {"a", "b"}, "X": {"c"}}
	if !maps.EqualFunc(header, want, slices.Equal) {
		t.Errorf("%q, want %q", header, want)
	}
}

func TestSplitTellsANodesFieldsFromTheSites(t *testing.T) {
	header := http.Header{"X-Site": {"1"}, "Link": {"</site.css>"}, "Date": nil, "Set-Cookie": {"site=1"}}
	for i := range 20 {
		header[http.CanonicalHeaderKey("x-more-"+string(rune('a'+i)))] = []string{"1"}
	}
	want := maps.Clone(header)
	want["Set-Cookie"] = []string{"site=1", "ours=1", "ours=forged"}
	var before Before
	before.Note(header)
	header.Add("Set-Cookie", "ours=1")
	header.Add("Set-Cookie", "node=1")
	header.Add("Set-Cookie", "ours=forged")
	header.Add("Link", "</node.css>")
	header.Add("X-Node", "1")
	final := before.Split(header, func(cookie string) bool { return cookie[:5] == "ours=" })
	if !maps.EqualFunc(final, want, slices.Equal) {
		t.Errorf("the final header: %v", final)
	}
	said := http.Header{"Set-Cookie": {"node=1"}, "Link": {"</node.css>"}, "X-Node": {"1"}}
	if !maps.EqualFunc(header, said, slices.Equal) {
		t.Errorf("the informational header: %v", header)
	}
	if final.Add("Link", "</more.css>"); header.Get("Link") != "</node.css>" {
		t.Error("the two share their values")
	}
}

func TestOnlyWhatWasLeftIsTakenBack(t *testing.T) {
	for _, test := range []struct{ before, after []string }{{[]string{"2"}, nil}, {[]string{"3"}, []string{"3"}}, {[]string{"2", "2"}, []string{"2", "2"}}} {
		header := http.Header{"Retry-After": test.before}
		if TakeBack(header, "Retry-After", "2"); !slices.Equal(header["Retry-After"], test.after) {
			t.Errorf("%q became %q", test.before, header["Retry-After"])
		}
	}
}
