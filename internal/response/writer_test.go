package response

import (
	"net/http"
	"net/http/httptest"
	"testing"
	"time"
)

// outer is a handler's writer around another.
type outer struct{ http.ResponseWriter }

func (o outer) Unwrap() http.ResponseWriter { return o.ResponseWriter }

// ours is one of another kind.
type ours struct{ outer }

func TestWritersAreFoundWithinOthers(t *testing.T) {
	server := httptest.NewRecorder()
	for name, test := range map[string]struct {
		writer http.ResponseWriter
		within bool
	}{
		"the server's":  {server, false},
		"a handler's":   {outer{server}, false},
		"ours":          {ours{outer{server}}, true},
		"within others": {outer{outer{ours{outer{server}}}}, true},
	} {
		if Innermost(test.writer) != http.ResponseWriter(server) || Within[ours](test.writer) != test.within {
			t.Errorf("%s: within ours %t", name, Within[ours](test.writer))
		}
	}
}

func TestTheDeadlineIsSetAnewWhereItMayHavePassed(t *testing.T) {
	begin := time.Unix(1000, 0)
	for _, test := range []struct {
		after, idle, whole time.Duration
		unknown            bool
		want               time.Duration // after the beginning, 0 if none is due
	}{
		{after: 10 * time.Second, idle: time.Minute},
		{after: 30 * time.Second, idle: time.Minute, want: 90 * time.Second},
		{after: 10 * time.Second, idle: time.Minute, unknown: true, want: 70 * time.Second},
		{after: 50 * time.Second, idle: time.Minute, whole: 80 * time.Second, want: 80 * time.Second},
		{after: 50 * time.Second, idle: time.Minute, whole: time.Hour, want: 110 * time.Second},
	} {
		known := begin
		if test.unknown {
			known = time.Time{}
		}
		deadline, due := WriteDeadline(begin.Add(test.after), known, test.idle, test.whole)
		if due != (test.want != 0) || due && !deadline.Equal(begin.Add(test.want)) {
			t.Errorf("%+v: %s, due %t", test, deadline.Sub(begin), due)
		}
	}
}
