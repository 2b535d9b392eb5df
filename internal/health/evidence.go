package health

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
	"time"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/service"
)

// Outcome is what a live request met at a node.
type Outcome uint8

const (
	// Nothing says nothing of the node: it was the client's fault or ours, or the
	// node's nginx alone answered.
	Nothing Outcome = iota
	// Answered is an answer that the service itself must have given.
	Answered
	// BadGateway is a 502 of the node's nginx, which does not reach the service.
	BadGateway
	// GatewayTimeout is a 504 of the node's nginx, which the service does not answer.
	GatewayTimeout
	// Broken is a connection that broke before the first byte of an answer.
	Broken
	// Refused is a dial that was refused.
	Refused
	// Unreachable is a dial that found no way to the node.
	Unreachable
	// TimedOut is a dial that got no answer.
	TimedOut
	// Unencrypted is a failed TLS handshake.
	Unencrypted

	outcomes // their number
)

var outcomeTexts = [outcomes]string{
	Nothing:        "nothing",
	Answered:       "an answer",
	BadGateway:     "status 502: the node's nginx does not reach the service",
	GatewayTimeout: "status 504: the service did not answer the node's nginx",
	Broken:         "the connection broke before there was an answer",
	Refused:        "dialling: connection refused",
	Unreachable:    "dialling: no route to host",
	TimedOut:       "dialling: i/o timeout",
	Unencrypted:    "the TLS handshake failed",
}

// String says in plain words what was met.
func (o Outcome) String() string { return outcomeTexts[o] }

// IsFailure reports whether the node or the service failed.
func (o Outcome) IsFailure() bool { return o > Answered }

// IsOfNode reports whether the failure is that of all services of the node.
func (o Outcome) IsOfNode() bool { return o >= Refused }

// EvidenceError is the failure of a service that a live request met.
type EvidenceError struct{ Outcome }

// Error says what was met.
func (e EvidenceError) Error() string { return "a request met this: " + e.String() }

// Timeout implements net.Error's method.
func (e EvidenceError) Timeout() bool { return e.Outcome == TimedOut }

// Attempt is what is known of an attempt to have a node answer a live request.
type Attempt struct {
	Service service.Service
	// Path is the path of the request, decoded.
	Path string
	// Excused is whether the node has no part in how it ended: the client left, its body
	// was cut off, malformed, too large or too slow, its header could not be sent, or
	// a limit of ours was reached.
	Excused bool

	// Err is why there was no answer, nil if there was one.
	Err error
	// Dialling is whether the error came from dialling.
	Dialling bool

	// Status and Header are those of the answer.
	Status int
	Header http.Header
}

// Outcome says what the attempt is evidence of.
func (a *Attempt) Outcome() Outcome {
	switch {
	case a.Excused:
		return Nothing
	case a.Err != nil:
		return a.failure()
	case !testifies(a.Service, a.Path):
		return Nothing
	case a.Status == http.StatusBadGateway:
		return BadGateway
	case a.Status == http.StatusGatewayTimeout:
		return GatewayTimeout
	case a.Status >= http.StatusBadRequest && mayBeNginxs(a.Status, a.Header):
		return Nothing
	}
	return Answered
}

func (a *Attempt) failure() Outcome {
	switch {
	case isCanceled(a.Err):
		return Nothing
	case a.Dialling:
		return ofDialling(a.Err)
	case isHandshake(a.Err):
		if isTimeout(a.Err) {
			return TimedOut
		}
		return Unencrypted
	case isBroken(a.Err) && testifies(a.Service, a.Path):
		return Broken
	}
	return Nothing
}

// testifies reports whether what becomes of such a request speaks of the service: the
// node's nginx answers some by itself, or has another server answer.
func testifies(s service.Service, path string) bool {
	switch s {
	case service.GUI:
		return strings.HasPrefix(path, "/api/")
	case service.RESTPP:
		// Tokens come from any GSQL server of the cluster, and without a slash it is
		// the GUI that answers.
		return path != "/restpp" && !strings.HasPrefix(path, "/restpp/requesttoken")
	default:
		return path != "/gsqlserver"
	}
}

// ofDialling tells the failures of dialling apart. Where a name is not known, or the
// machine has no port or file left for one more connection, the node has no part in
// it.
func ofDialling(err error) Outcome {
	var dns *net.DNSError
	switch {
	case errors.As(err, &dns), says(err, "no such host"), says(err, "server misbehaving"), says(err, "lookup "):
		return Nothing
	case isOurs(err):
		return Nothing
	case isTimeout(err):
		return TimedOut
	case is(err, syscall.ECONNREFUSED), is(err, syscall.ECONNRESET):
		return Refused
	}
	return Unreachable
}

func isOurs(err error) bool {
	for _, limit := range []syscall.Errno{syscall.EMFILE, syscall.ENFILE, syscall.ENOBUFS, syscall.ENOMEM, syscall.EADDRNOTAVAIL, syscall.EACCES, syscall.EPERM} {
		if is(err, limit) {
			return true
		}
	}
	return false
}

// is reports whether an error is a system's: by its text, too, for the proxy's
// transport hides the cause of an error in dialling.
func is(err error, number syscall.Errno) bool {
	return errors.Is(err, number) || says(err, number.Error())
}

// isTimeout reports whether something did not come in time.
func isTimeout(err error) bool {
	if err == nil {
		return false
	}
	var timeout interface{ Timeout() bool }
	return errors.As(err, &timeout) && timeout.Timeout() || errors.Is(err, context.DeadlineExceeded) ||
		says(err, "i/o timeout") || says(err, context.DeadlineExceeded.Error()) || is(err, syscall.ETIMEDOUT)
}

// isCanceled reports whether somebody gave up: package net has an error of its own for
// that.
func isCanceled(err error) bool {
	return errors.Is(err, context.Canceled) || says(err, context.Canceled.Error()) || says(err, "operation was canceled")
}

func isHandshake(err error) bool {
	var (
		notTLS      tls.RecordHeaderError
		certificate *tls.CertificateVerificationError
		alert       tls.AlertError
	)
	return errors.As(err, &notTLS) || errors.As(err, &certificate) || errors.As(err, &alert) ||
		says(err, "tls: ") || says(err, "server gave HTTP response to HTTPS client") || says(err, "TLS handshake")
}

func isBroken(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, net.ErrClosed) ||
		is(err, syscall.ECONNRESET) || is(err, syscall.EPIPE) ||
		says(err, "server closed idle connection") || says(err, "connection broke before there was an answer")
}

// Evidence is what live requests met of a service lately.
type Evidence struct {
	// Last is the last failure, Nothing if there was none; At is when it was.
	Last Outcome
	At   time.Time
	// Count is how many failures there were in the last five minutes.
	Count int
}

const (
	tallySlots = 30
	tallySlot  = 10 * time.Second
)

// tally counts the failures of the last five minutes.
type tally struct {
	last   Outcome
	at     time.Time
	newest int64 // the number of a slot
	counts [tallySlots]uint32
}

// add counts a failure.
func (t *tally) add(now time.Time, o Outcome) {
	t.advance(now)
	t.last, t.at = o, now
	t.counts[t.newest%tallySlots]++
}

// advance empties the slots that are over.
func (t *tally) advance(now time.Time) {
	slot := moment(now) / int64(tallySlot)
	if slot-t.newest >= tallySlots {
		t.counts, t.newest = [tallySlots]uint32{}, slot
	}
	for ; t.newest < slot; t.newest++ {
		t.counts[(t.newest+1)%tallySlots] = 0
	}
}

func (t *tally) evidence(now time.Time) Evidence {
	t.advance(now)
	e := Evidence{Last: t.last, At: t.at}
	for _, count := range t.counts {
		e.Count += int(count)
	}
	return e
}
