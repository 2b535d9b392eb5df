// Package health finds out which services of a node live: it decides when they are
// probed, and turns what the probes and live requests met into verdicts. It has no
// sockets: its caller lends it a function that asks a node, and observes what it
// finds.
package health

import "math"

// Verdict is what is known of a service of a node.
type Verdict uint32

const (
	// Unknown says that nothing is decided yet.
	Unknown Verdict = iota
	// Up says that the service serves requests.
	Up
	// Down says that the service does not serve requests.
	Down
	// Off says that the service is not checked, and counts as up.
	Off
	// Verdicts is their number.
	Verdicts
)

var verdictNames = [...]string{Unknown: "unknown", Up: "up", Down: "down", Off: "off"}

// String returns the verdict as it is written in metrics and answers.
func (v Verdict) String() string { return verdictNames[v] }

// Thresholds say how many consecutive results change a verdict.
type Thresholds struct {
	Passes, Fails int
}

// State is a verdict and the results that may change it. Its zero value is a
// service of which nothing is known.
type State struct {
	Verdict Verdict
	// Passed is the last result, and Streak how often it has come in a row.
	Passed bool
	Streak int
}

// Next returns the state after one more result. Results of the other kind start
// the count again, so a service that fails now and then never goes down.
func (s State) Next(passed bool, t Thresholds) State {
	if passed != s.Passed {
		s.Streak = 0
	}
	s.Passed = passed
	s.Streak++
	switch {
	case passed && (s.Verdict == Unknown || s.Streak >= t.Passes):
		s.Verdict = Up
	case !passed && s.Streak >= t.Fails:
		s.Verdict = Down
	}
	return s
}

// Accused returns the state after a failure that does not decide: it counts, but
// the verdict is left to the next that does.
func (s State) Accused() State {
	verdict := s.Verdict
	s = s.Next(false, Thresholds{Passes: 1, Fails: math.MaxInt})
	s.Verdict = verdict
	return s
}

// Vouched returns the state after a good word that brings nothing up: failures that
// have not taken the service down are counted anew.
func (s State) Vouched() State {
	if s.Verdict != Down && !s.Passed {
		s.Passed, s.Streak = true, 0
	}
	return s
}

// InDoubt reports whether the last result speaks against the verdict, or speaks
// without there being one.
func (s State) InDoubt() bool {
	return s.Streak > 0 && (s.Verdict == Unknown || s.Passed != (s.Verdict == Up))
}
