package main

import (
	"bytes"
	"fmt"
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
var brief = []string{"-rounds", "1", "-duration", "50ms", "-connections", "3", "-bulk", "0.001"}

func TestEachCaseIsMeasured(t *testing.T) {
	var output bytes.Buffer
	if err := run(t.Context(), brief, &output); err != nil {
		t.Fatalf("%v\n%s", err, &output)
	}
	for _, name := range caseNames() {
		_, table, found := strings.Cut(output.String(), "\n"+name+": ")
		for _, proxy := range []string{"directive", "policy", "stock"} {
			if !found || !strings.Contains(table, "\n| "+proxy+" ") {
				t.Errorf("no figures of %s for %s", proxy, name)
			}
		}
	}
	if t.Failed() {
		t.Log(&output)
	}
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
	runs := func(costs ...time.Duration) (runs []cpuRun) {
		for _, cost := range costs {
			runs = append(runs, cpuRun{cost: cost})
		}
		return runs
	}
	// The machine was slow in the second round, for both.
	result := cpuResult{
		contenders: []contender{{name: "directive"}, {name: "stock"}},
		runs:       [][]cpuRun{runs(50, 900, 60), runs(100, 1000, 100)},
	}
	if got := result.ratio(0, "stock"); got != "0.60" {
		t.Errorf("%s, expected 0.60", got)
	}
	if got := result.ratio(0, "nginx"); got != "–" {
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
	if got := fmt.Sprint(median([]time.Duration{1, 3})); got != "2ns" {
		t.Error(got)
	}
}
