package tigergraph

import (
	"testing"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/spelling"
)

func TestTheOptionsThatAreSuggestedExist(t *testing.T) {
	for _, option := range spelling.PolicyOptions {
		if !isPolicyOption(option) {
			t.Errorf("the policy has no option %q", option)
		}
	}
}
