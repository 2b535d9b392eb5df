package affinity

import (
	"slices"
	"strings"
	"testing"
)

func TestCutCookieLeavesTheRestByteForByte(t *testing.T) {
	const json = `{"terminalWidth":80,"fromGsqlClient":true,"graph":"a; b","auth":"Basic x=="}`
	for _, test := range []struct {
		name   string
		values []string
		found  []string
		left   []string
	}{
		{"alone", []string{"T=x"}, []string{"x"}, nil},
		{"first", []string{"T=x; a=1; b=2"}, []string{"x"}, []string{"a=1; b=2"}},
		{"last", []string{"a=1; b=2; T=x"}, []string{"x"}, []string{"a=1; b=2"}},
		{"in the middle", []string{"a=1; T=x; b=2"}, []string{"x"}, []string{"a=1; b=2"}},
		{"twice", []string{"T=x; a=1; T=y; b=2"}, []string{"x", "y"}, []string{"a=1; b=2"}},
		{"nothing else, twice", []string{"T=x; T=y"}, []string{"x", "y"}, nil},
		{"no space behind the semicolon", []string{"a=1;T=x;b=2"}, []string{"x"}, []string{"a=1;b=2"}},
		{"spaces and tabs around it", []string{"a=1;  \tT=x \t;b=2"}, []string{"x"}, []string{"a=1;b=2"}},
		{"quoted", []string{`T="x"; a=1`}, []string{"x"}, []string{"a=1"}},
		{"empty value", []string{"T=; a=1"}, []string{""}, []string{"a=1"}},
		{"value with an equals sign", []string{"T=x=y; a=1"}, []string{"x=y"}, []string{"a=1"}},
		{"trailing semicolon", []string{"T=x;"}, []string{"x"}, nil},
		{"trailing semicolon and space", []string{"T=x; "}, []string{"x"}, nil},
		{"odd spacing of the others", []string{"a = 1 ;; T=x;b"}, []string{"x"}, []string{"a = 1 ;;b"}},
		{"two lines", []string{"a=1; T=x", "T=y", "b=2"}, []string{"x", "y"}, []string{"a=1", "b=2"}},

		{"absent", []string{"a=1; b=2"}, nil, []string{"a=1; b=2"}},
		{"other name with this ending", []string{"XT=x; a=1"}, nil, []string{"XT=x; a=1"}},
		{"other name with this beginning", []string{"T2=x; TT=y"}, nil, []string{"T2=x; TT=y"}},
		{"as a value", []string{"a=T=x; b=T"}, nil, []string{"a=T=x; b=T"}},
		{"without equals sign", []string{"T; a=1"}, nil, []string{"T; a=1"}},
		{"other case", []string{"t=x"}, nil, []string{"t=x"}},
		{"raw JSON", []string{json}, nil, []string{json}},
		{"raw JSON behind it", []string{"T=x; " + json}, []string{"x"}, []string{json}},
		{"raw JSON before it", []string{json + "; T=x"}, []string{"x"}, []string{json}},
		{"empty line", []string{""}, nil, []string{""}},
		{"no line", nil, nil, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			var found []string
			left := CutCookie(slices.Clone(test.values), "T", func(value string) { found = append(found, value) })
			if !slices.Equal(found, test.found) {
				t.Errorf("found %q, want %q", found, test.found)
			}
			if !slices.Equal(left, test.left) {
				t.Errorf("left %q, want %q", left, test.left)
			}
		})
	}
}

func TestCutCookieOfManyTakesLinearTime(t *testing.T) {
	const count = 200_000
	line := strings.Repeat("T=x; a=1; ", count)
	seen := 0
	left := CutCookie([]string{line}, "T", func(string) { seen++ })
	if seen != count || len(left) != 1 || strings.Count(left[0], "a=1") != count {
		t.Errorf("removed %d of %d", seen, count)
	}
}

func FuzzCutCookie(f *testing.F) {
	for _, seed := range []string{"", "T=x", "a=1; T=x; b=2", ";;T=;", "T", "T=\"", `{"a":"; T=x"}`, "T=x; a=1; T=y; b=2;T=z"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, line string) {
		removed := 0
		left := CutCookie([]string{line}, "T", func(value string) {
			removed++
			if strings.Contains(value, ";") {
				t.Errorf("value %q spans two pairs of %q", value, line)
			}
		})
		if removed == 0 && !slices.Equal(left, []string{line}) {
			t.Errorf("%q became %q although nothing was removed", line, left)
		}
		CutCookie(slices.Clone(left), "T", func(string) { t.Errorf("%q still holds the cookie after cutting %q", left, line) })
		for _, rest := range left {
			if len(rest) > len(line) {
				t.Errorf("%q grew to %q", line, rest)
			}
		}
	})
}

func TestReplaceCookieLeavesOneOfThatName(t *testing.T) {
	for _, test := range []struct {
		name   string
		values []string
		line   string
		want   []string
	}{
		{"first", nil, "T=1; Path=/", []string{"T=1; Path=/"}},
		{"after a retry", []string{"T=1; Path=/"}, "T=2; Path=/", []string{"T=2; Path=/"}},
		{"beside the application's", []string{"TT=9", "T=1", "a=T=1"}, "T=2", []string{"TT=9", "a=T=1", "T=2"}},
		{"taken back", []string{"a=1", "T=1"}, "", []string{"a=1"}},
		{"nothing to take back", []string{"a=1"}, "", []string{"a=1"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := ReplaceCookie(slices.Clone(test.values), "T", test.line); !slices.Equal(got, test.want) {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

// sentBack is what a browser sends for a cookie that it was given by a line of
// Set-Cookie: RFC 6265bis, sections 5.7 and 5.8.3.
func sentBack(line string) string {
	pair, _, _ := strings.Cut(line, ";")
	i := strings.Index(pair, "=")
	name, value := strings.Trim(pair[:max(i, 0)], " \t"), strings.Trim(pair[i+1:], " \t")
	if name == "" {
		return value
	}
	return name + "=" + value
}

func TestSetCookieValueIsWhatComesBack(t *testing.T) {
	for line, want := range map[string]string{
		"T=x": "x", "T=x; Path=/": "x", " T\t= x ;": "x", `T="x"`: "x", "T=": "", "T=x=y": "x=y", "=T=x": "x", " = T=x": "x",
	} {
		if value, ours := SetCookieValue(line, "T"); value != want || !ours {
			t.Errorf("%q: %q, %t", line, value, ours)
		}
	}
	for _, line := range []string{"", "T", "TT=x", "a=T=x", "a; T=x", ";T=x", "t=x", "==T=x", "=T"} {
		if value, ours := SetCookieValue(line, "T"); ours {
			t.Errorf("%q: %q", line, value)
		}
	}
}

// A line is ours if the cookie that comes back is cut from the next request, and
// is replaced then; all others stay as they are.
func FuzzReplaceCookie(f *testing.F) {
	for _, seed := range []string{"", "T=1", "T=1\nT=2", "TT=1\nT", "a=T=1", "T=\n", " T=1", "T =1", "=T=1", "T= \"1\" ; Path=/", "==T=1"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, lines string) {
		values := strings.Split(lines, "\n")
		var others []string
		for _, line := range values {
			var back []string
			CutCookie([]string{sentBack(line)}, "T", func(value string) { back = append(back, value) })
			value, ours := SetCookieValue(line, "T")
			switch {
			case !ours:
				others = append(others, line)
			case len(back) == 1 && back[0] != value:
				t.Errorf("%q says %q, and brings back %q", line, value, back)
			}
			if ours != (len(back) == 1) {
				t.Errorf("%q is ours: %t, and brings back %q", line, ours, back)
			}
		}
		replaced := ReplaceCookie(slices.Clone(values), "T", "T=new")
		if want := append(slices.Clone(others), "T=new"); !slices.Equal(replaced, want) {
			t.Errorf("%q became %q", values, replaced)
		}
		if taken := ReplaceCookie(replaced, "T", ""); !slices.Equal(taken, others) {
			t.Errorf("of %q stayed %q", lines, taken)
		}
	})
}
