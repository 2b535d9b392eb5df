package lookup

import (
	"encoding/json"
	"fmt"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/address"
)

// Flatten returns the sources that the settings of one are made of, as JSON, with the
// port of a node where none is given.
func Flatten(source json.RawMessage) (sources []json.RawMessage, err error) {
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(source, &fields); err != nil {
		return nil, fmt.Errorf("dynamic: %w", err)
	}
	text := func(field string) (value string) {
		_ = json.Unmarshal(fields[field], &value)
		return value
	}
	switch text("source") {
	case "multi", "tigergraph":
		var several []json.RawMessage
		if err := json.Unmarshal(fields["sources"], &several); fields["sources"] != nil && err != nil {
			return nil, fmt.Errorf("dynamic: %w", err)
		}
		for _, one := range several {
			inner, err := Flatten(one)
			if err != nil {
				return nil, err
			}
			sources = append(sources, inner...)
		}
		return sources, nil
	case "a":
		if text("port") == "" {
			fields["port"] = json.RawMessage(`"` + address.DefaultPort + `"`)
		}
		if source, err = json.Marshal(fields); err != nil {
			return nil, fmt.Errorf("dynamic: %w", err)
		}
	}
	return []json.RawMessage{source}, nil
}
