package attempt

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/http1"
	"github.com/caddy-tigergraph/caddy-tigergraph/internal/once"
)

// shelf is an edge that keeps one body.
type shelf struct{ kept *Kept }

func (s *shelf) Keep(_ *http.Request, body *Kept)           { s.kept = body }
func (s *shelf) Kept(*http.Request) *Kept                   { return s.kept }
func (*shelf) Detached(ctx context.Context) context.Context { return ctx }
func (*shelf) Refusal(status int, err error) error          { return refusal{status, err} }
func (*shelf) IsRefusal(err error) bool                     { return errors.As(err, new(refusal)) }
func (*shelf) IsDialling(err error) bool                    { return errors.Is(err, errAway) }

type refusal struct {
	status int
	error
}

var errAway = errors.New("nobody is there")

func TestTheOtherWayIsTakenByWhatIsLongOrOfUnknownLength(t *testing.T) {
	body := func(length int64) func(*http.Request) {
		return func(r *http.Request) {
			r.Body, r.ContentLength = io.NopCloser(strings.NewReader(strings.Repeat("x", int(max(length, 0))))), length
		}
	}
	for name, test := range map[string]struct {
		change func(*http.Request)
		short  bool
	}{
		"nothing":                  {func(*http.Request) {}, true},
		"no body":                  {func(r *http.Request) { r.Body = http.NoBody }, true},
		"a byte":                   {body(1), true},
		"64 KiB":                   {body(64 << 10), true},
		"a byte more":              {body(64<<10 + 1), false},
		"a body of unknown length": {body(-1), false},
		"a WebSocket":              {func(r *http.Request) { r.Header.Set("Upgrade", "websocket") }, false},
		"an expectation":           {func(r *http.Request) { r.Header.Set("Expect", "100-continue") }, false},
		"trailers":                 {func(r *http.Request) { r.Trailer = http.Header{"X": nil} }, false},
		"CONNECT":                  {func(r *http.Request) { r.Method = http.MethodConnect }, false},
		"an empty upload":          {func(r *http.Request) { r.Method, r.Body = http.MethodPost, nil }, true},
	} {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.Body = nil
		test.change(r)
		if isShort(r) != test.short {
			t.Errorf("%s: sent in one go: %t", name, !test.short)
		}
	}
}

func TestWhoseFaultItIsThatABodyCannotBeRead(t *testing.T) {
	left, leave := context.WithCancelCause(t.Context())
	gone := errors.New("the client is gone")
	leave(gone)
	slow := &http1.ClientBodyError{Reason: context.DeadlineExceeded}
	for _, test := range []struct {
		name    string
		ctx     context.Context
		err     error
		status  int // of the refusal, 0 if it is none
		outcome Outcome
	}{
		{"it breaks off", t.Context(), io.ErrUnexpectedEOF, http.StatusBadRequest, ClientFault},
		{"it is too slow", t.Context(), slow, http.StatusRequestTimeout, ClientFault},
		{"too slow, which ends the request", left, slow, http.StatusRequestTimeout, ClientFault},
		{"it is too long for the site", t.Context(), refusal{http.StatusRequestEntityTooLarge, io.EOF}, http.StatusRequestEntityTooLarge, ClientFault},
		{"the client has left", left, io.ErrUnexpectedEOF, 0, ClientGone},
	} {
		s, a := Sender{Edge: new(shelf)}, new(Attempt)
		var refused refusal
		err := s.clientError(test.ctx, test.err, a)
		if errors.As(err, &refused); refused.status != test.status || a.Outcome != test.outcome || test.status == 0 && !errors.Is(err, gone) {
			t.Errorf("%s: %v, outcome %d", test.name, err, a.Outcome)
		}
	}
}

func TestABodyThatWasReadIsThereForTheNext(t *testing.T) {
	post := func(body io.Reader, length int64) *http.Request {
		r := httptest.NewRequest(http.MethodPost, "/", body)
		r.ContentLength = length
		return r
	}
	s := Sender{Edge: new(shelf)}
	if content, err := s.readBody(post(strings.NewReader("content"), 7)); err != nil || string(content) != "content" {
		t.Fatalf("%q, %v", content, err)
	}
	empty := func() io.Reader { return iotest.ErrReader(io.EOF) }
	if content, err := s.readBody(post(empty(), 7)); err != nil || string(content) != "content" {
		t.Errorf("the next one reads %q, %v", content, err)
	}
	if content, err := s.readBody(post(empty(), 8)); err == nil {
		t.Errorf("another request reads %q", content)
	}
	for name, test := range map[string]struct {
		body   io.Reader
		length int64
		want   string
	}{
		"nothing left":                {empty(), 7, "content"},
		"something left":              {strings.NewReader("another"), 7, "another"},
		"nothing left of another":     {empty(), 8, ""},
		"something of unknown length": {strings.NewReader("stream"), -1, "stream"},
	} {
		r := post(test.body, test.length)
		s.restoreBody(r)
		if content, _ := io.ReadAll(r.Body); string(content) != test.want {
			t.Errorf("%s: %q", name, content)
		}
	}
	r := post(empty(), 7)
	s.Edge.Kept(r).GiveBack(r)
	if content, _ := io.ReadAll(r.Body); string(content) != "content" {
		t.Errorf("given back: %q", content)
	}
	if kept := s.Edge.Kept(r); kept.String() != "" {
		t.Errorf("a log shows %q", kept)
	}
	other := post(strings.NewReader("other"), 5)
	(*Kept)(nil).GiveBack(other)
	if content, _ := io.ReadAll(other.Body); string(content) != "other" {
		t.Errorf("where nothing was kept: %q", content)
	}
}

func TestTheNetworkProxyIsNotAskedAgain(t *testing.T) {
	asked := 0
	ask := AskOnce(func(*http.Request) (*url.URL, error) {
		asked++
		return nil, errAway
	})
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	if _, err := ask(r); !errors.Is(err, errAway) || asked != 1 {
		t.Errorf("asked %d times: %v", asked, err)
	}
	said := &url.URL{Host: "proxy:3128"}
	if proxy, err := ask(withForwardProxy(r, &forwardProxy{true, said, nil})); proxy != said || err != nil || asked != 1 {
		t.Errorf("asked %d times: %v, %v", asked, proxy, err)
	}
	again := withForwardProxy(r, new(forwardProxy))
	for range 3 {
		if _, err := ask(again); !errors.Is(err, errAway) || asked != 2 {
			t.Errorf("asked %d times: %v", asked, err)
		}
	}
}

// answering answers each request in the same way.
type answering func(*http.Request) (*http.Response, error)

func (a answering) RoundTrip(r *http.Request) (*http.Response, error) { return a(r) }

func TestGoesClientIsHeldToTheSameLimits(t *testing.T) {
	answer := func(status, lines int) answering {
		return func(*http.Request) (*http.Response, error) {
			return &http.Response{StatusCode: status, Header: http.Header{"A": make([]string, lines)}, Body: http.NoBody}, nil
		}
	}
	long := answering(func(*http.Request) (*http.Response, error) {
		return &http.Response{StatusCode: http.StatusOK, Header: http.Header{"A": {strings.Repeat("a", 64<<10)}}, Body: http.NoBody}, nil
	})
	for _, test := range []struct {
		name    string
		goes    answering
		probe   bool
		outcome Outcome
		refused string
	}{
		{"an answer", answer(200, 900), false, Answered, ""},
		{"too many lines", answer(200, 1000), false, Garbled, "exceeded 1000 lines"},
		{"too many for a probe", answer(200, 100), true, Garbled, "exceeded 100 lines"},
		{"too many bytes for a probe", long, true, Garbled, "exceeded 65536 bytes"},
		{"as many for a client", long, false, Answered, ""},
		{"no status", answer(99, 1), false, Garbled, "the status 099 is none"},
		{"a header that cannot be sent", func(*http.Request) (*http.Response, error) { return nil, errAway }, false, ClientFault, "nobody is there"},
		{"a body that cannot be read", func(r *http.Request) (*http.Response, error) {
			_, err := io.ReadAll(r.Body)
			return nil, err
		}, false, ClientFault, "broken"},
	} {
		s, a := Sender{Edge: new(shelf), Goes: test.goes}, &Attempt{Probe: test.probe}
		r := httptest.NewRequest(http.MethodPost, "http://m1:14240/", iotest.ErrReader(errors.New("broken")))
		_, err := s.Send(r, a)
		if (err != nil) != (test.refused != "") || err != nil && !strings.Contains(err.Error(), test.refused) || a.Outcome != test.outcome {
			t.Errorf("%s: %v, outcome %d", test.name, err, a.Outcome)
		}
	}
}

func TestARequestThatIsNotRepeatedSaysWhy(t *testing.T) {
	unanswered := &http1.UnansweredError{Sent: true, Reason: io.EOF}
	err := error(unrepeatedError{unanswered})
	if !errors.Is(err, once.ErrMayHaveBeenDone) || !errors.Is(err, io.EOF) || !strings.HasPrefix(err.Error(), once.ErrMayHaveBeenDone.Error()+": ") {
		t.Errorf("%v", err)
	}
}

func TestWhichAttemptsANodeMayHaveCarriedOut(t *testing.T) {
	for outcome, want := range map[Outcome]bool{Answered: true, NeverLeft: false, Broke: true, Garbled: true, ClientFault: false, ClientGone: true} {
		if outcome.HasLeft() != want {
			t.Errorf("outcome %d: %t", outcome, !want)
		}
	}
}
