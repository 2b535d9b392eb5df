package environment

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

func TestWhatAVariableMayHold(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name  string
		check func(value string) error
		good  []string
		bad   []string
	}{
		{"a word", CheckWord, []string{"a", "ä", "a$b", "a<<b"}, []string{"a b", "{", "a\"b", "`", "a\\", "#", "<<EOF", "a\nb", "a\xff"}},
		{"an e-mail address", CheckEmail, []string{"a@b.example"}, []string{"a", "@b", "a@", "a @b"}},
		{"a URL", CheckURL, []string{"https://a.example/b", "http://10.0.0.1:80"}, []string{"a.example", "ftp://a", "https://", "https://a b"}},
		{"a file", CheckFiles(1), []string{file}, []string{file + " " + file, "file", file + ".not", " "}},
		{"a certificate", CheckTLS, []string{"internal", file + " " + file}, []string{file, "off", "Internal"}},
		{"ranges", CheckRanges, []string{"10.0.0.0/8", "fd00::/8 10.1.2.3", "private_ranges"}, []string{"10.0.0.0/8,10.1.0.0/16", "10.0.0", "all", "10.0.0.0/8\nfd00::/8"}},
		{"a port", CheckPort, []string{":1", ":65535"}, []string{"80", ":0", ":65536", "localhost:80", ":http"}},
		{"a level", CheckLogLevel, []string{"INFO", "debug"}, []string{"TRACE", "INFO WARN"}},
	} {
		for _, value := range test.good {
			if err := test.check(value); err != nil {
				t.Errorf("%s: %q was refused: %v", test.name, value, err)
			}
		}
		for _, value := range test.bad {
			if test.check(value) == nil {
				t.Errorf("%s: %q was accepted", test.name, value)
			}
		}
	}
}

func TestTheVariableWithoutWhichAFaultIsGoneIsToBlame(t *testing.T) {
	t.Setenv("SITE_DIRECTIVES", "bogus")
	t.Setenv("TIGERGRAPH_OPTIONS", "weight m1 2")
	fault := errors.New("unrecognized directive: bogus, at Caddyfile:7")
	moved := errors.New("unrecognized directive: bogus, at Caddyfile:6")
	blamed := "the environment variable SITE_DIRECTIVES is wrong: " + fault.Error()
	for name, test := range map[string]struct {
		without map[string]error
		want    string
	}{
		"the fault is gone":    {map[string]error{"TIGERGRAPH_OPTIONS": moved}, blamed},
		"another fault is met": {map[string]error{"TIGERGRAPH_OPTIONS": moved, "SITE_DIRECTIVES": errors.New("another")}, blamed},
		"it is the file's":     {map[string]error{"TIGERGRAPH_OPTIONS": moved, "SITE_DIRECTIVES": moved}, fault.Error()},
	} {
		got := BlameLines(fault, func(unset string) error { return test.without[unset] })
		if fmt.Sprint(got) != test.want {
			t.Errorf("%s: %v, want %s", name, got, test.want)
		}
	}
}
