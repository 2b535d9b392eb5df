package fleet

import (
	"reflect"
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
	if err != nil || !reflect.DeepEqual(read, w) {
		t.Errorf("%+v, %v; want %+v", read, err, w)
	}
	if _, err := ParseWord([]byte(`{"version":`)); err == nil {
		t.Error("half a word was read")
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
