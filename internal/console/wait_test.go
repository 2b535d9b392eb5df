package console

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func TestANodeIsQuietOnceNoRequestIsInFlightAndNoSessionWasUsed(t *testing.T) {
	used := ago(30 * time.Second)
	for _, test := range []struct {
		name string
		idle time.Duration
		node node
		want string
	}{
		{"requests", 0, node{Requests: 1}, "has 1 request in flight"},
		{"no requests", 0, node{LastSession: used}, ""},
		{"a session that was used lately", time.Minute, node{LastSession: used}, "was used at"},
		{"a session that was used long ago", 30 * time.Second, node{LastSession: used}, ""},
		{"no session since the drain began", time.Minute, node{}, "it is not known yet"},
	} {
		quiet := Quiet{Idle: test.idle}
		done, progress := quiet.Look(test.node, noon)
		if done != (test.want == "") || !strings.Contains(progress, test.want) {
			t.Errorf("%s: done is %t, %q", test.name, done, progress)
		}
	}

	unused := Quiet{Idle: time.Minute}
	unused.Look(node{}, noon)
	if done, _ := unused.Look(node{}, noon.Add(60*time.Second)); !done {
		t.Error("a node whose sessions nobody uses is never quiet")
	}
	quiet := Quiet{Idle: time.Minute}
	quiet.Look(node{Requests: 1}, noon)
	if done, _ := quiet.Look(node{}, noon.Add(59*time.Second)); done {
		t.Error("the end of the last request does not count")
	}
	if done, _ := quiet.Look(node{}, noon.Add(60*time.Second)); !done {
		t.Error("it counts for too long")
	}
}

func TestANodeIsProvenByProbesThatWereSentAfterwards(t *testing.T) {
	passed := service{Verdict: "up", Streak: 3, LastProbe: ago(time.Second)}
	for _, test := range []struct {
		name     string
		services map[string]service
		want     string
	}{
		{"all passed", all(passed), ""},
		{"old probes", all(service{Verdict: "up", Streak: 9, LastProbe: ago(time.Minute)}), "gui, gsql and restpp have not passed"},
		{"one at the very moment", map[string]service{"gui": {Verdict: "up", Streak: 9, LastProbe: ago(30 * time.Second)}, "gsql": passed}, "gui has not passed"},
		{"a probe that failed, though the service is not down yet", map[string]service{
			"gui": {Verdict: "up", LastProbe: ago(time.Second), Streak: 2}, "gsql": passed,
		}, "gui has not passed"},
		{"never probed", map[string]service{"gui": passed, "gsql": {Verdict: "unknown"}}, "gsql has not passed"},
		{"down", map[string]service{"gui": passed, "gsql": {Verdict: "down", LastProbe: ago(time.Second)}}, "gsql is down"},
		{"not checked", map[string]service{"gui": passed, "gsql": {Verdict: "off"}}, ""},
	} {
		done, progress := Proven([]node{{Address: "m1", Services: all(passed)}, {Address: "m1", Services: test.services}}, noon.Add(-30*time.Second))
		if done != (test.want == "") || !strings.Contains(progress, test.want) {
			t.Errorf("%s: done is %t, %q", test.name, done, progress)
		}
	}
}

func TestWaitingTellsItsProgressAndEnds(t *testing.T) {
	wait := func(limit time.Duration, look func(now time.Time) (bool, string, error)) (said string, took time.Duration, err error) {
		synctest.Test(t, func(t *testing.T) {
			var out bytes.Buffer
			began := time.Now()
			err = (&Printer{out: &out}).Await(t.Context(), limit, look)
			said, took = out.String(), time.Since(began)
		})
		return said, took, err
	}
	left := 20
	said, took, err := wait(time.Hour, func(time.Time) (bool, string, error) {
		left--
		if left > 10 {
			return false, "many", nil
		}
		return left == 0, "few", nil
	})
	if said != "many\nfew\n" || err != nil || took > 5*time.Second {
		t.Errorf("after %s: %v, %q", took, err, said)
	}

	waited := WaitedError{}
	_, took, err = wait(time.Minute, func(time.Time) (bool, string, error) { return false, "m1 has 3 requests in flight", nil })
	if !errors.As(err, &waited) || took != time.Minute || err.Error() != "after 1m0s m1 has 3 requests in flight" {
		t.Errorf("after %s: %v", took, err)
	}

	refused := errors.New("the node is gone")
	if _, took, err = wait(time.Hour, func(time.Time) (bool, string, error) { return false, "", refused }); !errors.Is(err, refused) || took != 0 {
		t.Errorf("after %s: %v", took, err)
	}

	lost, began := LostError{errors.New("nobody answers")}, time.Time{}
	if _, took, err = wait(time.Hour, func(now time.Time) (bool, string, error) {
		if began.IsZero() {
			began = now
		}
		if now.Sub(began) < 5*time.Second {
			return false, "", lost // as while Caddy reloads
		}
		return true, "", nil
	}); err != nil || took != 5*time.Second {
		t.Errorf("a loss that passes: after %s, %v", took, err)
	}
	if _, took, err = wait(time.Hour, func(time.Time) (bool, string, error) { return false, "", lost }); !errors.Is(err, lost) || took > time.Minute {
		t.Errorf("a loss that lasts: after %s, %v", took, err)
	}
}

func TestANodeThatIsDownIsNotSaidToBeReady(t *testing.T) {
	if names, reason := Down(off("m1:14240")); names != "gui, gsql and restpp are down" || !strings.Contains(reason, "refused") {
		t.Errorf("%q, %q", names, reason)
	}
	if names, _ := Down(node{Services: all(service{Verdict: "up"})}); names != "" {
		t.Errorf("a node that is up: %q", names)
	}
}
