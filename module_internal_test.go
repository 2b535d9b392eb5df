package tigergraph

import (
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
)

// within fails the test if something does not end.
func within(t *testing.T, what string, do func()) {
	t.Helper()
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		do()
	}()
	select {
	case <-ended:
	case <-time.After(5 * time.Minute):
		t.Fatalf("%s does not end", what)
	}
}

// provisionedApp returns an app in a context of its own.
func provisionedApp(t *testing.T) *App {
	t.Helper()
	ctx, err := caddy.ProvisionContext(&caddy.Config{Admin: &caddy.AdminConfig{Disabled: true}})
	if err != nil {
		t.Fatal(err)
	}
	app, err := ctx.App("tigergraph")
	if err != nil {
		t.Fatal(err)
	}
	return app.(*App)
}

// The page asks for its status just when its configuration ends, for then its
// stream does.
func TestAnAppStopsWhileSomebodyAsksForItsStatus(t *testing.T) {
	within(t, "a stop", func() {
		for range 300 {
			app := provisionedApp(t)
			var wait sync.WaitGroup
			for range 4 {
				wait.Go(func() { _, _ = app.feed.Snapshot() })
			}
			wait.Go(func() { _ = app.Stop() })
			wait.Go(func() { _ = app.Cleanup() })
			wait.Wait()
		}
	})
}

// The server may get a request, which makes nodes known, before the app has started
// or while it stops.
func TestAnAppStartsAndStopsWhileNodesAreMadeKnown(t *testing.T) {
	within(t, "a start or stop", func() {
		for range 300 {
			app := provisionedApp(t)
			policy := &Policy{app: app, logger: app.logger, dynamic: true}
			policy.roster.Store(new(roster))
			app.adopt(policy)
			var wait sync.WaitGroup
			for _, address := range []string{"m1:14240", "m2:14240", "m3:14240", "m4:14240"} {
				wait.Go(func() {
					pool := reverseproxy.UpstreamPool{{Host: new(reverseproxy.Host), Dial: address}}
					policy.Select(pool, httptest.NewRequest(http.MethodGet, "http://edge/", nil), httptest.NewRecorder())
				})
			}
			wait.Go(func() {
				if err := app.Start(); err != nil {
					t.Error(err)
				}
				_ = app.Stop()
			})
			wait.Wait()
			_ = app.Cleanup()
		}
	})
}
