package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestMain(m *testing.M) {
	if os.Getenv(nodeEnvironment) != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

// brief is the flags of the shortest run there is.
var brief = []string{"-rounds", "1", "-duration", "50ms", "-connections", "3", "-bulk", "0.001", "-idle", "20", "-rate", "100", "-patience", "500ms"}

func TestAllIsMeasured(t *testing.T) {
	var output bytes.Buffer
	markdown := filepath.Join(t.TempDir(), "report.md")
	if err := run(t.Context(), append(brief, "-markdown", markdown), &output); err != nil {
		t.Fatalf("%v\n%s", err, &output)
	}
	report, err := os.ReadFile(markdown)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasSuffix(output.String(), string(report)) {
		t.Error("the file has something else than the output")
	}
	for name := range strings.SplitSeq(measurementNames(), ", ") {
		if name == "selection" {
			for _, policy := range []string{"ours/cookie=valid", "ours/client ip", "caddy/cookie=valid", "caddy/random"} {
				if !strings.Contains(string(report), "\n| "+policy+" ") {
					t.Errorf("no figures of the policy %s", policy)
				}
			}
			continue
		}
		_, table, found := strings.Cut(string(report), "\n`-only "+name+"`: ")
		for _, proxy := range []string{"directive", "policy", "stock"} {
			if !found || !strings.Contains(table, "\n| "+proxy+" ") {
				t.Errorf("no figures of %s for %s", proxy, name)
			}
		}
	}
	t.Log(string(report))
}

func TestAnotherCaddyIsMeasuredAndProfiled(t *testing.T) {
	var output bytes.Buffer
	profiles := t.TempDir()
	added := filepath.Join(t.TempDir(), "site")
	if err := os.WriteFile(added, []byte("reverse_proxy %s {\nlb_policy ip_hash\n}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	arguments := append(brief, "-only", "small", "-proxies", "another", "-add", "another="+added, "-profile", profiles)
	if err := run(t.Context(), arguments, &output); err != nil {
		t.Fatalf("%v\n%s", err, &output)
	}
	if !strings.Contains(output.String(), "\n| another ") || strings.Contains(output.String(), "\n| stock ") {
		t.Error(&output)
	}
	if info, err := os.Stat(filepath.Join(profiles, "small-another.pprof")); err != nil || info.Size() == 0 {
		t.Errorf("no profile: %v", err)
	}
}

func TestWhatIsNotThereIsRefused(t *testing.T) {
	for _, arguments := range [][]string{
		{"-only", "nonesuch"},
		{"-proxies", "nonesuch"},
		{"-rounds", "0"},
		{"-add", "another"},
		{"small"},
	} {
		if err := run(t.Context(), append([]string{"-caddy", "/nonexistent"}, arguments...), new(bytes.Buffer)); err == nil {
			t.Errorf("%q is accepted", arguments)
		}
	}
}

func TestRatiosAreThoseOfEachRound(t *testing.T) {
	// The machine was slow in the second round, for both.
	f := figure{proxies: []string{"directive", "stock"}, values: [][]float64{{50, 900, 60}, {100, 1000, 100}}}
	if got := f.ratio("directive", "stock"); got != "0.60" {
		t.Errorf("%s, expected 0.60", got)
	}
	if got := f.ratio("directive", "nginx"); got != none {
		t.Errorf("%s without nginx", got)
	}
}

func TestTheMedianIsTheMiddleOrBetweenTheMiddleTwo(t *testing.T) {
	for _, test := range []struct {
		values []float64
		want   float64
	}{{[]float64{3, 1, 2}, 2}, {[]float64{4, 1, 3, 2}, 2.5}, {[]float64{7}, 7}} {
		if got := median(test.values); got != test.want {
			t.Errorf("%v: %v, expected %v", test.values, got, test.want)
		}
	}
}

func TestAPercentileIsOneOfTheValues(t *testing.T) {
	var values []time.Duration
	for i := range 200 {
		values = append(values, time.Duration(200-i))
	}
	for percent, want := range map[int]time.Duration{0: 1, 50: 100, 99: 198, 100: 200} {
		if got := percentile(values, percent); got != want {
			t.Errorf("p%d is %d, expected %d", percent, got, want)
		}
	}
}

func TestEachProxyIsOnceAtEachPlace(t *testing.T) {
	const count = 5
	places := make(map[[2]int]int)
	for round := range 2 * count {
		for place, i := range turns(round, count) {
			places[[2]int{place, i}]++
		}
	}
	for at, times := range places {
		if times != 2 {
			t.Errorf("proxy %d is %d times at place %d, expected 2", at[1], times, at[0])
		}
	}
	if len(places) != count*count {
		t.Errorf("%d of %d", len(places), count*count)
	}
}
