package health

import (
	"strings"
	"testing"
	"time"
)

func TestOnlyConsecutiveResultsChangeAVerdict(t *testing.T) {
	standard := Thresholds{Passes: 2, Fails: 3}
	for _, test := range []struct {
		name       string
		thresholds Thresholds
		results    string // P and F
		verdicts   string // after each: ? unknown, + up, - down
	}{
		{"one pass is enough from unknown", standard, "P", "+"},
		{"three failures take a service down", standard, "PFFF", "+++-"},
		{"from unknown too", standard, "FFF", "??-"},
		{"a pass in between starts the count again", standard, "PFFPFF", "++++++"},
		{"failures before the first pass are no burden", standard, "FFPFF", "??+++"},
		{"two passes bring it back", standard, "FFFPP", "??--+"},
		{"one does not", standard, "FFFPFPF", "??-----"},
		{"it takes three failures once more", standard, "FFFPPFFF", "??--+++-"},
		{"thresholds of one", Thresholds{1, 1}, "PFPF", "+-+-"},
		{"fails 1, passes 3", Thresholds{3, 1}, "FPPPF", "---+-"},
		{"fail, fail, pass, a hundred times", standard, "P" + strings.Repeat("FFP", 100), strings.Repeat("+", 301)},
		{"while down: pass, fail, a hundred times", standard, "FFF" + strings.Repeat("PF", 100), "??" + strings.Repeat("-", 201)},
		{"more of the same changes nothing", standard, "PPPPPPFFFFFF", "++++++++----"},
	} {
		t.Run(test.name, func(t *testing.T) {
			var state State
			var verdicts strings.Builder
			for _, result := range test.results {
				state = state.Next(result == 'P', test.thresholds)
				verdicts.WriteByte("?+-"[state.Verdict])
			}
			if got := verdicts.String(); got != test.verdicts {
				t.Errorf("results  %s\nverdicts %s\nwant     %s", test.results, got, test.verdicts)
			}
		})
	}
}

func TestAVerdictIsInDoubtWhileTheLastResultSpeaksAgainstIt(t *testing.T) {
	for _, test := range []struct {
		state State
		want  bool
	}{
		{State{}, false},
		{State{Verdict: Unknown, Passed: false, Streak: 1}, true},
		{State{Verdict: Up, Passed: true, Streak: 5}, false},
		{State{Verdict: Up, Passed: false, Streak: 1}, true},
		{State{Verdict: Down, Passed: false, Streak: 3}, false},
		{State{Verdict: Down, Passed: true, Streak: 1}, true},
	} {
		if got := test.state.InDoubt(); got != test.want {
			t.Errorf("%+v: in doubt %t, want %t", test.state, got, test.want)
		}
	}
}

func TestWaitsBetweenProbes(t *testing.T) {
	schedule := Schedule{Interval: 2 * time.Second, Jitter: 10}
	const sure, doubt = false, true
	for _, test := range []struct {
		name   string
		doubt  bool
		random float64
		want   time.Duration
	}{
		{"least", sure, 0, 1800 * time.Millisecond},
		{"middle", sure, 0.5, 2 * time.Second},
		{"in doubt, least", doubt, 0, 450 * time.Millisecond},
		{"in doubt, middle", doubt, 0.5, 500 * time.Millisecond},
	} {
		if got := schedule.Next(test.doubt, test.random); got != test.want {
			t.Errorf("%s: %s, want %s", test.name, got, test.want)
		}
	}
	if got := schedule.Next(sure, 0.999999); got <= 2199*time.Millisecond || got > 2200*time.Millisecond {
		t.Errorf("most: %s, want nearly 2.2s", got)
	}
	if got := (Schedule{Interval: time.Second}).Next(sure, 0.9); got != time.Second {
		t.Errorf("without jitter: %s, want 1s", got)
	}
}

func TestProbesAreMadeAtATwentiethOfTheInterval(t *testing.T) {
	schedule := Schedule{Interval: 2 * time.Second}
	for _, test := range []struct{ last, wait, want time.Duration }{
		{0, 2 * time.Second, 2 * time.Second},
		{0, 2049 * time.Millisecond, 2 * time.Second},
		{0, 2050 * time.Millisecond, 2100 * time.Millisecond},
		{1234 * time.Millisecond, 500 * time.Millisecond, 1700 * time.Millisecond},
		{1200 * time.Millisecond, time.Millisecond, 1300 * time.Millisecond}, // not at once
		{1234 * time.Millisecond, 20 * time.Millisecond, 1300 * time.Millisecond},
		{1234 * time.Millisecond, 0, 1300 * time.Millisecond},
	} {
		if got := schedule.Tick(test.last, test.wait); got != test.want {
			t.Errorf("%s after %s is %s, want %s", test.wait, test.last, got, test.want)
		}
	}
}

func TestFirstWaitsSpreadOverTheInterval(t *testing.T) {
	schedule := Schedule{Interval: time.Second}
	var tenths [10]int
	for node := range 1000 {
		wait := schedule.First("10.0.0." + string(rune('0'+node%10)) + ":" + time.Duration(node).String())
		if wait <= 0 || wait > time.Second {
			t.Fatalf("first wait is %s", wait)
		}
		tenths[min(int(10*wait/time.Second), 9)]++
	}
	for i, count := range tenths {
		if count < 50 {
			t.Errorf("only %d of 1000 nodes in tenth %d of the interval", count, i)
		}
	}
}

func TestAnswersOfTheGUI(t *testing.T) {
	for _, test := range []struct {
		status int
		body   string
		passes bool
	}{
		{200, `{"error":"false","message":"pong","results":{}}`, true},
		{200, `{"error":false,"message":"pong","results":null}`, true},
		{200, `{"error":false,"message":"pong"}`, true},
		{200, `{"message":"pong"}`, true},
		{200, ` {"message" : "pong"} `, true},
		{200, `{"error":true,"message":"pong"}`, false},
		{200, `{"error":"true","message":"pong"}`, false},
		{200, `{"error":null,"message":"pong"}`, false},
		{200, `{"error":false,"message":"PONG"}`, false},
		{200, `{"error":false,"message":["pong"]}`, false},
		{200, `{"error":false}`, false},
		{200, `{"error":false,"message":"pong"`, false},
		{200, `{"error":false,"message":"pong"} trailing`, false},
		{200, `<html>pong</html>`, false},
		{200, `["pong"]`, false},
		{200, `"pong"`, false},
		{200, ``, false},
		{201, `{"error":false,"message":"pong"}`, false},
		{204, ``, false},
		{302, `{"error":false,"message":"pong"}`, false},
		{401, `{"error":false,"message":"pong"}`, false},
		{502, `{"error":false,"message":"pong"}`, false},
	} {
		if err := GUI(test.status, []byte(test.body)); (err == nil) != test.passes {
			t.Errorf("%d %s: %v, want to pass: %t", test.status, test.body, err, test.passes)
		} else if err != nil && test.body != "" && strings.Contains(err.Error(), test.body) {
			t.Errorf("the error shows what the node sent: %v", err)
		}
	}
}

func TestAnswersOfGSQLAndRESTPP(t *testing.T) {
	for status, passes := range map[int]bool{
		200: true, 204: true, 301: true, 400: true, 401: true, 403: true, 404: true, 405: true,
		429: true, 500: true, 503: true, 502: false, 504: false,
	} {
		if err := Gateway(status); (err == nil) != passes {
			t.Errorf("%d: %v, want to pass: %t", status, err, passes)
		}
	}
}

func FuzzGUI(f *testing.F) {
	f.Add(200, []byte(`{"error":false,"message":"pong"}`))
	f.Add(502, []byte(`<html>`))
	f.Add(200, []byte(`{"message":{"message":"pong"}}`))
	f.Fuzz(func(t *testing.T, status int, body []byte) {
		if GUI(status, body) == nil && (status != 200 || !strings.Contains(string(body), "pong")) {
			// An escaped spelling of pong is no documented answer, so it may fail.
			t.Errorf("%d %q passed", status, body)
		}
	})
}
