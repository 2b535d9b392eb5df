package spelling

import (
	"fmt"
	"strings"
	"testing"
)

func TestTheNearestWordIsWhatWasMeant(t *testing.T) {
	words := []string{"affinity", "cookie", "weight", "slow_start", "fail_closed", "spread", "drain", "standby", "standby_reads", "backup", "to"}
	for word, want := range map[string]string{
		"slowstart": "slow_start", "weigth": "weight", "fail_close": "fail_closed", "cookies": "cookie", "Drain": "drain",
		"standby_read": "standby_reads", "stanby": "standby", "afinnity": "affinity", "backups": "backup",
		"header_up": "", "lb_retries": "", "": "", "t": "", "x": "", "too": "to", "dog": "", "weightweight": "",
	} {
		if got := Nearest(word, words); got != want {
			t.Errorf("the nearest to %q is %q, want %q", word, got, want)
		}
	}
	if got := Nearest("anything", nil); got != "" {
		t.Errorf("the nearest of none is %q", got)
	}
}

func TestAHintIsTheWordThatWasMeantOrWhatIsExpected(t *testing.T) {
	for word, want := range map[string]string{"slowstart": "did you mean 'slow_start'?", "header_upp": "expected another"} {
		if got := Hint(word, []string{"slow_start", "weight"}, "expected another"); got != want {
			t.Errorf("the hint for %q is %q", word, got)
		}
	}
}

func TestAListNamesSomeOfMany(t *testing.T) {
	var names []string
	for i := range 1000 {
		names = append(names, fmt.Sprintf("m%d", i+1))
	}
	for count, end := range map[int]string{1: "m1", 3: "m1, m2, m3", 21: ", m20, m21", 22: ", m20, and 2 more", 1000: ", m20, and 980 more"} {
		if got := List(names[:count]); !strings.HasSuffix(got, end) {
			t.Errorf("%d names are %q, want them to end in %q", count, got, end)
		}
	}
}
