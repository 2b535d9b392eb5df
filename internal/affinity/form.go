package affinity

import (
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Form is the cookie of a policy without its value.
type Form struct {
	Name string
	// Lifetime is how long an epoch of its values is.
	Lifetime time.Duration
	// Persistent is whether browsers keep the cookie when they are closed, for as
	// long as its value is valid.
	Persistent bool
	Plain      http.Cookie // over plain HTTP
	Secure     http.Cookie // over TLS
}

// Lines are the values of Set-Cookie that pin a client to a node.
type Lines struct{ Plain, Secure string }

// Line returns the Set-Cookie value for a client: Secure if it came over TLS, else Plain.
func (l Lines) Line(secure bool) string {
	if secure {
		return l.Secure
	}
	return l.Plain
}

// Lines returns the values of Set-Cookie that carry a token.
func (f *Form) Lines(token string) Lines {
	plain, secure := f.Plain, f.Secure
	plain.Value, secure.Value = token, token
	return Lines{Plain: plain.String(), Secure: secure.String()}
}

// Lasting adds to a line of Set-Cookie how long its value is valid: to the end of
// the epoch after the one that it was made in.
func (f *Form) Lasting(line string, epoch int64, now time.Time) string {
	if !f.Persistent {
		return line
	}
	age := MaxAge(epoch, f.Lifetime, now)
	return strings.Replace(line, "; HttpOnly", "; Max-Age="+strconv.FormatInt(age, 10)+"; HttpOnly", 1)
}

// Stale returns lines of Set-Cookie that end the cookies of this name which other
// settings have made, for an answer to a request to a host and a path.
func (f *Form) Stale(host, path string, secure bool) (lines []string) {
	if secure {
		return Variants(f.Secure, host, path)
	}
	return Variants(f.Plain, host, path)
}

// Covers reports whether a browser would send the cookie with a request to a path.
func (f *Form) Covers(path string) bool {
	if f.Plain.Path == "/" {
		return true
	}
	rest, below := strings.CutPrefix(path, f.Plain.Path)
	return below && (rest == "" || rest[0] == '/' || strings.HasSuffix(f.Plain.Path, "/"))
}
