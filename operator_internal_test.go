package tigergraph

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
	"github.com/caddyserver/certmagic"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/fleet"
)

// provisionedPolicy returns a policy with a standby, whose app has not started, with
// this folder for a storage.
func provisionedPolicy(t *testing.T, storage string) *Policy {
	t.Helper()
	ctx, err := caddy.ProvisionContext(&caddy.Config{
		Admin:      &caddy.AdminConfig{Disabled: true},
		StorageRaw: json.RawMessage(fmt.Sprintf(`{"module":"file_system","root":%q}`, storage)),
	})
	if err != nil {
		t.Fatal(err)
	}
	module, err := ctx.LoadModuleByID("http.handlers.reverse_proxy", []byte(`{"upstreams":[{"dial":"p1:14240"},{"dial":"p4:14240"}],"load_balancing":{
		"selection_policy":{"policy":"tigergraph","standby":[{"name":"dr","nodes":["p4:14240"]}],"health_check_off":true,"cookie":{"secrets":["0123456789abcdef"]}}}}`))
	if err != nil {
		t.Fatal(err)
	}
	return module.(*reverseproxy.Handler).LoadBalancing.SelectionPolicy.(*Policy)
}

// The server may get requests before the app has started: apps start in random order.
func TestTheActiveClusterIsKnownBeforeTheAppStarts(t *testing.T) {
	storage := t.TempDir()
	text, err := fleet.Word{}.Switched("dr", time.Hour, time.Now()).Encode()
	if err != nil {
		t.Fatal(err)
	}
	if err := (&certmagic.FileStorage{Path: storage}).Store(context.Background(), wordPath, text); err != nil {
		t.Fatal(err)
	}
	p := provisionedPolicy(t, storage)
	if r := p.roster.Load(); r.active != 1 || r.kept != 0 || !slices.Equal(r.homes.Places(), []int{1}) {
		t.Errorf("cluster %d is active, %d keeps its sessions, and clients belong to %v", r.active, r.kept, r.homes.Places())
	}
	if err := p.Cleanup(); err != nil {
		t.Fatal(err)
	}
}

// An edge that follows another knows of a switch a moment before its policies do.
func TestAClusterIsSaidToBeActiveOnceItIsUsed(t *testing.T) {
	p := provisionedPolicy(t, t.TempDir())
	word := fleet.Word{}.Switched("dr", time.Hour, time.Now())
	p.app.operator.Learn(word)
	active := func() (names string) {
		for _, status := range p.app.clusterStatuses() {
			if status.Active {
				names += status.Name
			}
			if !status.Active && (status.DrainingUntil != nil) != (p.roster.Load().kept >= 0) {
				t.Errorf("%s drains until %q", status.Name, status.DrainingUntil)
			}
		}
		return names
	}
	if names := active(); names != "primary" {
		t.Errorf("before the switch is in force, %q is said to be active", names)
	}
	p.app.applyWord(word)
	if names := active(); names != "dr" {
		t.Errorf("when the switch is in force, %q is said to be active", names)
	}
	if err := p.Cleanup(); err != nil {
		t.Fatal(err)
	}
}

// What ends a drain is set back with the clock, and ends with the policy.
func TestTheDrainOfAClusterEndsWhenItsTimeIsOver(t *testing.T) {
	p := provisionedPolicy(t, t.TempDir())
	later := time.Now().Add(time.Hour)
	word := fleet.Word{}.Switched("dr", 2*time.Hour, later.Add(-2*time.Hour).Add(2*time.Second))
	p.app.operator.Learn(word)
	p.useClusters(word, later) // as if it were later: the timer fires when much is left
	p.mu.Lock()
	first := p.keepTimer
	p.mu.Unlock()
	until(t, "after the clock was set back something else ends the drain", func() bool {
		p.mu.Lock()
		defer p.mu.Unlock()
		return p.keepTimer != nil && p.keepTimer != first
	})
	if r := p.roster.Load(); r.kept != 0 {
		t.Errorf("cluster %d keeps its sessions", r.kept)
	}
	if err := p.Cleanup(); err != nil {
		t.Fatal(err)
	}
	p.useClusters(word, later)
	if p.keepTimer != nil {
		t.Error("a policy that is gone waits for the end of a drain")
	}
}

// Requests of an ended configuration go on, as do its connections if the server missed
// them when it ended; and the sites of one that is being loaded serve before its start.
func TestEveryPolicyInUseFollowsASwitch(t *testing.T) {
	storage := t.TempDir()
	ended, running := provisionedPolicy(t, storage), provisionedPolicy(t, storage)
	if err := ended.Cleanup(); err != nil {
		t.Fatal(err)
	}
	loading := provisionedPolicy(t, storage)
	word := fleet.Word{}.Switched("dr", 0, time.Now())
	running.app.applyWord(word)
	for name, p := range map[string]*Policy{"has ended": ended, "runs": running, "is being loaded": loading} {
		if active := p.roster.Load().active; active != 1 {
			t.Errorf("the policy of a configuration that %s uses cluster %d", name, active)
		}
	}
	back := word.Switched("primary", 0, time.Now())
	running.app.applyWord(back)
	loading.app.applyWord(word) // which was read before, and is late
	for name, p := range map[string]*Policy{"has ended": ended, "runs": running, "is being loaded": loading} {
		if active := p.roster.Load().active; active != 0 {
			t.Errorf("after a late older word the policy of a configuration that %s uses cluster %d", name, active)
		}
	}
	for _, p := range []*Policy{running, loading} {
		if err := p.Cleanup(); err != nil {
			t.Fatal(err)
		}
	}
}

// A configuration may fail to start when its storage's word is known already.
func TestAWordIsTrueOfOthersOnceAllHasStarted(t *testing.T) {
	running, starting := provisionedPolicy(t, t.TempDir()), provisionedPolicy(t, t.TempDir())
	starting.app.operator.Learn(fleet.Word{Version: 20}.Switched("dr", 0, time.Now()))
	starting.app.startOperator()
	if ours, theirs := starting.roster.Load().active, running.roster.Load().active; ours != 1 || theirs != 0 {
		t.Errorf("of the configuration that starts cluster %d is active, of the one that runs cluster %d", ours, theirs)
	}
	running.app.applyWord(fleet.Word{Version: 2}.Switched("dr", time.Hour, time.Now()))
	if active := running.roster.Load().active; active != 1 {
		t.Errorf("after a switch of the configuration that runs cluster %d is active", active)
	}
	for _, p := range []*Policy{running, starting} {
		if err := p.Cleanup(); err != nil {
			t.Fatal(err)
		}
	}
}

// The storage may have told a configuration that is being loaded more than the one that
// runs, which looks every other second.
func TestAnOlderWordOfTheRunningConfigurationChangesNothing(t *testing.T) {
	storage := t.TempDir()
	running := provisionedPolicy(t, storage)
	text, err := fleet.Word{}.Switched("dr", 0, time.Now()).Encode()
	if err != nil {
		t.Fatal(err)
	}
	if err := (&certmagic.FileStorage{Path: storage}).Store(context.Background(), wordPath, text); err != nil {
		t.Fatal(err)
	}
	liveApps.Add(running.app)
	t.Cleanup(func() { liveApps.Remove(running.app) })
	loading := provisionedPolicy(t, storage)
	if active := loading.roster.Load().active; active != 1 {
		t.Errorf("cluster %d is active in the configuration that is being loaded, which knows of a switch", active)
	}
	for _, p := range []*Policy{running, loading} {
		if err := p.Cleanup(); err != nil {
			t.Fatal(err)
		}
	}
}

// counting is a storage that counts what is read of it.
type counting struct {
	certmagic.Storage
	loads atomic.Int64
}

func (c *counting) Load(ctx context.Context, key string) ([]byte, error) {
	c.loads.Add(1)
	return c.Storage.Load(ctx, key)
}

func TestNothingIsReadWhileTheOperatorSaysNothing(t *testing.T) {
	p := provisionedPolicy(t, t.TempDir())
	app := p.app
	storage := &counting{Storage: app.operator.Storage.(wordStorage).Storage}
	app.operator.Storage = wordStorage{storage}
	for range 10 {
		app.followWord(app.ctx)
	}
	if n := storage.loads.Load(); n != 0 {
		t.Errorf("a word that was never said was read %d times", n)
	}
	say := func(other certmagic.Storage, version int64) {
		text, err := fleet.Word{Version: version}.Encode()
		if err != nil {
			t.Fatal(err)
		}
		if err := other.Store(context.Background(), wordPath, text); err != nil {
			t.Fatal(err)
		}
	}
	say(storage.Storage, 10)
	for range 10 {
		app.followWord(app.ctx)
	}
	if n := storage.loads.Load(); n != 1 || app.operator.Known().Version != 10 {
		t.Errorf("one word was read %d times, and the version is %d", n, app.operator.Known().Version)
	}
	if err := p.Cleanup(); err != nil {
		t.Fatal(err)
	}
}
