package response

import (
	"net/http"
	"strconv"
)

// Code is what an attempt is counted as: a status, the class of one that nobody uses,
// or what there was in place of one.
type Code int

// The codes of attempts that got no answer.
const (
	Failed   Code = 0
	Canceled Code = 1 // the client left, or its request could not be read or sent
)

// Usual returns what an unusual status is counted as, its class. A sick node may answer
// with any of nine hundred, each of which would be a series of its own.
func (c Code) Usual() Code {
	if c <= Canceled || http.StatusText(int(c)) != "" {
		return c
	}
	return -c / 100
}

// String returns the code as metrics have it.
func (c Code) String() string {
	switch {
	case c == Failed:
		return "error"
	case c == Canceled:
		return "canceled"
	case c < 0:
		return strconv.Itoa(int(-c)) + "xx"
	}
	return strconv.Itoa(int(c))
}

// IsError reports whether it was the node that failed.
func (c Code) IsError() bool { return c == Failed || c >= http.StatusInternalServerError || c <= -5 }
