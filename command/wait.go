package command

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/caddyserver/caddy/v2"
	caddycmd "github.com/caddyserver/caddy/v2/cmd"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/console"
	"github.com/caddy-tigergraph/caddy-tigergraph/internal/statuspage"
)

// durationIn returns what a flag says, "" if it is not given. A script that gives it
// an empty variable means something else than one that leaves it out.
func durationIn(flags caddycmd.Flags, name, example string) (text string, duration time.Duration, err error) {
	flag := flags.Lookup(name)
	if flag == nil || !flag.Changed {
		return "", 0, nil
	}
	text = flag.Value.String()
	if duration, err = caddy.ParseDuration(text); err != nil {
		return "", 0, fmt.Errorf("--%s must be a duration such as %s, not '%s'", name, example, text)
	}
	return text, duration, nil
}

// waits returns what --wait and --idle say, 0 where they are not given.
func waits(flags caddycmd.Flags) (limit, idle time.Duration, err error) {
	for name, into := range map[string]*time.Duration{"wait": &limit, "idle": &idle} {
		text, duration, err := durationIn(flags, name, "30s or 10m")
		if err == nil && text != "" && duration <= 0 {
			err = fmt.Errorf("--%s must be more than 0, not %s", name, text)
		}
		if err != nil {
			return 0, 0, err
		}
		*into = duration
	}
	if idle > 0 && limit == 0 {
		return 0, 0, errors.New("--idle needs --wait, which says how long to wait at most")
	}
	return limit, idle, nil
}

// awaitQuiet waits until a node that drains may be stopped.
func awaitQuiet(out *console.Printer, flags caddycmd.Flags, address string, limit, idle time.Duration) (int, error) {
	quiet := console.Quiet{Idle: idle}
	err := out.Await(context.Background(), limit, func(now time.Time) (bool, string, error) {
		states, err := askForNode(flags, address)
		if err != nil {
			return false, "", err
		}
		if !slices.ContainsFunc(states, func(node statuspage.NodeStatus) bool { return node.Draining }) {
			return false, "", fmt.Errorf("%s drains no longer: somebody said that it is ready, or the drain has ended", address)
		}
		done, progress := quiet.Look(states[0], now)
		return done, progress, nil
	})
	if err != nil {
		return statusOf(err), err
	}
	if idle > 0 {
		out.Print("%s may be stopped: no request is in flight there, and no session was used for %s.\n", address, idle)
	} else {
		out.Print("%s may be stopped: no request is in flight there. Who is logged in there will have to log in again; --idle waits for them.\n", address)
	}
	return exitFine, nil
}

// awaitProof waits until each service of a node has passed a probe that was sent
// after a moment.
func awaitProof(out *console.Printer, flags caddycmd.Flags, address string, limit time.Duration, after time.Time) (int, error) {
	err := out.Await(context.Background(), limit, func(time.Time) (bool, string, error) {
		states, err := askForNode(flags, address)
		if err != nil {
			return false, "", err
		}
		done, progress := console.Proven(states, after)
		return done, progress, nil
	})
	if err != nil {
		return statusOf(err), err
	}
	out.Print("%s takes new clients, and each service has passed a probe.\n", address)
	return exitFine, nil
}

// statusOf returns the exit status for what ended a wait.
func statusOf(err error) int {
	if lost := (console.LostError{}); errors.As(err, &lost) {
		return exitCannotTell
	}
	return exitDown
}

// askForNode returns what Caddy says of a node: several states where sites check it
// differently.
func askForNode(flags caddycmd.Flags, address string) (states []statuspage.NodeStatus, err error) {
	body, status, err := ask(flags, http.MethodGet, "nodes", nil)
	if err == nil {
		err = json.Unmarshal(body, &states)
	}
	switch {
	case err != nil && status == exitDown:
		return nil, err // a refusal
	case err != nil:
		return nil, console.LostError{Err: err}
	}
	states = slices.DeleteFunc(states, func(node statuspage.NodeStatus) bool { return node.Address != address })
	if len(states) == 0 {
		return nil, fmt.Errorf("%s is gone from the configuration", address)
	}
	return states, nil
}
