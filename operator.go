package tigergraph

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/certmagic"
	"go.uber.org/zap"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/clock"
	"github.com/caddy-tigergraph/caddy-tigergraph/internal/fleet"
	"github.com/caddy-tigergraph/caddy-tigergraph/internal/statuspage"
)

const (
	// wordPath is where in Caddy's storage it is kept what the operator said.
	wordPath = "tigergraph/operator.json"
	// followEvery is how often it is looked whether another edge has changed that.
	followEvery = 2 * time.Second
	// wordTimeout bounds how long a storage that hangs holds up a command.
	wordTimeout = 10 * time.Second
)

// saying lets one command change the word at a time, also of two configurations during
// a reload: of two drains at once, each could take the other's node for the one that
// is left.
var saying sync.Mutex

// readOperator lets the app begin with what the storage holds or, while it cannot be
// read, with what the running configuration knows.
func (a *App) readOperator() {
	ctx, cancel := context.WithTimeout(a.ctx, wordTimeout)
	defer cancel()
	a.followWord(ctx)
	a.applyWord(a.operator.known())
}

// followOperator takes over what other edges were told that share the storage.
func (a *App) followOperator(ctx context.Context) {
	ticker := time.NewTicker(followEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
		func() {
			defer a.recover("following the operator")
			limited, cancel := context.WithTimeout(ctx, wordTimeout)
			defer cancel()
			if a.followWord(limited) {
				a.applyWord(a.operator.known())
			}
		}()
	}
}

// followWord reads the word if it has changed, and reports whether it had.
func (a *App) followWord(ctx context.Context) (changed bool) {
	o := &a.operator
	stat, err := o.storage.Stat(ctx, wordPath)
	if errors.Is(err, fs.ErrNotExist) {
		return false // nothing was said, or it is lost: what is known stays in force
	}
	o.mu.Lock()
	same := err == nil && stat.Modified.Equal(o.modified) && stat.Size == o.size && !o.modified.IsZero()
	o.mu.Unlock()
	if same {
		return false
	}
	var word fleet.Word
	if err == nil {
		word, err = readWord(ctx, o.storage)
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if err != nil {
		if !o.failing && ctx.Err() == nil || !o.failing && errors.Is(ctx.Err(), context.DeadlineExceeded) {
			a.logger.Error("what the operator said cannot be read from the storage; what is known stays in force",
				zap.String("file", wordPath), zap.Error(err))
		}
		o.failing = true
		return false
	}
	o.failing = false
	o.modified, o.size = stat.Modified, stat.Size
	if changed = word.Version > o.word.Version; changed {
		o.word = word.Settle(o.word, time.Now())
	}
	return changed
}

func readWord(ctx context.Context, storage certmagic.Storage) (fleet.Word, error) {
	text, err := storage.Load(ctx, wordPath)
	if err != nil {
		return fleet.Word{}, fmt.Errorf("loading: %w", err)
	}
	word, err := fleet.ParseWord(text)
	if err != nil {
		return fleet.Word{}, err
	}
	return word, nil
}

// say changes the word, in the storage first. If that fails nothing has changed. The
// caller holds saying.
func (a *App) say(change func(fleet.Word) fleet.Word) (err error) {
	o := &a.operator
	ctx, cancel := context.WithTimeout(a.ctx, wordTimeout)
	defer cancel()
	failed := func(doing string, err error) error {
		return refuse(http.StatusServiceUnavailable, "nothing has changed: %s %s in Caddy's storage failed: %w", doing, wordPath, err)
	}
	if err := o.storage.Lock(ctx, wordPath); err != nil {
		return failed("locking", err)
	}
	defer func() {
		if unlockErr := o.storage.Unlock(context.WithoutCancel(ctx), wordPath); unlockErr != nil {
			a.logger.Error("what the operator said stays locked in the storage", zap.String("file", wordPath), zap.Error(unlockErr))
		}
	}()
	word, err := readWord(ctx, o.storage)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		word = o.known()
	case err != nil:
		return failed("reading", err)
	}
	known := o.known()
	if known.Version > word.Version { // the storage is another, or was reset
		word = known
	}
	now := time.Now()
	word = change(word.Settle(known, now)).Settle(known, now)
	text, err := word.Encode()
	if err != nil {
		return failed("writing", err)
	}
	if err := o.storage.Store(ctx, wordPath, text); err != nil {
		return failed("writing", err)
	}
	stat, err := o.storage.Stat(ctx, wordPath)
	o.mu.Lock()
	o.word = word
	if err == nil {
		o.modified, o.size = stat.Modified, stat.Size
	}
	o.mu.Unlock()
	a.applyWord(word)
	return nil
}

// applyWord makes the word true of the app's nodes and policies.
func (a *App) applyWord(word fleet.Word) {
	now := time.Now()
	a.fleet.Follow(word, now)
	for _, policy := range a.allPolicies() {
		policy.useClusters(word, now)
	}
}

// useClusters makes a cluster the policy's active one, if the operator said so.
func (p *Policy) useClusters(word fleet.Word, now time.Time) {
	active, kept, until := word.Active(p.clusters(), now)
	p.mu.Lock()
	current := p.roster.Load()
	if current.active == active && current.kept == kept {
		p.mu.Unlock()
		return
	}
	changed := *current
	changed.active, changed.kept = active, kept
	p.roster.Store(changed.align(current.pool))
	if p.keepTimer != nil {
		p.keepTimer.Stop()
		p.keepTimer = nil
	}
	if kept >= 0 {
		p.keepTimer = time.AfterFunc(until.Sub(now), func() {
			defer p.app.recover("ending the drain of a cluster")
			p.useClusters(p.app.operator.known(), time.Now())
		})
	}
	p.mu.Unlock()
	p.app.fleet.NoteChange()
	if current.active != active {
		names := p.clusters()
		p.logger.Warn("another cluster is the active one", zap.String("cluster", names[active]), zap.String("before", names[current.active]))
		p.app.noteSwitch(names[active], names[current.active])
	}
}

// noteSwitch makes a switch known, once for all policies that follow it.
func (a *App) noteSwitch(to, from string) {
	a.mu.Lock()
	again := a.switched == to
	a.switched = to
	a.mu.Unlock()
	if !again {
		a.outbox.add(nodeEvent{name: "cluster_switched", cluster: to, before: from})
	}
}

// clusterStatus is what is known of a cluster.
type clusterStatus = statuspage.ClusterStatus

// clusterStatuses returns the clusters in the order in which policies name them.
func (a *App) clusterStatuses() []clusterStatus {
	word, now := a.operator.known(), time.Now()
	statuses := []clusterStatus{}
	for _, policy := range a.allPolicies() {
		names := policy.clusters()
		active, kept, until := word.Active(names, now)
		for i, name := range names {
			at := slices.IndexFunc(statuses, func(s clusterStatus) bool { return s.Name == name })
			if at < 0 {
				at = len(statuses)
				statuses = append(statuses, clusterStatus{Name: name, Nodes: []string{}})
			}
			status := &statuses[at]
			status.Active = status.Active || i == active
			if said, switched := word.Switches[name]; switched && i == active {
				status.Since = moment(said.Since)
			}
			if i == kept {
				status.DrainingUntil = moment(until)
			}
			for _, m := range policy.allMembers() {
				if m.cluster == i && !slices.Contains(status.Nodes, m.Address) {
					status.Nodes = append(status.Nodes, m.Address)
				}
			}
		}
	}
	return statuses
}

// switchTo makes a cluster the active one. The one before keeps its sessions for so
// long.
func (a *App) switchTo(name string, drain time.Duration) ([]clusterStatus, error) {
	if drain < 0 || drain > longestDrain {
		return nil, refuse(http.StatusBadRequest, "'drain' must be a duration from 0 (sessions end at once) to %s, not %s", fleet.Brief(longestDrain), fleet.Brief(drain))
	}
	saying.Lock()
	defer saying.Unlock()
	var known []string
	everywhere, found := true, false
	for _, status := range a.clusterStatuses() {
		known = append(known, status.Name)
		if status.Name == name {
			found, everywhere = true, status.Active
		}
	}
	switch {
	case !found && len(known) == 0:
		return nil, refuse(http.StatusNotFound, "there is no cluster %q; the configuration has none", name)
	case !found:
		return nil, refuse(http.StatusNotFound, "there is no cluster %q; expected one of %s", name, strings.Join(known, ", "))
	}
	if !everywhere || a.isStandbySomewhere(name) {
		err := a.say(func(w fleet.Word) fleet.Word { return w.Switched(name, drain, time.Now()) })
		if err != nil {
			return nil, err
		}
		a.logger.Info("the operator switched clusters", zap.String("cluster", name), zap.Duration("drain", drain))
	}
	return a.clusterStatuses(), nil
}

// isStandbySomewhere reports whether a policy knows a cluster and uses another.
func (a *App) isStandbySomewhere(name string) bool {
	return slices.ContainsFunc(a.allPolicies(), func(p *Policy) bool {
		at := slices.Index(p.clusters(), name)
		return at >= 0 && p.roster.Load().active != at
	})
}

// moment returns a time for JSON, nil if it never was.
func moment(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	date := clock.Date(t)
	return &date
}

// longestDrain is longer than any maintenance.
const longestDrain = 365 * 24 * time.Hour

// refuse makes an error with the status and the message that the admin endpoint
// answers with.
func refuse(status int, format string, arguments ...any) error {
	return caddy.APIError{HTTPStatus: status, Err: fmt.Errorf(format, arguments...)}
}
