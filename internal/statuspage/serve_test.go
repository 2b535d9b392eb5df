package statuspage_test

import (
	"errors"
	"math"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/statuspage"
)

func TestThePageIsServedAsItIsAskedFor(t *testing.T) {
	feed := statuspage.NewFeed(func(time.Time) *statuspage.Snapshot { return new(statuspage.Snapshot) }, func(err error) { t.Error(err) })
	t.Cleanup(feed.End)
	for _, test := range []struct {
		method, target, accept string
		status                 int
		kind, vary             string
	}{
		{"GET", "/", "", 200, "text/html", "Accept"},
		{"GET", "/any/path", "application/json", 200, "application/json", "Accept"},
		{"GET", "/?format=json", "text/html", 200, "application/json", ""},
		{"HEAD", "/?format=events", "", 200, "text/event-stream", ""},
		{"GET", "/?format=xml", "", 400, "text/plain", ""},
		{"POST", "/", "", 405, "text/plain", ""},
	} {
		r, w := httptest.NewRequest(test.method, test.target, nil), httptest.NewRecorder()
		if test.accept != "" {
			r.Header.Set("Accept", test.accept)
		}
		if err := statuspage.Serve(w, r, feed); err != nil {
			t.Errorf("%s %s: %v", test.method, test.target, err)
		}
		header := w.Header()
		if w.Code != test.status || !strings.HasPrefix(header.Get("Content-Type"), test.kind) || header.Get("Vary") != test.vary ||
			test.status == http.StatusMethodNotAllowed && header.Get("Allow") != "GET, HEAD" {
			t.Errorf("%s %s: %d, %v", test.method, test.target, w.Code, header)
		}
		if test.status == http.StatusOK && (header.Get("Cache-Control") != "no-store" || header.Get("X-Content-Type-Options") != "nosniff") {
			t.Errorf("%s %s may be kept: %v", test.method, test.target, header)
		}
	}
}

func TestAStatusThatCannotBeReadIsAnError(t *testing.T) {
	share := statuspage.Service{Share: math.NaN()} // which JSON lacks
	unwritable := &statuspage.Snapshot{Nodes: []statuspage.Node{{Services: map[string]statuspage.Service{"gui": share}}}}
	feed := statuspage.NewFeed(func(time.Time) *statuspage.Snapshot { return unwritable }, func(error) {})
	t.Cleanup(feed.End)
	err := statuspage.Serve(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/?format=json", nil), feed)
	if !errors.As(err, new(statuspage.SnapshotError)) {
		t.Errorf("%v", err)
	}
}
