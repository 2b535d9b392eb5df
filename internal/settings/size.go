package settings

import "regexp"

// sizeTrouble is what is said of a size that is none, in the words of who parses it.
var sizeTrouble = regexp.MustCompile(`( size '[^']*'): (?:strconv\.Parse\w+: parsing "[^"]*": [a-z ]+|unhandled size name: [^,]*|too large: [^,]*)`)

// ExplainSize says what was expected where an option that takes a size got something
// else. Any other error stays as it is.
func ExplainSize(err error) error {
	if err == nil || !sizeTrouble.MatchString(err.Error()) {
		return err
	}
	return &sizeError{err}
}

type sizeError struct{ parsing error }

func (e *sizeError) Error() string {
	return sizeTrouble.ReplaceAllString(e.parsing.Error(), "$1: expected a number of bytes, or a size such as 512KiB or 1MiB")
}

// Unwrap returns what parsing says.
func (e *sizeError) Unwrap() error { return e.parsing }
