package service

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
)

// get returns a request as Go's server hands it over.
func get(t testing.TB, method, target string, fields ...string) *http.Request {
	t.Helper()
	u, err := url.ParseRequestURI(target)
	if err != nil {
		t.Fatalf("%s: %v", target, err)
	}
	r := &http.Request{Method: method, URL: u, Header: make(http.Header)}
	for i := 0; i < len(fields); i += 2 {
		r.Header.Add(fields[i], fields[i+1])
	}
	return r
}

// The paths of the list; each may be read with GET and HEAD and nothing else.
var reads = strings.Fields(`
	/api/ping
	/ /index.html /main.js /main.mjs /style.css /main.js.map /favicon.ico /a.png /a.svg /a.jpg /a.gif
	/a.webp /a.woff /a.woff2 /a.ttf /a.wasm /assets/ /assets/img/x /assets/a/b.unknown
	/studio /studio/ /studio/home /studio/a/b /admin /admin/x /insights /insights/app/1 /graphql /graphql/x
	/gsql /gsql/ /gsql/main.js /gsql/assets/a.woff2 /gsql/v1.js /gsql/v10/x.js /gsql/scimitar.css
	/informant/metrics /ts3/api/datapoints /ts3/api/datapoints?from=1&what=cpu
	/restpp/echo /restpp/echo/ /restpp/echo?sleep=3 /restpp/version /restpp/endpoints
	/restpp/endpoints?builtin=true /restpp/endpoints/social /restpp/statistics/social?seconds=60
	/restpp/graph/social/vertices/person /restpp/graph/social/vertices/person/Tom
	/restpp/graph/social/vertices/person?filter=age>=30&limit=2 /restpp/graph/g/vertices/person/Tom(1)
	/restpp/graph/g/vertices/person/a.b-c_d~e$f&g+h,i:j=k@l /restpp/graph/g/vertices/person/...
	/restpp/graph/g/vertices/p/.hidden /restpp/graph/g/vertices/p/[1]!'*
	/restpp/graph/g/edges/person/Tom /restpp/graph/g/edges/person/Tom/friendship
	/restpp/graph/g/edges/person/Tom/friendship/person /restpp/graph/g/edges/person/Tom/friendship/person/Jerry
	/restpp/graph/g/edges/person/Tom/friendship/person/Jerry/2024
	/gsql/v1/version /gsql/v1/saml/meta /gsql/v1/privileges /gsql/v1/roles /gsql/v1/users /gsql/v1/groups
	/gsql/v1/data-sources /gsql/v1/packages /gsql/v1/users?graph=g
	/gsql/v1/schema /gsql/v1/schema?graph=social /gsql/v1/schema/vertices /gsql/v1/schema/vertices/person
	/gsql/v1/schema/edges /gsql/v1/schema/edges/e /gsql/v1/schema/indexes /gsql/v1/schema/indexes/i
	/gsql/v1/schema/graphs /gsql/v1/schema/graphs/g /gsql/v1/schema/jobs /gsql/v1/schema/jobs/j
	/gsql/v1/queries /gsql/v1/queries/info?graph=g&query=q /gsql/v1/queries/signature
	/gsql/v1/queries/install/1234 /gsql/v1/loading-jobs?graph=g /gsql/v1/loading-jobs/status
	/gsql/v1/loading-jobs/status/social.load.file.m1.1 /gsql/v1/statements/00000000006.317280417
	/gsql/scim/v2/Users /gsql/scim/v2/Users?filter=userName /gsql/scim/v2/Users/7 /gsql/scim/v2/Groups
	/gsql/scim/v2/Groups/dev
	/gsqlserver/gsql/version /gsqlserver/gsql/schema?graph=g /gsqlserver/gsql/queryinfo?graph=g&query=q
	/gsqlserver/gsql/saml/meta
	/restpp/version?action /restpp/version?actions=1 /restpp/version?act%69o=1
`)

func TestRepeatableAllowsTheReadsOfTheList(t *testing.T) {
	for _, target := range reads {
		for _, method := range []string{"GET", "HEAD"} {
			if !Repeatable(get(t, method, target)) {
				t.Errorf("Repeatable(%s %s) = false", method, target)
			}
		}
	}
}

func TestRepeatableAllowsNothingElse(t *testing.T) {
	for target := range strings.FieldsSeq(`
		/api /api/ /api/ping/ /api/pings /api/ping/x /api/auth/login /api/auth/oidc/callback?code=1
		/api/restpp/query/g/q /api/restpp/echo /api/gsql-server/gsql/v1/schema /api/ping.js /api/main.js
		/file /file.txt /file.js.exe /js /.jsx /main.JS /dir/main.js /main.js/ /assets /Assets/x
		/studiox /Studio /adminx /graphqlx /graphql.x
		/gsql/v1 /gsql/v1/ /gsql/v1/main.js /gsql/scim /gsql/scim/main.js /gsql/shell /gsql/v1x /gsqlx /gsqlx/a.js
		/informant /informant/ /informant/metrics/ /informant/current-service-status /ts3 /ts3/api/datapoint
		/restpp /restpp/ /restpp/echo/x /restpp/echo2 /restpp/version/ /restpp/endpoints/ /restpp/endpoints/g/x
		/restpp/statistics /restpp/statistics/ /restpp/statistics/g/x
		/restpp/query_status?requestid=1 /restpp/query_result?requestid=1 /restpp/showprocesslist
		/restpp/showprocesslistall /restpp/showprocesslist/g /restpp/showdelayedlistall
		/restpp/query/g/q /restpp/abortquery/g /restpp/rebuildnow /restpp/rebuildnow/g /restpp/requesttoken
		/restpp/deleted_vertex_check /restpp/data_consistency_check /restpp/my/endpoint /restpp/main.js
		/restpp/graph /restpp/graph/ /restpp/graph/g /restpp/graph/g/ /restpp/graph/g/vertices
		/restpp/graph/g/vertices/ /restpp/graph/g/vertices/t/ /restpp/graph/g/vertices/t/i/x
		/restpp/graph/g/edges /restpp/graph/g/edges/t /restpp/graph/g/edges/t/ /restpp/graph/g/edges/t/i/
		/restpp/graph/g/edges/t/i/e/t/i/d/x /restpp/graph/g/other/t /restpp/graph/vertices/t
		/gsql/v1/drop-all /gsql/v1/clear-store /gsql/v1/auth/simple /gsql/v1/auth /gsql/v1/tokens /gsql/v1/secrets
		/gsql/v1/version/ /gsql/v1/saml /gsql/v1/saml/meta/x /gsql/v1/users/x /gsql/v1/packages/x /gsql/v1/other
		/gsql/v1/schema/ /gsql/v1/schema/vertices/ /gsql/v1/schema/vertices/v/x /gsql/v1/schema/change
		/gsql/v1/schema/jobs/j/run
		/gsql/v1/queries/ /gsql/v1/queries/install /gsql/v1/queries/install/ /gsql/v1/queries/install/q
		/gsql/v1/queries/install/12a /gsql/v1/queries/install/12/x /gsql/v1/queries/myquery /gsql/v1/queries/info/x
		/gsql/v1/loading-jobs/ /gsql/v1/loading-jobs/abort /gsql/v1/loading-jobs/abort/x
		/gsql/v1/loading-jobs/resume/x /gsql/v1/loading-jobs/job /gsql/v1/loading-jobs/status/
		/gsql/v1/loading-jobs/status/a/b
		/gsql/v1/statements /gsql/v1/statements/ /gsql/v1/statements/abc /gsql/v1/statements/1.2/cancel
		/gsql/v1/statements/1.2/
		/gsql/scim/v2 /gsql/scim/v2/ /gsql/scim/v2/Users/ /gsql/scim/v2/Users/1/x /gsql/scim/v2/users
		/gsql/scim/v1/Users /gsql/scim/v2/Groups/ /gsql/scim/v2x/Users /gsql/scim/Users
		/gsqlserver /gsqlserver/ /gsqlserver/gsql /gsqlserver/gsql/ /gsqlserver/gsql/version/
		/gsqlserver/gsql/clear-store /gsqlserver/gsql/queries /gsqlserver/gsql/queries/install
		/gsqlserver/gsql/loading-jobs /gsqlserver/gsql/loading-jobs?action=start /gsqlserver/gsql/simpleauth
		/gsqlserver/gsql/interpreted_query /gsqlserver/gsql/login /gsqlserver/gsql/schema/x
		/gsqlserver/interpreted_query /gsqlserver/version /gsqlserver/gsql/main.js
		/RESTPP/echo /restpp/Echo /GSQL/v1/version
	`) {
		if r := get(t, "GET", target); Repeatable(r) {
			t.Errorf("Repeatable(GET %s) = true", target)
		}
	}
}

func TestRepeatableIsNotFooledByTheSpelling(t *testing.T) {
	for _, target := range []string{
		"/restpp/%65cho", "/restpp%2fecho", "/restpp/echo%20", "/restpp/graph/g/vertices/t/a%2Fb", "/studio/%2e%2e/restpp/query/g/q",
		"/studio/a%20b", "/studio/%", "/studio/%zz", "/studio/a b", "/studio/ä", "/studio/\x00", "/studio/a\"b", "/studio/{x}",
		"/restpp/echo;x=1", "/studio;/../restpp", "/studio/..;/restpp/query", "/restpp\\echo", "/studio/..\\restpp",
		"//restpp/echo", "/restpp//echo", "/studio//", "/restpp/graph//vertices/t", "/restpp/graph/g/vertices//", "/restpp/echo//",
		"/./restpp/echo", "/restpp/./echo", "/restpp/echo/.", "/studio/.", "/restpp/../restpp/echo", "/studio/..", "/studio/../gsql/v1/drop-all",
		"/studio/x/../../restpp/query/g/q", "/..", "/.", "/../", "/restpp/graph/g/vertices/..", "/gsql/v1/statements/..", "/gsql/v1/statements/.",
		"/restpp/version?action=x", "/restpp/version?a=1&action=x", "/restpp/version?%61ction=x", "/restpp/version?ACTION=x",
		"/restpp/version?a%63%74ion%3dx", "/restpp/version?aaction=x", "/restpp/version?acaction=x", "/restpp/version?x=1;action=x",
		"/restpp/version?%41%43%54%49%4F%4E=x", "/restpp/version?%action=1", "/restpp/version?action=",
		"http:studio", "*",
	} {
		r := &http.Request{Method: http.MethodGet, Header: make(http.Header)}
		u, err := url.ParseRequestURI(target)
		if err != nil {
			// Go's server refuses it; a rewrite might still make it.
			path, query, _ := strings.Cut(target, "?")
			u = &url.URL{Path: path, RawQuery: query}
		}
		if r.URL = u; Repeatable(r) {
			t.Errorf("Repeatable(GET %q) = true", target)
		}
	}
	for _, u := range []*url.URL{
		{Path: "/studio/", Opaque: "/restpp/query/g/q"},
		{Path: "/studio/(", RawPath: ""}, // which is written as %28
		{Path: "/studio/x", RawPath: "/restpp/query/g/q"},
		{Path: "/restpp/query/g/q", RawPath: "/studio/x"},
		{Path: "studio"},
		{},
	} {
		if r := (&http.Request{Method: http.MethodGet, URL: u}); Repeatable(r) {
			t.Errorf("Repeatable(GET %#v) = true", u)
		}
	}
}

func TestRepeatableWantsAPlainGETOrHEAD(t *testing.T) {
	for _, method := range []string{"POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT", "PROPFIND", "get", "Head", ""} {
		if Repeatable(get(t, method, "/restpp/echo")) {
			t.Errorf("%q may be repeated", method)
		}
	}
	for _, field := range []string{"Upgrade", "GSQL-ASYNC", "gsql-async", "X-HTTP-Method-Override"} {
		for _, value := range []string{"true", "false", ""} {
			if Repeatable(get(t, "GET", "/restpp/echo", field, value)) {
				t.Errorf("%s: %s may be repeated", field, value)
			}
		}
	}
	if !Repeatable(get(t, "GET", "/restpp/echo", "GSQL-TIMEOUT", "1000", "Authorization", "Bearer x", "Cookie", "a=b")) {
		t.Error("header fields that change nothing keep a request from being repeated")
	}
	overHTTP3 := get(t, "GET", "/restpp/echo")
	overHTTP3.ProtoMajor, overHTTP3.ContentLength = 3, -1
	if !Repeatable(overHTTP3) {
		t.Error("over HTTP/3, where the length of a body is unknown, no request may be repeated")
	}
	for name, change := range map[string]func(*http.Request){
		"a body":                  func(r *http.Request) { r.ContentLength = 1 },
		"a body of unknown size":  func(r *http.Request) { r.ContentLength = -1 },
		"a transfer encoding":     func(r *http.Request) { r.TransferEncoding = []string{"chunked"} },
		"an identity as encoding": func(r *http.Request) { r.TransferEncoding = []string{"identity"} },
	} {
		r := get(t, "GET", "/restpp/echo")
		if change(r); Repeatable(r) {
			t.Errorf("with %s it may be repeated", name)
		}
	}
}

func TestRepeatableAllocatesNothing(t *testing.T) {
	requests := []*http.Request{
		get(t, "GET", "/restpp/graph/g/edges/person/Tom/friendship/person/Jerry/2024?limit=3"),
		get(t, "GET", "/gsql/v1/statements/00000000006.317280417"),
		get(t, "GET", "/restpp/query/g/q?a=%41ction"),
		get(t, "HEAD", "/studio/%2e%2e/"),
	}
	allocations := testing.AllocsPerRun(100, func() {
		for _, r := range requests {
			Repeatable(r)
		}
	})
	if allocations != 0 {
		t.Errorf("%v allocations, want 0", allocations)
	}
}

func BenchmarkRepeatable(b *testing.B) {
	for name, target := range map[string]string{
		"static":    "/studio/main.js",
		"vertices":  "/restpp/graph/social/vertices/person/Tom",
		"statement": "/gsql/v1/statements/00000000006.317280417",
		"query":     "/restpp/query/social/friends?p=Tom&depth=3",
		"gui":       "/api/auth/whoami",
	} {
		b.Run(name, func(b *testing.B) {
			r := get(b, "GET", target, "Accept", "*/*", "User-Agent", "x", "Authorization", "y", "Cookie", "z")
			b.ReportAllocs()
			for b.Loop() {
				Repeatable(r)
			}
		})
	}
}

// What may be repeated is what a node takes it for: the path on the wire is the
// path that was judged, whatever a node does to it.
func FuzzRepeatable(f *testing.F) {
	for _, target := range reads {
		f.Add("GET", target)
	}
	f.Add("GET", "/studio/%2e%2e/restpp/query")
	f.Add("GET", "/a;b/..\\c")
	for _, query := range []string{"a=%", "a=%6", "a=%6z", "%61ction=x"} {
		f.Add("GET", "/restpp/version?"+query)
	}
	f.Add("DELETE", "/restpp/echo")
	f.Add("GET", "/restpp/query/g/q")
	f.Fuzz(func(t *testing.T, method, target string) {
		u, err := url.ParseRequestURI(target)
		if err != nil {
			return
		}
		if !Repeatable(&http.Request{Method: method, URL: u}) {
			return
		}
		if method != "GET" && method != "HEAD" {
			t.Errorf("method %q", method)
		}
		raw := u.EscapedPath()
		if raw != u.Path || strings.ContainsAny(raw, "%;\\\x00") ||
			strings.Contains(raw, "//") || strings.Contains(raw+"/", "/./") || strings.Contains(raw+"/", "/../") {
			t.Errorf("%q may be repeated, but is written %q", target, raw)
		}
		for pair := range strings.FieldsFuncSeq(u.RawQuery, func(c rune) bool { return c == '&' || c == ';' }) {
			if decoded, err := url.QueryUnescape(pair); err == nil && strings.HasPrefix(strings.ToLower(decoded), "action=") {
				t.Errorf("%q may be repeated", target)
			}
		}
		for _, act := range []string{"/restpp/query", "/restpp/ddl", "/restpp/rebuildnow", "/gsql/v1/drop-all", "/gsql/v1/clear-store", "/api/auth"} {
			if strings.HasPrefix(u.Path, act) {
				t.Errorf("%q may be repeated", target)
			}
		}
	})
}
