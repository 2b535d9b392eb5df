package fleet

import (
	"reflect"
	"strings"
	"testing"
	"time"
)

var noon = time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)

func TestWhichClusterIsActive(t *testing.T) {
	names := []string{"primary", "dr", "green"}
	at := func(minutes int) time.Time { return noon.Add(time.Duration(minutes) * time.Minute) }
	for name, test := range map[string]struct {
		word         func(Word) Word
		when         time.Time
		active, kept int
	}{
		"the first without a switch":                         {func(w Word) Word { return w }, noon, 0, -1},
		"the one that was switched to":                       {func(w Word) Word { return w.Switched("dr", 0, noon) }, noon, 1, -1},
		"the last of several":                                {func(w Word) Word { return w.Switched("dr", 0, noon).Switched("green", 0, at(1)) }, at(2), 2, -1},
		"also if clocks went back":                           {func(w Word) Word { return w.Switched("dr", 0, noon).Switched("green", 0, at(-60)) }, at(-59), 2, -1},
		"the first again":                                    {func(w Word) Word { return w.Switched("dr", 0, noon).Switched("primary", 0, at(1)) }, at(2), 0, -1},
		"the old one keeps its sessions":                     {func(w Word) Word { return w.Switched("dr", time.Hour, noon) }, at(59), 1, 0},
		"until the drain is over":                            {func(w Word) Word { return w.Switched("dr", time.Hour, noon) }, at(60), 1, -1},
		"a switch back ends that drain":                      {func(w Word) Word { return w.Switched("dr", time.Hour, noon).Switched("primary", 0, at(1)) }, at(2), 0, -1},
		"and may begin one of its own":                       {func(w Word) Word { return w.Switched("dr", 0, noon).Switched("primary", time.Hour, at(1)) }, at(2), 0, 1},
		"a second switch drains the one before it":           {func(w Word) Word { return w.Switched("dr", 0, noon).Switched("green", time.Hour, at(1)) }, at(2), 2, 1},
		"a switch to what nobody here knows changes nothing": {func(w Word) Word { return w.Switched("blue", time.Hour, noon) }, noon, 0, -1},
		"one to the active cluster ends the drain":           {func(w Word) Word { return w.Switched("dr", time.Hour, noon).Redrained("dr", 0, at(1)) }, at(2), 1, -1},
		"or gives it another end":                            {func(w Word) Word { return w.Switched("dr", time.Hour, noon).Redrained("dr", 2*time.Hour, at(1)) }, at(90), 1, 0},
		"but begins none":                                    {func(w Word) Word { return w.Switched("dr", 0, noon).Redrained("dr", time.Hour, at(1)) }, at(2), 1, -1},
		"and no second one":                                  {func(w Word) Word { return w.Switched("dr", time.Hour, noon).Redrained("dr", time.Hour, at(60)) }, at(61), 1, -1},
		"one to what is active already drains nothing":       {func(w Word) Word { return w.Switched("primary", time.Hour, noon) }, noon, 0, -1},
	} {
		active, kept, _ := test.word(Word{}).Active(names, test.when)
		if active != test.active || kept != test.kept {
			t.Errorf("%s: active %d, kept %d; want %d, %d", name, active, kept, test.active, test.kept)
		}
	}
}

func TestAWordIsReadAsItWasWritten(t *testing.T) {
	w := Word{}.Drained("m1:14240", time.Hour, noon).Drained("m2:14240", 0, noon).Switched("dr", time.Minute, noon)
	text, err := w.Encode()
	if err != nil {
		t.Fatal(err)
	}
	read, err := ParseWord(text)
	w.Format = read.Format
	if err != nil || read.Format == 0 || !reflect.DeepEqual(read, w) {
		t.Errorf("%+v, %v; want %+v", read, err, w)
	}
}

func TestWhatIsNoWordIsRefused(t *testing.T) {
	for text, want := range map[string]string{
		"":                                "not well-formed",
		`{"version":`:                     "not well-formed",
		"null":                            "not well-formed",
		"[]":                              "not well-formed",
		`{"version":"7"}`:                 "not well-formed",
		`{"version":-1}`:                  "its version is -1",
		`{"version":9223372036854775807}`: "its version is",
		`{"format":2,"new":1}`:            "newer version of this plugin",
		`{"version":3,"switches":{"dr":{"number":4}}}`: `the switch to "dr" has the number 4`,
		`{"version":3,"switches":{"dr":{}}}`:           `the switch to "dr" has the number 0`,
	} {
		if w, err := ParseWord([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %+v, %v; want %q", text, w, err, want)
		}
	}
	// An edge with an older version wrote no format.
	if w, err := ParseWord([]byte(`{"version":3,"switches":{"dr":{"number":3}}}`)); err != nil || w.Switches["dr"].Number != 3 {
		t.Errorf("%+v, %v", w, err)
	}
}

func TestDrainsThatAreOverAreForgotten(t *testing.T) {
	w := Word{}.Drained("m1:14240", time.Minute, noon).Drained("m2:14240", 0, noon)
	later := w.Ready("m2:14240", noon.Add(time.Hour))
	if len(later.Drains) != 0 || len(w.Drains) != 2 || later.Version != 3 {
		t.Errorf("%+v after %+v", later, w)
	}
}

func FuzzParseWord(f *testing.F) {
	f.Add([]byte(`{"version":1,"drains":{"a":{"since":"2026-11-01T12:00:00Z"}},"switches":{"dr":{"number":1}}}`))
	f.Fuzz(func(_ *testing.T, text []byte) {
		if w, err := ParseWord(text); err == nil {
			w.Active([]string{"primary", "dr"}, noon)
			w.Switched("dr", time.Hour, noon).Drained("a", 0, noon)
		}
	})
}
