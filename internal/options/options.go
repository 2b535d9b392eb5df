// Package options reads the options that stand in a block of a configuration. What
// each option means is the caller's: the package says what is wrong with how it is
// written.
package options

import (
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Words are the words of a configuration, one of which is looked at. A Dispenser of a
// Caddyfile has these methods.
type Words interface {
	// Val returns the word that is looked at.
	Val() string
	// NextArg goes on to the next word of the line, if there is one.
	NextArg() bool
	// RemainingArgs returns the rest of the line, and goes on behind it.
	RemainingArgs() []string
	// Nesting returns how many blocks are open.
	Nesting() int
	// NextBlock goes on to the next line within a block, if there is one.
	NextBlock(nesting int) bool
}

// Given are the options that were given already.
type Given map[string]bool

// Check refuses an option that is given a second time.
func (g Given) Check(option string) error {
	if g[option] {
		return fmt.Errorf("%s is already specified", option)
	}
	g[option] = true
	return nil
}

// Each hands the options of a block to a function, each at most once but those of
// which there may be several.
func Each(w Words, given Given, several []string, read func(option string) error) error {
	for nesting := w.Nesting(); w.NextBlock(nesting); {
		option := w.Val()
		if !slices.Contains(several, option) {
			if err := given.Check(option); err != nil {
				return err
			}
		}
		if err := read(option); err != nil {
			return err
		}
	}
	return nil
}

// UnknownError names what is no option.
type UnknownError string

func (e UnknownError) Error() string { return fmt.Sprintf("unrecognized option '%s'", string(e)) }

// Argument reads the one value of an option. An empty one is refused: it would mean
// the default, which nobody writes as "".
func Argument(w Words, option string) (string, error) {
	if !w.NextArg() || w.Val() == "" {
		return "", fmt.Errorf("%s needs a value", option)
	}
	value := w.Val()
	return value, NoArgument(w, option+" "+value)
}

// NoArgument refuses a surplus argument.
func NoArgument(w Words, option string) error {
	if w.NextArg() {
		return fmt.Errorf("unexpected argument '%s' after '%s'", w.Val(), option)
	}
	return nil
}

// Duration reads a duration as a function parses it.
func Duration(w Words, option string, parse func(string) (time.Duration, error)) (time.Duration, error) {
	text, err := Argument(w, option)
	if err != nil {
		return 0, err
	}
	duration, err := parse(text)
	if err != nil {
		return 0, fmt.Errorf("%s must be a duration such as 90s or 24h, not '%s'", option, text)
	}
	return duration, nil
}

// PositiveDuration refuses an explicit zero, which JSON takes for the default.
func PositiveDuration(w Words, option string, parse func(string) (time.Duration, error)) (time.Duration, error) {
	duration, err := Duration(w, option, parse)
	if err == nil && duration <= 0 {
		err = fmt.Errorf("%s must be more than 0, not %s", option, duration)
	}
	return duration, err
}

// Count reads a number that must be at least one.
func Count(w Words, option string) (int, error) {
	text, err := Argument(w, option)
	if err != nil {
		return 0, err
	}
	count, err := strconv.Atoi(text)
	if err != nil || count < 1 {
		return 0, fmt.Errorf("%s must be a number from 1 on, not '%s'", option, text)
	}
	return count, nil
}

// Bits reads a number of leading bits of an address that has so many.
func Bits(w Words, option string, most int) (int, error) {
	text, err := Argument(w, option)
	if err != nil {
		return 0, err
	}
	bits, err := strconv.Atoi(text)
	if err != nil {
		return 0, fmt.Errorf("%s must be a number of bits from 1 to %d, not '%s'", option, most, text)
	}
	return bits, nil
}

// Percent reads a percentage, with or without its sign.
func Percent(w Words, option string) (int, error) {
	text, err := Argument(w, option)
	if err != nil {
		return 0, err
	}
	percent, err := strconv.Atoi(strings.TrimSuffix(text, "%"))
	if err != nil {
		return 0, fmt.Errorf("%s must be a percentage from 0 to 100, not '%s'", option, text)
	}
	return percent, nil
}

// Nodes reads the nodes of an option.
func Nodes(w Words, option string) ([]string, error) {
	nodes := w.RemainingArgs()
	if len(nodes) == 0 {
		return nil, fmt.Errorf("%s needs at least one node", option)
	}
	return nodes, nil
}

// Secrets reads the keys of a cookie.
func Secrets(w Words) ([]string, error) {
	secrets := w.RemainingArgs()
	if len(secrets) == 0 {
		return nil, errors.New("secret needs a value")
	}
	return secrets, nil
}

// Standby reads the name of another cluster and its nodes.
func Standby(w Words) (name string, nodes []string, err error) {
	words := w.RemainingArgs()
	if len(words) < 2 {
		return "", nil, errors.New("standby needs the name of a cluster and its nodes, as in 'standby dr m4 m5 m6'")
	}
	return words[0], words[1:], nil
}

// Header reads a field and its value.
func Header(w Words) (field, value string, err error) {
	words := w.RemainingArgs()
	if len(words) != 2 {
		return "", "", errors.New("header needs a field and a value")
	}
	return words[0], words[1], nil
}

// Weight reads the weight of one node, which those that were read before must lack. It
// is at most so much.
func Weight(w Words, weights map[string]int, most int) (node string, weight int, err error) {
	words := w.RemainingArgs()
	if len(words) != 2 {
		return "", 0, errors.New("weight needs a node and a number")
	}
	node = words[0]
	if weight, err = strconv.Atoi(words[1]); err != nil {
		return "", 0, fmt.Errorf("the weight of '%s' must be from 0 to %d, not '%s'", node, most, words[1])
	}
	if _, twice := weights[node]; twice {
		return "", 0, fmt.Errorf("the weight of '%s' is already specified", node)
	}
	return node, weight, nil
}
