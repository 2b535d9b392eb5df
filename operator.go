package tigergraph

import (
	"context"
	"errors"
	"maps"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/caddyserver/certmagic"
	"go.uber.org/zap"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/calls"
	"github.com/caddy-tigergraph/caddy-tigergraph/internal/fleet"
	"github.com/caddy-tigergraph/caddy-tigergraph/internal/statuspage"
)

const (
	// wordPath is the key in Caddy's storage under which the operator's word is kept.
	wordPath = "tigergraph/operator.json"
	// followEvery is how often the storage is checked for a newer word from another edge.
	followEvery = 2 * time.Second
	// wordTimeout bounds how long a storage that hangs holds up a command.
	wordTimeout = 10 * time.Second
)

// saying lets one command change the word at a time, also of two configurations during
// a reload: of two drains at once, each could take the other's node for the one that
// is left.
var saying sync.Mutex

// wordStorage is Caddy's storage.
type wordStorage struct{ certmagic.Storage }

// Look implements fleet.Storage.
func (s wordStorage) Look(ctx context.Context, key string) (time.Time, int64, error) {
	stat, err := s.Stat(ctx, key)
	return stat.Modified, stat.Size, err
}

// readOperator lets the app begin with what the storage holds or, while it cannot be
// read, with what the running configuration knows. Policies need that from their
// provisioning on: the sites may serve requests before the app starts.
func (a *App) readOperator() {
	ctx, cancel := context.WithTimeout(a.ctx, wordTimeout)
	defer cancel()
	a.followWord(ctx)
}

// startOperator takes over what was said while the configuration was provisioned.
func (a *App) startOperator() {
	if !a.operator.IsFailing() { // else it may hang once more, and is tried again soon
		a.readOperator()
	}
	if running := liveApps.Newest(); running != nil {
		a.operator.Learn(running.operator.Known())
		a.warnOfLostClusters(running)
	}
	word := a.operator.Known()
	for _, policy := range a.allPolicies() {
		policy.useClusters(word, time.Now())
		if names, active := policy.clusters(), policy.roster.Load().active; active != 0 {
			policy.logger.Info("the active cluster is the one that the operator switched to", zap.String("cluster", names[active]),
				zap.Time("since", word.Switches[names[active]].Since))
		}
	}
}

// warnOfLostClusters warns if a cluster that is the active one because the operator
// said so is in no site any more.
func (a *App) warnOfLostClusters(before *App) {
	lost := make(map[string]bool)
	for _, policy := range before.allPolicies() {
		if active := policy.roster.Load().active; active != 0 {
			lost[policy.clusters()[active]] = true
		}
	}
	var used []string
	for _, policy := range a.allPolicies() {
		for _, name := range policy.clusters() {
			delete(lost, name)
		}
		if name := policy.clusters()[policy.roster.Load().active]; !slices.Contains(used, name) {
			used = append(used, name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(lost)) {
		a.logger.Warn("the cluster that the operator switched to is gone from the configuration, or has another name there: the requests go elsewhere",
			zap.String("cluster", name), zap.Strings("active", used))
	}
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
				a.applyWord(a.operator.Known())
			}
		}()
	}
}

// followWord reads the word if it has changed, and reports whether it had.
func (a *App) followWord(ctx context.Context) (changed bool) {
	changed, err := a.operator.Follow(ctx)
	if err != nil {
		message := "what the operator said cannot be read from the storage; what is known stays in force"
		if a.operator.Known().Version == 0 {
			message = "what the operator said cannot be read from the storage; until it can, drains and clusters are as the configuration has them"
		}
		a.logger.Error(message, zap.String("file", wordPath), zap.Error(err))
	}
	return changed
}

// say changes the word. The caller holds saying.
func (a *App) say(change func(fleet.Word) (fleet.Word, error)) error {
	ctx, cancel := context.WithTimeout(a.ctx, wordTimeout)
	defer cancel()
	locked, err := a.operator.Change(ctx, func() { a.applyWord(a.operator.Known()) }, change)
	if locked != nil {
		a.logger.Error("what the operator said stays locked in the storage", zap.String("file", wordPath), zap.Error(locked))
	}
	if failure := (fleet.StorageError{}); errors.As(err, &failure) {
		return calls.Refuse(http.StatusServiceUnavailable, "nothing has changed: %s %s in Caddy's storage failed: %w", failure.Doing, wordPath, failure.Err)
	}
	if err == nil {
		a.applyWord(a.operator.Known())
	}
	return err
}

// applyWord makes the word true of the nodes and of all policies: those of an ended
// configuration too, and of one whose requests come before its start.
func (a *App) applyWord(word fleet.Word) {
	now := time.Now()
	a.fleet.Follow(word, now)
	for _, policy := range usedPolicies.All() {
		if policy.app.fleet == a.fleet {
			policy.useClusters(word, now)
		}
	}
}

// useClusters makes true what the operator said of the policy's clusters, unless it is old.
func (p *Policy) useClusters(word fleet.Word, now time.Time) {
	active, kept, until := word.Active(p.clusters(), now)
	p.mu.Lock()
	if word.Version < p.followed {
		p.mu.Unlock()
		return
	}
	p.followed = word.Version
	p.stopKeeping()
	if kept >= 0 && !p.released {
		// At its end the clock may have been set back, and some time be left.
		p.keepTimer = time.AfterFunc(until.Sub(now), func() {
			defer p.app.recover("ending the drain of a cluster")
			p.useClusters(word, time.Now())
		})
	}
	current := p.roster.Load()
	if current.active == active && current.kept == kept {
		p.mu.Unlock()
		return
	}
	changed := *current
	changed.active, changed.kept = active, kept
	p.roster.Store(changed.align(current.pool))
	released := p.released
	p.mu.Unlock()
	p.app.fleet.NoteChange()
	if current.active != active && !released {
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
		a.outbox.Add(fleet.Event{Name: "cluster_switched", Cluster: to, Before: from})
	}
}

// clusterStatus is what is known of a cluster.
type clusterStatus = statuspage.ClusterStatus

// clusterStatuses returns the clusters as policies name them. Active is the one in use, not one just heard of.
func (a *App) clusterStatuses() []clusterStatus {
	word, now := a.operator.Known(), time.Now()
	statuses := []clusterStatus{}
	for _, policy := range a.allPolicies() {
		names, roster := policy.clusters(), policy.roster.Load()
		_, kept, until := word.Active(names, now)
		for i, name := range names {
			at := slices.IndexFunc(statuses, func(s clusterStatus) bool { return s.Name == name })
			if at < 0 {
				at = len(statuses)
				statuses = append(statuses, clusterStatus{Name: name, Nodes: []string{}})
			}
			status := &statuses[at]
			status.Active = status.Active || i == roster.active
			if said, switched := word.Switches[name]; switched && i == roster.active {
				status.Since = statuspage.Moment(said.Since)
			}
			if i == kept && i == roster.kept {
				status.DrainingUntil = statuspage.Moment(until)
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
// long. If it is the active one already, a drain that is not over ends then.
func (a *App) switchTo(name string, drain time.Duration) ([]clusterStatus, error) {
	saying.Lock()
	defer saying.Unlock()
	var known []string
	for _, policy := range a.allPolicies() {
		known = append(known, policy.clusters()...)
	}
	if err := calls.ExpectCluster(name, known); err != nil {
		return nil, err
	}
	switched := false
	err := a.say(func(w fleet.Word) (fleet.Word, error) {
		if switched = a.isStandbySomewhere(name); switched {
			return w.Switched(name, drain, time.Now()), nil
		}
		if !a.isKeptSomewhere() {
			return w, nil
		}
		return w.Redrained(name, drain, time.Now()), nil
	})
	if err != nil {
		return nil, err
	}
	if switched {
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

// isKeptSomewhere reports whether a cluster keeps its sessions after a switch.
func (a *App) isKeptSomewhere() bool {
	return slices.ContainsFunc(a.allPolicies(), func(p *Policy) bool { return p.roster.Load().kept >= 0 })
}
