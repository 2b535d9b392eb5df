package affinity

import (
	"net/http"
	"slices"
	"testing"
)

func TestOneCookieThatLeadsToTheChosenNodeStays(t *testing.T) {
	isStale := func(line string) bool { return line == "n=; Path=/old" }
	leads := func(value string) bool { return value == "here" || value == "there" }
	for _, test := range []struct {
		name        string
		lines, want []string
	}{
		{"others' cookies", []string{"a=1", "b=2"}, []string{"a=1", "b=2"}},
		{"ours", []string{"a=1", "n=here; Path=/"}, []string{"a=1", "n=here; Path=/"}},
		{"one is enough", []string{"n=here", "n=there"}, []string{"n=here"}},
		{"a node's own", []string{"n=foreign", "n=there"}, []string{"n=there"}},
		{"those of other settings end", []string{"n=; Path=/old", "n=here"}, []string{"n=; Path=/old", "n=here"}},
		{"another end is nobody's", []string{"n=; Path=/new"}, nil},
	} {
		header := http.Header{"Set-Cookie": slices.Clone(test.lines)}
		KeepOne(header, "n", isStale, leads)
		if _, set := header["Set-Cookie"]; !slices.Equal(header["Set-Cookie"], test.want) || set != (test.want != nil) {
			t.Errorf("%s: %q", test.name, header["Set-Cookie"])
		}
	}
	header := http.Header{"Set-Cookie": {"n=here", "a=1"}}
	if TakeBack(header, "n"); !slices.Equal(header["Set-Cookie"], []string{"a=1"}) {
		t.Errorf("taken back: %q", header)
	}
	if TakeBack(header, "a"); len(header) != 0 {
		t.Errorf("an empty field is left: %q", header)
	}
}

func TestGSQLSessionsAreFoundInTheirFields(t *testing.T) {
	const session = `{"sessionId":"GSQL.abc","clientCommit":"c"}`
	id := SessionID(session)
	if id == "" {
		t.Fatal("the session has no id")
	}
	for _, test := range []struct {
		header        http.Header
		asked, begins string
	}{
		{http.Header{"Gsql-Cookie": {session}}, id, ""},
		{http.Header{"Cookie": {"a=b", session}}, id, ""},
		{http.Header{"Cookie": {"a=b"}}, "", ""},
		{http.Header{"Set-Gsql-Cookie": {session}}, "", id},
		{http.Header{"Set-Cookie": {"a=b", session}}, "", id},
		{http.Header{"Set-Cookie": {"{}"}}, "", ""},
	} {
		if asked, begins := SessionOf(test.header), SessionBegun(test.header); asked != test.asked || begins != test.begins {
			t.Errorf("%v: %q, %q", test.header, asked, begins)
		}
	}
}

func TestAHashTellsValuesApart(t *testing.T) {
	first, again := HashOf([]string{"a"}), HashOf([]string{"a"})
	if HashOf(nil) != 0 || first == HashOf([]string{"b"}) || first != again {
		t.Error("hashes are no hashes")
	}
}
