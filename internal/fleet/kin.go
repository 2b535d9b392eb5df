package fleet

import (
	"encoding/json"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/service"
)

// RhythmSettings are those of the health check `services` that say nothing of how a
// service is.
func RhythmSettings(s service.Service) []string {
	settings := []string{"checker", "interval", "timeout", "jitter", "passes", "fails", "start"}
	for other := range service.Count {
		if other != s {
			settings = append(settings, other.String())
		}
	}
	return settings
}

// Without returns an object of JSON without these keys.
func Without(object []byte, keys ...string) []byte {
	var values map[string]json.RawMessage
	if json.Unmarshal(object, &values) != nil {
		return object
	}
	for _, key := range keys {
		delete(values, key)
	}
	left, err := json.Marshal(values)
	if err != nil {
		return object
	}
	return left
}
