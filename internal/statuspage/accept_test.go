package statuspage

import "testing"

func TestTheFormatIsTheOneThatIsPreferred(t *testing.T) {
	for _, test := range []struct {
		accept []string
		want   Format
	}{
		{nil, HTML},
		{[]string{""}, HTML},
		{[]string{"*/*"}, HTML},
		{[]string{"text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,*/*;q=0.8"}, HTML},
		{[]string{"application/json"}, JSON},
		{[]string{"Application/JSON; charset=utf-8"}, JSON},
		{[]string{"application/*"}, JSON},
		{[]string{"application/json, */*"}, HTML}, // equal: the page
		{[]string{"application/json, text/html;q=0.9"}, JSON},
		{[]string{"text/html;q=0, */*"}, JSON},
		{[]string{"text/*;q=0.3, application/json;q=0.4"}, JSON},
		{[]string{"text/html;q=0.1", "application/json;q=0.2"}, JSON},
		{[]string{"text/event-stream"}, Events},
		{[]string{"text/*;q=0.5, text/event-stream"}, Events},
		{[]string{"image/png"}, HTML},
		{[]string{"application/json;q=much"}, HTML},
		{[]string{";;;,,,"}, HTML},
	} {
		if got := Accepted(test.accept); got != test.want {
			t.Errorf("%q gets format %d, want %d", test.accept, got, test.want)
		}
	}
	for name, want := range map[string]Format{"html": HTML, "json": JSON, "events": Events} {
		if got, known := ParseFormat(name); got != want || !known {
			t.Errorf("%s is %d", name, got)
		}
	}
	if _, known := ParseFormat("xml"); known {
		t.Error("xml is a format")
	}
}

func FuzzAccepted(f *testing.F) {
	f.Add("text/html;q=0.9", "application/json")
	f.Add(`a/b;x="`, `";q=1,text/*`)
	f.Add("*/*;q=nan", "text/event-stream;q=inf,,;")
	f.Fuzz(func(t *testing.T, first, second string) {
		format := Accepted([]string{first, second})
		if format >= formats {
			t.Fatalf("format %d", format)
		}
		// Several fields mean the same as one (RFC 9110, section 5.3).
		if one := Accepted([]string{first + "," + second}); one != format {
			t.Errorf("%q and %q get format %d, in one field %d", first, second, format, one)
		}
	})
}
