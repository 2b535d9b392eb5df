package health

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"
	"unicode"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/service"
)

// Moved are the nodes, by their addresses, whose nginx knows the second of two paths of a
// service alone.
type Moved struct{ nodes sync.Map }

// Ask asks a service of a node at the first path, and where the node's nginx does not know
// that, at the second, if there is one. Where the second one was right before, it comes
// first.
func (m *Moved) Ask(node string, paths []*url.URL, ask func(path *url.URL) error) error {
	if len(paths) == 1 {
		return ask(paths[0])
	}
	_, moved := m.nodes.Load(node)
	if moved {
		paths = slices.Clone(paths)
		slices.Reverse(paths)
	}
	err := ask(paths[0])
	if !errors.Is(err, ErrNoRoute) {
		return err
	}
	if err = ask(paths[1]); errors.Is(err, ErrNoRoute) {
		return err
	}
	if moved {
		m.nodes.Delete(node)
	} else {
		m.nodes.Store(node, true)
	}
	return err
}

// Read reads the answer to a probe that may take so long, and judges it; nil if it
// passes.
func Read(ctx context.Context, s service.Service, answer *http.Response, limit time.Duration) error {
	body, err := io.ReadAll(io.LimitReader(answer.Body, MostBody+1))
	if err != nil {
		return Explain(ctx, err, limit)
	}
	if len(body) > MostBody {
		return ErrTooLong
	}
	return Judge(s, answer.StatusCode, answer.Header, body)
}

// Explain turns the failure of a probe that may take so long into plain words.
func Explain(ctx context.Context, err error, limit time.Duration) error {
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return TimeoutError{Limit: limit}
	}
	// What is wrong with a certificate may be said, with the names that are in it; of an
	// answer, errors quote what they found.
	var certificate *tls.CertificateVerificationError
	text := err.Error()
	if !errors.As(err, &certificate) && (strings.Contains(text, "malformed") || strings.Contains(text, `"`)) {
		return errors.New("the answer is not well-formed HTTP")
	}
	if shorter := brief(currentTime.ReplaceAllString(ownAddress.ReplaceAllString(text, ""), "now")); shorter != text {
		return &unboundError{error: err, text: shorter}
	}
	return err
}

// longestText is how many bytes the failure of a probe is told in. A certificate may
// have names of any length and of any characters, and nobody need trust it.
const longestText = 400

// brief returns as much of a text as may be told, without what could disturb a terminal.
func brief(text string) string {
	text = strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return unicode.ReplacementChar
	}, text)
	if len(text) <= longestText {
		return text
	}
	return strings.ToValidUTF8(text[:longestText], "") + "…"
}

// ownAddress is that of our end of a connection in the text of an error, and currentTime
// when a certificate was found to have expired.
var ownAddress, currentTime = regexp.MustCompile(`\S+->`), regexp.MustCompile(`current time \S+`)

// unboundError is an error whose text is brief, and without our address, whose port
// differs each time, or the time: equal failures read alike.
type unboundError struct {
	error
	text string
}

func (e *unboundError) Error() string { return e.text }

func (e *unboundError) Unwrap() error { return e.error }
