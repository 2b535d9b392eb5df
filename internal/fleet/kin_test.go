package fleet

import (
	"slices"
	"testing"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/service"
)

func TestHowOftenAServiceIsProbedSaysNothingOfHowItIs(t *testing.T) {
	rhythm := RhythmSettings(service.GUI)
	if !slices.Contains(rhythm, "interval") || !slices.Contains(rhythm, "gsql") || slices.Contains(rhythm, "gui") || slices.Contains(rhythm, "headers") {
		t.Errorf("%q", rhythm)
	}
	for _, test := range []struct{ object, want string }{
		{`{"interval":1,"gui":"/x","gsql":"off"}`, `{"gui":"/x"}`},
		{`{"gui":"/x"}`, `{"gui":"/x"}`},
		{`[1]`, `[1]`},
	} {
		if got := string(Without([]byte(test.object), rhythm...)); got != test.want {
			t.Errorf("%s became %s", test.object, got)
		}
	}
}
