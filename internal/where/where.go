// Package where finds out where in the JSON of a configuration something stands, for
// messages that name a site.
package where

import (
	"bytes"
	"encoding/json"
	"maps"
	"slices"
)

// Find looks for a handler in the JSON of handlers, and in all that is below them. At
// are the hosts of the innermost route around it that says any, else those given.
func Find(handlers []json.RawMessage, hosts []string, is func(handler map[string]any) bool) (found bool, at []string) {
	for _, raw := range handlers {
		var value any
		if bytes.Contains(raw, []byte(`"tigergraph"`)) && json.Unmarshal(raw, &value) == nil {
			if found, at := findIn(value, hosts, is); found {
				return true, at
			}
		}
	}
	return false, nil
}

func findIn(value any, hosts []string, is func(map[string]any) bool) (found bool, at []string) {
	switch value := value.(type) {
	case []any:
		for _, one := range value {
			if found, at = findIn(one, hosts, is); found {
				return true, at
			}
		}
	case map[string]any:
		if is(value) {
			return true, hosts
		}
		hosts = Or(hostsOf(value), hosts)
		for _, key := range slices.Sorted(maps.Keys(value)) {
			if found, at = findIn(value[key], hosts, is); found {
				return true, at
			}
		}
	}
	return false, nil
}

// hostsOf returns the hosts that a route matches, none if these are all.
func hostsOf(route map[string]any) (hosts []string) {
	var sets []struct {
		Host []string `json:"host"`
	}
	matched, err := json.Marshal(route["match"])
	if err != nil || json.Unmarshal(matched, &sets) != nil {
		return nil
	}
	for _, set := range sets {
		hosts = append(hosts, set.Host...)
	}
	return hosts
}

// Or returns a list or, if that is empty, another.
func Or(list, otherwise []string) []string {
	if len(list) > 0 {
		return list
	}
	return otherwise
}

// Proxy returns the policy and the upstreams of a handler that is a proxy.
func Proxy(handler map[string]any) (policy map[string]any, upstreams []string) {
	balancing, _ := handler["load_balancing"].(map[string]any)
	policy, _ = balancing["selection_policy"].(map[string]any)
	list, _ := handler["upstreams"].([]any)
	for _, one := range list {
		upstream, _ := one.(map[string]any)
		dial, _ := upstream["dial"].(string)
		upstreams = append(upstreams, dial)
	}
	return policy, upstreams
}

// Same reports whether two texts of JSON say the same.
func Same(a, b json.RawMessage) bool {
	normal := func(text json.RawMessage) string {
		var value any
		if json.Unmarshal(text, &value) != nil {
			return ""
		}
		ordered, _ := json.Marshal(value) // which cannot fail: it was read from JSON
		return string(ordered)
	}
	return normal(a) == normal(b)
}
