package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

func TestMain(m *testing.M) {
	if os.Getenv(nodeEnvironment) != "" {
		main()
		return
	}
	os.Exit(runTests(m))
}

func runTests(m *testing.M) int {
	folder, err := os.MkdirTemp("", "caddy-tigergraph-bench-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(folder)
	// Without the profile: nothing is measured here, and it takes minutes.
	caddy = filepath.Join(folder, "caddy")
	stock = filepath.Join(folder, "stock")
	for binary, command := range map[string]string{caddy: "../cmd/caddy", stock: "github.com/caddyserver/caddy/v2/cmd/caddy"} {
		if output, err := exec.Command("go", "build", "-pgo=off", "-o", binary, command).CombinedOutput(); err != nil {
			fmt.Fprintf(os.Stderr, "building %s: %v\n%s", command, err, output)
			return 1
		}
	}
	brief = slices.Clip(append(brief, "-caddy", caddy, "-stock", stock))
	return m.Run()
}

// caddy is cmd/caddy, and stock a Caddy without the plugin, built for these tests.
var caddy, stock string

// brief is the flags of the shortest run there is.
var brief = []string{"-rounds", "1", "-duration", "50ms", "-connections", "3", "-bulk", "0.001", "-idle", "20", "-rate", "100", "-patience", "500ms", "-fault", "1s", "-scale", "3x1,5x2"}

// oneOfEachKind are enough measurements to see that the proxies are there and are compared.
const oneOfEachKind = "selection, small, post-one-node-tls, download-tls, chunked, upload, latency-tls, memory, spread-slow, paused, powered-off, bad-uploads"

func TestAllIsMeasured(t *testing.T) {
	var output bytes.Buffer
	markdown := filepath.Join(t.TempDir(), "report.md")
	names := measurementNames()
	if os.Getenv("NIGHTLY") == "" {
		names = oneOfEachKind
	}
	if err := run(t.Context(), append(brief, "-markdown", markdown, "-only", names), &output); err != nil {
		t.Fatalf("%v\n%s", err, &output)
	}
	report, err := os.ReadFile(markdown)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasSuffix(output.String(), string(report)) {
		t.Error("the file has something else than the output")
	}
	for name := range strings.SplitSeq(names, ", ") {
		if name == "selection" {
			for _, policy := range []string{"ours/cookie=valid", "ours/client ip", "caddy/cookie=valid", "caddy/random"} {
				if !strings.Contains(string(report), "\n| "+policy+" ") {
					t.Errorf("no figures of the policy %s", policy)
				}
			}
			continue
		}
		if name == "scale" {
			continue // see TestManyNodesAndSitesAreMeasured
		}
		_, table, found := strings.Cut(string(report), "\n`-only "+name+"`: ")
		for _, proxy := range []string{"directive", "policy", "stock", "stock-ours"} {
			if !found || !strings.Contains(table, "\n| "+proxy+" ") {
				t.Errorf("no figures of %s for %s", proxy, name)
			}
		}
	}
	t.Log(string(report))
}

func TestManyNodesAndSitesAreMeasured(t *testing.T) {
	var output bytes.Buffer
	if err := run(t.Context(), append(brief, "-only", "scale", "-stock", ""), &output); err != nil { // which is built
		t.Fatalf("%v\n%s", err, &output)
	}
	for _, numbers := range []string{"3     | 1     ", "5     | 2     "} {
		for _, proxy := range []string{"directive", "stock"} {
			if !strings.Contains(output.String(), "\n| "+numbers+"| "+proxy+" ") {
				t.Errorf("no figures of %s for %s", proxy, numbers)
			}
		}
	}
	t.Log(output.String())
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

func TestAnInterruptEndsAllProcesses(t *testing.T) {
	if _, err := os.Stat("/proc/self/environ"); err != nil {
		t.Skip("this needs /proc, which tells of processes and which Linux has, as CI has: ", err)
	}
	folder := t.TempDir()
	t.Setenv("TMPDIR", folder)
	// Nodes and proxies have the environment of who started them.
	running := func() (count int) {
		files, _ := filepath.Glob("/proc/[0-9]*/environ")
		for _, file := range files {
			if environment, err := os.ReadFile(file); err == nil && bytes.Contains(environment, []byte("TMPDIR="+folder)) {
				count++
			}
		}
		return count
	}
	ctx, interrupt := context.WithCancel(t.Context())
	defer interrupt()
	ended := make(chan error, 1)
	go func() {
		ended <- run(ctx, []string{"-only", "small", "-rounds", "1000000", "-caddy", caddy, "-stock", stock}, new(bytes.Buffer))
	}()
	for deadline := time.Now().Add(5 * time.Minute); running() < clusterSize+3; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("only %d processes run", running())
		}
	}
	interrupt()
	select {
	case err := <-ended:
		if !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	case <-time.After(5 * time.Minute):
		t.Fatal("it does not end")
	}
	if count := running(); count != 0 {
		t.Errorf("%d processes are left", count)
	}
	if left, err := os.ReadDir(folder); err != nil || len(left) > 0 {
		t.Errorf("files are left: %v %v", left, err)
	}
}

func TestFailuresCountFromTheFaultOn(t *testing.T) {
	began := time.Now()
	request := func(after, took time.Duration, failed bool) outcome {
		return outcome{at: began.Add(after), duration: took, failed: failed, query: true, name: after.String()}
	}
	b := benchmark{fault: 9 * time.Second, patience: time.Second}
	proxies := []*proxy{{contender: contender{name: "quick"}}, {contender: contender{name: "deaf"}}, {contender: contender{name: "unharmed"}}}
	figures := b.faultFigures(faultCases[0], proxies, [][]outcome{
		{
			request(-2*time.Second, time.Millisecond, true), // something else
			request(-time.Millisecond, time.Second, true),   // on its way when it began
			request(3*time.Second, time.Millisecond, true),
			request(4*time.Second, time.Millisecond, false),
		},
		{request(8900*time.Millisecond, time.Second, true)},
		{request(time.Second, time.Millisecond, false)},
	}, began, map[string]int{"4s": 2, "3s": 1})
	for i, want := range [][2]string{{"2", "3.0 s"}, {"1", "not in 9s"}, {"0", "none failed"}} {
		name := proxies[i].name
		if failed, detected := figures[0].value(name), figures[1].value(name); failed != want[0] || detected != want[1] {
			t.Errorf("%s: %s failed, detected: %s; expected %s", name, failed, detected, want)
		}
	}
	for _, column := range figures[0].columns {
		if column.title == "queries sent twice" && column.cells[0] != "1" {
			t.Errorf("%s queries were sent twice, expected 1", column.cells[0])
		}
	}
}

func TestWhatIsNotThereIsRefused(t *testing.T) {
	for _, arguments := range [][]string{
		{"-only", "nonesuch"},
		{"-proxies", "nonesuch"},
		{"-rounds", "0"},
		{"-scale", "3x0"},
		{"-scale", "many"},
		{"-add", "another"},
		{"small"},
	} {
		if err := run(t.Context(), append([]string{"-caddy", "/nonexistent", "-stock", stock}, arguments...), new(bytes.Buffer)); err == nil {
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
