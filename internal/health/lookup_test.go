package health

import (
	"errors"
	"strings"
	"testing"
)

// The proxy hides the cause of a failed dial, so only its text is left.
func TestANameServerThatFailsIsNotTakenForTheNode(t *testing.T) {
	for _, text := range []string{
		"dial tcp: lookup m2 on 192.0.2.53:53: dial udp 192.0.2.53:53: connect: network is unreachable",
		"dial tcp: lookup m2 on 192.0.2.53:53: read udp 192.0.2.1:5353->192.0.2.53:53: i/o timeout",
		"dial tcp: lookup m2 on 192.0.2.53:53: server misbehaving",
	} {
		if advice := Advice("gui", errors.New(text)); !strings.Contains(advice, "the name cannot be resolved") {
			t.Errorf("%s: %s", text, advice)
		}
	}
}
