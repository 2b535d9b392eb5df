package lookup_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/lookup"
)

// resolver is what answers, and it writes down what it is told of its answers.
type resolver struct {
	mu     sync.Mutex
	answer func(ctx context.Context) ([]string, error)
	asked  int
	log    []string
}

func (r *resolver) say(answer func(ctx context.Context) ([]string, error)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.answer = answer
}

func (r *resolver) ask(ctx context.Context) ([]string, error) {
	r.mu.Lock()
	r.asked++
	answer := r.answer
	r.mu.Unlock()
	return answer(ctx)
}

func (r *resolver) note(format string, arguments ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.log = append(r.log, fmt.Sprintf(format, arguments...))
}

// told returns what was noted since it was asked last.
func (r *resolver) told() (text string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	text, r.log = strings.Join(r.log, "; "), nil
	return text
}

func (r *resolver) Answered(nodes []string, again bool) {
	r.note("%s, again %t", strings.Join(nodes, " "), again)
}

func (r *resolver) Failed(reason error, first, known bool) {
	r.note("%v, first %t, known %t", reason, first, known)
}

func (r *resolver) Panicked(value any, stack []byte) {
	r.note("panic %v with a stack %t", value, len(stack) > 0)
}

func nodes(names ...string) func(context.Context) ([]string, error) {
	return func(context.Context) ([]string, error) { return names, nil }
}

func silent(ctx context.Context) ([]string, error) {
	<-ctx.Done()
	return nil, ctx.Err()
}

func failing(context.Context) ([]string, error) { return nil, errors.New("no such host") }

// last returns what a request is given, and how long it has waited.
func last(t *testing.T, source *lookup.Source) (nodes string, waited time.Duration) {
	t.Helper()
	began := time.Now()
	known, err := source.Last(t.Context())
	if (err == nil) != (len(known) > 0) {
		t.Errorf("%q, %v", known, err)
	}
	return strings.Join(known, " "), time.Since(began)
}

func TestWhatASourceSaidLastStaysUntilItSaysSomethingElse(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		from := new(resolver)
		from.say(nodes("m1", "m2"))
		source := lookup.NewSource(lookup.NewAnswers("a tg"), 30*time.Second, from.ask, from)
		source.Begin(t.Context())
		source.Begin(t.Context()) // which changes nothing
		for _, step := range []struct {
			what         string
			answer       func(context.Context) ([]string, error)
			after        time.Duration
			given, noted string
		}{
			{"the first answer", nodes("m1", "m2"), 0, "m1 m2", "m1 m2, again false"},
			{"not before it is old", nodes("m1", "m3"), 30 * time.Second, "m1 m2", ""},
			{"another answer", nodes("m1", "m3"), time.Second, "m1 m3", "m1 m3, again false"},
			{"it fails", failing, 30 * time.Second, "m1 m3", "no such host, first true, known true"},
			{"and is asked again soon", failing, 5 * time.Second, "m1 m3", "no such host, first false, known true"},
			{"no nodes", nodes(), 5 * time.Second, "m1 m3", "the answer has no nodes, first false, known true"},
			{"silence", silent, 16 * time.Second, "m1 m3", "context deadline exceeded, first false, known true"},
			{"a panic", func(context.Context) ([]string, error) { panic("a bug") }, 5 * time.Second, "m1 m3", "panic a bug with a stack true; the source panicked, first false, known true"},
			{"it is mended", nodes("m4"), 5 * time.Second, "m4", "m4, again true"},
		} {
			from.say(step.answer)
			time.Sleep(step.after)
			synctest.Wait()
			if given, waited := last(t, source); given != step.given || waited != 0 {
				t.Errorf("%s: a request is given %q after %s, want %q", step.what, given, waited, step.given)
			}
			if noted := from.told(); noted != step.noted {
				t.Errorf("%s: noted %q, want %q", step.what, noted, step.noted)
			}
		}
	})
}

func TestRequestsWaitForTheFirstAnswerForAShortTime(t *testing.T) {
	for _, test := range []struct {
		name   string
		answer func(context.Context) ([]string, error)
		given  string
		waited time.Duration
	}{
		{"it comes late", func(context.Context) ([]string, error) {
			time.Sleep(2 * time.Second)
			return []string{"m1"}, nil
		}, "m1", 2 * time.Second},
		{"it fails late", func(context.Context) ([]string, error) {
			time.Sleep(time.Second)
			return nil, errors.New("no such host")
		}, "", time.Second},
		{"silence", silent, "", lookup.FirstTimeout},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				from := new(resolver)
				from.say(test.answer)
				source := lookup.NewSource(lookup.NewAnswers("a tg"), time.Minute, from.ask, from)
				source.Begin(t.Context())
				if given, waited := last(t, source); given != test.given || waited != test.waited {
					t.Errorf("a request is given %q after %s, want %q after %s", given, waited, test.given, test.waited)
				}
				if given, waited := last(t, source); given != test.given || waited != 0 {
					t.Errorf("the next one is given %q after %s", given, waited)
				}
			})
		})
	}
}

func TestARequestThatEndsDoesNotWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		from := new(resolver)
		from.say(silent)
		source := lookup.NewSource(lookup.NewAnswers("a tg"), time.Minute, from.ask, from)
		source.Begin(t.Context())
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		began := time.Now()
		_, err := source.Last(ctx)
		if took := time.Since(began); took != time.Second || err == nil || err.Error() != "the source 'a tg' has given no nodes yet" {
			t.Errorf("%v after %s", err, took)
		}
	})
}

func TestAnswersSurviveTheConfigurationThatAskedForThem(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		from, answers := new(resolver), lookup.NewAnswers("a tg")
		from.say(nodes("m1"))
		before, end := context.WithCancel(t.Context())
		lookup.NewSource(answers, time.Second, from.ask, from).Begin(before)
		synctest.Wait()
		from.say(silent)
		time.Sleep(2 * time.Second) // so that a look-up is under way
		end()
		synctest.Wait()
		asked := from.asked
		time.Sleep(time.Hour)
		if noted := from.told(); from.asked != asked || noted != "m1, again false" {
			t.Errorf("asked %d times behind the configuration, noted %q", from.asked-asked, noted)
		}
		after := lookup.NewSource(answers, time.Second, from.ask, from)
		after.Begin(t.Context())
		if given, waited := last(t, after); given != "m1" || waited != 0 {
			t.Errorf("after a reload a request is given %q after %s", given, waited)
		}
	})
}

func TestSourcesAreFlattenedAndTheirPortsCompleted(t *testing.T) {
	for _, test := range []struct {
		source string
		want   []string
		failed bool
	}{
		{source: `{"source":"srv","name":"tg"}`, want: []string{`{"source":"srv","name":"tg"}`}},
		{source: `{"source":"a","name":"tg"}`, want: []string{`{"name":"tg","port":"14240","source":"a"}`}},
		{source: `{"source":"a","name":"tg","port":"9000"}`, want: []string{`{"name":"tg","port":"9000","source":"a"}`}},
		{source: `{"source":"multi","sources":[{"source":"a"},{"source":"tigergraph","sources":[{"source":"srv"}]}]}`, want: []string{`{"port":"14240","source":"a"}`, `{"source":"srv"}`}},
		{source: `{"source":"multi"}`},
		{source: `{"source":"multi","sources":"none"}`, failed: true},
		{source: `[]`, failed: true},
	} {
		sources, err := lookup.Flatten(json.RawMessage(test.source))
		var got []string
		for _, source := range sources {
			got = append(got, string(source))
		}
		if !slices.Equal(got, test.want) || (err != nil) != test.failed || err != nil && !strings.HasPrefix(err.Error(), "dynamic: ") {
			t.Errorf("%s: %q, %v", test.source, got, err)
		}
	}
}
