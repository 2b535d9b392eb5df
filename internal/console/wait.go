package console

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/clock"
	"github.com/caddy-tigergraph/caddy-tigergraph/internal/statuspage"
)

const (
	// pollEvery is how often is looked whether what is waited for has come.
	pollEvery = 250 * time.Millisecond
	// tellEvery is how often progress is told at most.
	tellEvery = time.Second
	// longestLoss is how long there may be nobody to ask, as while Caddy reloads.
	longestLoss = 10 * time.Second
)

// WaitedError says what had not come when the time was up.
type WaitedError struct {
	Limit    time.Duration
	Progress string
}

func (e WaitedError) Error() string { return fmt.Sprintf("after %s %s", e.Limit, e.Progress) }

// LostError is that there has been nobody to ask for long.
type LostError struct{ Err error }

func (e LostError) Error() string { return e.Err.Error() }

func (e LostError) Unwrap() error { return e.Err }

// Await waits until look says that it is done, and tells its progress. An error of
// look that is a LostError is one only if it lasts.
func (p *Printer) Await(ctx context.Context, limit time.Duration, look func(now time.Time) (done bool, progress string, err error)) error {
	began := time.Now()
	heard, told := began, time.Time{}
	saying, said := "", ""
	ticker := time.NewTicker(pollEvery)
	defer ticker.Stop()
	for {
		now := time.Now()
		done, progress, err := look(now)
		switch _, lost := err.(LostError); { //nolint:errorlint // look returns it as it is
		case err == nil:
			heard, saying = now, progress
		case !lost || now.Sub(heard) > longestLoss:
			return err
		}
		if done {
			return nil
		}
		if saying != said && now.Sub(told) >= tellEvery {
			p.Print("%s\n", Printable(saying))
			said, told = saying, now
		}
		if now.Sub(began) >= limit {
			return WaitedError{limit, saying}
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-ticker.C:
		}
	}
}

// Quiet knows when a node that drains may be stopped.
type Quiet struct {
	// Idle is for how long no session must have been used, nor a request been in
	// flight; 0 asks for requests alone.
	Idle  time.Duration
	busy  time.Time // when a request was last seen in flight
	began time.Time // the first look: of sessions before the drain a node knows nothing
}

// Look says whether the node is quiet, or what it waits for.
func (q *Quiet) Look(node statuspage.NodeStatus, now time.Time) (done bool, progress string) {
	if q.began.IsZero() {
		q.began = now
	}
	if node.Requests > 0 {
		q.busy = now
		return false, fmt.Sprintf("%s has %s in flight", node.Address, count(node.Requests, "request", "requests"))
	}
	last := q.busy
	if node.LastSession != nil && node.LastSession.After(last) {
		last = *node.LastSession
	}
	if q.Idle > 0 && node.LastSession == nil && now.Sub(q.began) < q.Idle {
		return false, fmt.Sprintf("%s has no request in flight, but it is not known yet whether a session was used in the last %s", node.Address, q.Idle)
	}
	if q.Idle > 0 && now.Sub(last) < q.Idle {
		return false, fmt.Sprintf("%s has no request in flight, but was used at %s, less than %s ago", node.Address, last.Local().Format(time.TimeOnly), q.Idle)
	}
	return true, ""
}

// surePasses is the streak by which the last result of a service that is up was a pass, if
// nobody has made `fails` larger than it is by default: so many failures take it down.
const surePasses = 3

// Proven says whether each service that is checked has passed a probe that was sent
// after a moment, or what is waited for. A node that sites check differently has
// several states.
func Proven(states []statuspage.NodeStatus, after time.Time) (done bool, progress string) {
	var waiting, down []string
	after = clock.Date(after)
	for _, node := range states {
		for _, name := range services {
			s := node.Services[name]
			switch {
			case s.Verdict == "off", s.Verdict == "":
			case s.Verdict == "down":
				down = append(down, name)
			case s.Verdict != "up" || s.Streak < surePasses || s.LastProbe == nil || !s.LastProbe.After(after):
				waiting = append(waiting, name)
			}
		}
	}
	switch {
	case len(down) > 0:
		return false, fmt.Sprintf("%s: %s %s down", states[0].Address, and(slices.Compact(down)), are(len(slices.Compact(down))))
	case len(waiting) > 0:
		return false, fmt.Sprintf("%s: %s %s not passed a probe yet", states[0].Address, and(slices.Compact(waiting)), have(len(slices.Compact(waiting))))
	}
	return true, ""
}

// Down returns which services of a node are down, and why the first of them is.
func Down(node statuspage.NodeStatus) (names, reason string) {
	var down []string
	for _, name := range services {
		if s := node.Services[name]; s.Verdict == "down" {
			if down = append(down, name); reason == "" {
				reason = s.LastError
			}
		}
	}
	if len(down) == 0 {
		return "", ""
	}
	return and(down) + " " + are(len(down)) + " down", reason
}

// DownIn returns a line for each node of a cluster that has a service that is down, and
// which services are down on all of its nodes, as in "gui and gsql are down".
func (c *Cluster) DownIn(cluster string) (lines []string, everywhere string) {
	count, downs := 0, make(map[string]int)
	for _, node := range c.Nodes {
		if node.Cluster != cluster {
			continue
		}
		count++
		if names, reason := Down(node); names != "" {
			if line := fmt.Sprintf("%s: %s: %s", node.Address, names, reason); !slices.Contains(lines, line) {
				lines = append(lines, line)
			}
		}
		for _, name := range services {
			if node.Services[name].Verdict == "down" {
				downs[name]++
			}
		}
	}
	var dead []string
	for _, name := range services {
		if count > 0 && downs[name] == count {
			dead = append(dead, name)
		}
	}
	if len(dead) == 0 {
		return lines, ""
	}
	return lines, and(dead) + " " + are(len(dead)) + " down"
}

func are(n int) string {
	if n == 1 {
		return "is"
	}
	return "are"
}

func have(n int) string {
	if n == 1 {
		return "has"
	}
	return "have"
}
