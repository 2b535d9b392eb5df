// Package environment prepares a Caddyfile that takes its settings from
// environment variables: what is missing or malformed is said at once, by the
// variable's name.
package environment

import (
	"bytes"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// Variable is what is known about an environment variable.
type Variable struct {
	// Hint says what belongs in it.
	Hint string
	// Check says what is wrong with a value.
	Check func(value string) error
	// Needs names another variable, without which this one means nothing.
	Needs string
}

// placeholder is {$NAME}, {$NAME:default}, {$NAME?} or {$NAME?word}.
var placeholder = regexp.MustCompile(`\{\$([^{}:?\s]+)([?:][^}]*)?\}`)

// Expand checks the variables that a Caddyfile mentions, and expands of its
// placeholders what Caddy would not:
//
//   - {$NAME?} is "set" or "unset", to choose between two snippets;
//   - {$NAME?word} is "set" only if a line of the value begins with this word;
//   - {$NAME:default} is the default for a variable that is there but empty.
//
// A variable without a default must be there, and not empty. The error names
// each variable that is wrong. Comments are left alone.
func Expand(caddyfile []byte, lookup func(name string) (string, bool), known map[string]Variable) ([]byte, error) {
	var wrong []error
	var seen []string
	complain := func(name string, err error) {
		if !slices.Contains(seen, name) {
			seen = append(seen, name)
			wrong = append(wrong, err)
		}
	}
	var expanded bytes.Buffer
	for line := range bytes.Lines(caddyfile) {
		if bytes.HasPrefix(bytes.TrimSpace(line), []byte("#")) {
			expanded.Write(line)
			continue
		}
		expanded.Write(placeholder.ReplaceAllFunc(line, func(found []byte) []byte {
			parts := placeholder.FindSubmatch(found)
			name, suffix := string(parts[1]), parts[2]
			value, _ := lookup(name)
			variable := known[name]
			if value != "" && variable.Check != nil {
				if err := variable.Check(value); err != nil {
					complain(name, fmt.Errorf("the environment variable %s is wrong: %w", name, err))
				}
			}
			if needed, _ := lookup(variable.Needs); value != "" && variable.Needs != "" && needed == "" {
				complain(name, fmt.Errorf("the environment variable %s is wrong: it needs %s, which is not set", name, variable.Needs))
			}
			switch {
			case bytes.HasPrefix(suffix, []byte("?")):
				if isSet(value, string(suffix[1:])) {
					return []byte("set")
				}
				return []byte("unset")
			case value != "":
				return found
			case len(suffix) > 0:
				return suffix[1:]
			case variable.Hint != "":
				complain(name, fmt.Errorf("the environment variable %s is not set: it must be %s", name, variable.Hint))
			default:
				complain(name, fmt.Errorf("the environment variable %s is not set", name))
			}
			return found
		}))
	}
	return expanded.Bytes(), errors.Join(wrong...)
}

// isSet reports whether a value is there, and if there is a word, whether one of its
// lines begins with it.
func isSet(value, word string) bool {
	if word == "" {
		return value != ""
	}
	for line := range strings.Lines(value) {
		if words := strings.Fields(line); len(words) > 0 && words[0] == word {
			return true
		}
	}
	return false
}
