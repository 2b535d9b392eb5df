package tigergraph

import (
	"testing"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/options"
)

func TestTheOptionsThatAreSuggestedExist(t *testing.T) {
	for _, option := range options.OfPolicy {
		if !isPolicyOption(option) {
			t.Errorf("the policy has no option %q", option)
		}
	}
}
