package address

import (
	"strconv"
	"strings"
)

// Without leaves a node's own address, and whatever was dialled, out of what failed
// there: then an outage reads alike on all nodes.
func Without(text, node string) string {
	host := node
	if colon := strings.LastIndexByte(node, ':'); colon > 0 {
		host = node[:colon]
	}
	var kept []string
	for word := range strings.FieldsSeq(text) {
		bare := strings.Trim(word, `:",;()[]`)
		if bare == "" || bare != node && bare != host && !isDialled(bare) {
			kept = append(kept, word)
		}
	}
	return strings.Join(kept, " ")
}

// isDialled reports whether a word is an address as it is dialled, such as
// 10.0.0.1:14240.
func isDialled(word string) bool {
	colon := strings.LastIndexByte(word, ':')
	if colon <= 0 || strings.ContainsAny(word, "/=") {
		return false
	}
	_, err := strconv.ParseUint(word[colon+1:], 10, 16)
	return err == nil
}
