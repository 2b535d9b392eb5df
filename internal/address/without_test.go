package address

import "testing"

func TestAnOutageReadsAlikeOnAllNodes(t *testing.T) {
	for _, test := range []struct{ text, node, want string }{
		{"dial tcp 10.0.0.1:14240: connect: connection refused", "m1:14240", "dial tcp connect: connection refused"},
		{"dial tcp [2001:db8::1]:14240: connect: connection refused", "m1:14240", "dial tcp connect: connection refused"},
		{"dial tcp: lookup m1: no such host", "m1:14240", "dial tcp: lookup no such host"},
		{"read tcp m1:14240: connection reset by peer", "m1:14240", "read tcp connection reset by peer"},
		{"status 502: the node's nginx does not reach the service", "m1:14240", "status 502: the node's nginx does not reach the service"},
		{"no answer within 2s", "unix//run/tg.sock", "no answer within 2s"},
		{"", "m1:14240", ""},
	} {
		if got := Without(test.text, test.node); got != test.want {
			t.Errorf("of %s, %q becomes %q, want %q", test.node, test.text, got, test.want)
		}
	}
}
