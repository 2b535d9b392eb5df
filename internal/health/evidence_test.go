package health

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/service"
)

// opaque hides the cause of an error, as the proxy's transport does.
type opaque struct{ error }

func dialling(err error) error {
	return opaque{&net.OpError{Op: "dial", Net: "tcp", Err: err}}
}

func TestWhatAttemptsAreEvidenceOf(t *testing.T) {
	header := func(fields ...string) http.Header {
		h := make(http.Header)
		for i := 0; i < len(fields); i += 2 {
			h.Set(fields[i], fields[i+1])
		}
		return h
	}
	page := header("Server", "nginx", "Content-Type", "text/html")
	json := header("Server", "nginx/1.22.1", "Content-Type", "application/json")
	const gui, gsql, restpp = service.GUI, service.GSQL, service.RESTPP
	for _, test := range []struct {
		name    string
		attempt Attempt
		want    Outcome
	}{
		// Dialling speaks for all services, whatever the request was for.
		{"refused", Attempt{Service: gui, Path: "/", Dialling: true, Err: dialling(syscall.ECONNREFUSED)}, Refused},
		{"reset while dialling", Attempt{Service: gui, Path: "/", Dialling: true, Err: dialling(syscall.ECONNRESET)}, Refused},
		{"no way", Attempt{Service: restpp, Path: "/restpp/q", Dialling: true, Err: dialling(syscall.EHOSTUNREACH)}, Unreachable},
		{"no network", Attempt{Service: restpp, Path: "/restpp/q", Dialling: true, Err: dialling(syscall.ENETUNREACH)}, Unreachable},
		{"dial time-out", Attempt{Service: gsql, Path: "/gsqlserver/x", Dialling: true, Err: dialling(timeout{})}, TimedOut},
		{"dial time-out of the system", Attempt{Service: gsql, Path: "/gsqlserver/x", Dialling: true, Err: dialling(syscall.ETIMEDOUT)}, TimedOut},
		{"dial time-out by a deadline", Attempt{Service: gsql, Path: "/x", Dialling: true, Err: opaque{context.DeadlineExceeded}}, TimedOut},
		{"unknown name", Attempt{Service: gui, Path: "/", Dialling: true, Err: dialling(&net.DNSError{Err: "no such host", Name: "m1"})}, Nothing},
		{"silent resolver", Attempt{Service: gui, Path: "/", Dialling: true, Err: dialling(&net.DNSError{Err: "i/o timeout", Name: "m1", IsTimeout: true})}, Nothing},
		{"no file left", Attempt{Service: gui, Path: "/", Dialling: true, Err: dialling(syscall.EMFILE)}, Nothing},
		{"no port left", Attempt{Service: gui, Path: "/", Dialling: true, Err: dialling(syscall.EADDRNOTAVAIL)}, Nothing},
		{"client left while dialling", Attempt{Service: gui, Path: "/", Dialling: true, Err: fmt.Errorf("dial: %w", context.Canceled)}, Nothing},
		{"client left while dialling, by its text", Attempt{Service: gui, Path: "/", Dialling: true, Err: dialling(errors.New("operation was canceled"))}, Nothing},
		{"no TLS", Attempt{Service: gui, Path: "/", Err: tls.RecordHeaderError{Msg: "first record does not look like a TLS handshake"}}, Unencrypted},
		{"bad certificate", Attempt{Service: gui, Path: "/", Err: &tls.CertificateVerificationError{Err: errors.New("expired")}}, Unencrypted},
		{"refused certificate", Attempt{Service: gui, Path: "/", Err: errors.New("remote error: tls: certificate required")}, Unencrypted},
		{"handshake time-out", Attempt{Service: gui, Path: "/", Err: handshakeTimeoutError{}}, TimedOut},

		// Connections that break before an answer speak for their service.
		{"closed", Attempt{Service: restpp, Path: "/restpp/q", Err: io.EOF}, Broken},
		{"reset", Attempt{Service: gsql, Path: "/gsql/v1/x", Err: &net.OpError{Op: "read", Err: syscall.ECONNRESET}}, Broken},
		{"cannot be written to", Attempt{Service: gui, Path: "/api/x", Err: &net.OpError{Op: "write", Err: syscall.EPIPE}}, Broken},
		{"idle one closed", Attempt{Service: gui, Path: "/api/x", Err: errors.New("http: server closed idle connection")}, Broken},
		{"static file", Attempt{Service: gui, Path: "/studio/", Err: io.EOF}, Nothing},
		{"Informant", Attempt{Service: gui, Path: "/informant/metrics", Err: io.EOF}, Nothing},
		{"malformed answer", Attempt{Service: gui, Path: "/api/x", Err: errors.New(`malformed HTTP response "x"`)}, Nothing},
		{"answer late", Attempt{Service: restpp, Path: "/restpp/q", Err: timeout{}}, Nothing},

		// What the client or we did.
		{"client left", Attempt{Service: gui, Path: "/api/x", Err: context.Canceled}, Nothing},
		{"client's body", Attempt{Service: gui, Path: "/api/x", Excused: true, Err: io.ErrUnexpectedEOF}, Nothing},
		{"client's body and a 502", Attempt{Service: gui, Path: "/api/x", Excused: true, Status: 502}, Nothing},

		// Answers.
		{"200", Attempt{Service: gui, Path: "/api/x", Status: 200, Header: json}, Answered},
		{"redirect", Attempt{Service: gsql, Path: "/gsqlserver/x", Status: 302, Header: page}, Answered},
		{"protocol switched", Attempt{Service: gsql, Path: "/gsqlserver/x", Status: 101}, Answered},
		{"401", Attempt{Service: restpp, Path: "/restpp/q", Status: 401, Header: json}, Answered},
		{"403", Attempt{Service: restpp, Path: "/restpp/q", Status: 403, Header: json}, Answered},
		{"404", Attempt{Service: gui, Path: "/api/x", Status: 404, Header: header("Server", "nginx", "Content-Type", "text/plain")}, Answered},
		{"500", Attempt{Service: gui, Path: "/api/x", Status: 500, Header: json}, Answered},
		{"503", Attempt{Service: restpp, Path: "/restpp/q", Status: 503, Header: json}, Answered},
		{"502", Attempt{Service: restpp, Path: "/restpp/q", Status: 502, Header: page}, BadGateway},
		{"504", Attempt{Service: gsql, Path: "/gsqlserver/x", Status: 504, Header: page}, GatewayTimeout},
		{"static 200", Attempt{Service: gui, Path: "/studio/index.html", Status: 200, Header: page}, Nothing},
		{"static 404", Attempt{Service: gui, Path: "/x.js", Status: 404, Header: page}, Nothing},
		{"Informant's 200", Attempt{Service: gui, Path: "/informant/metrics", Status: 200}, Nothing},
		{"Informant's 502", Attempt{Service: gui, Path: "/informant/metrics", Status: 502, Header: page}, Nothing},
		{"tokens come from another node", Attempt{Service: restpp, Path: "/restpp/requesttoken", Status: 502, Header: page}, Nothing},
		{"nginx's 404", Attempt{Service: gsql, Path: "/gsql/v1/x", Status: 404, Header: page}, Nothing},
		{"nginx's 413", Attempt{Service: restpp, Path: "/restpp/q", Status: 413, Header: page}, Nothing},
		{"nginx's 403", Attempt{Service: restpp, Path: "/restpp/q", Status: 403, Header: header("Server", "nginx", "Content-Type", "text/plain")}, Nothing},
	} {
		if got := test.attempt.Outcome(); got != test.want {
			t.Errorf("%s: %s (%d), want %s", test.name, got, got, test.want)
		}
	}
}

type timeout struct{}

func (timeout) Error() string { return "i/o timeout" }
func (timeout) Timeout() bool { return true }

type handshakeTimeoutError struct{}

func (handshakeTimeoutError) Error() string { return "net/http: TLS handshake timeout" }
func (handshakeTimeoutError) Timeout() bool { return true }

// witnessed runs a test in a bubble with a prober of all services, which are up, whose
// probes are answered by answer from then on.
func witnessed(t *testing.T, interval time.Duration, answer func(context.Context, service.Service, int) error, run func(*testing.T, *Prober, *owner)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		o := newOwner(interval, time.Second)
		p := NewProber("m1:14240", all)
		p.Start(o)
		defer p.End()
		sleep(3 * interval)
		if answer != nil {
			o.mu.Lock()
			o.answer = answer
			o.mu.Unlock()
		}
		o.zero, o.heard = time.Now(), nil
		run(t, p, o)
		p.Release(o)
		sleep(time.Second)
	})
}

var intervals = []time.Duration{10 * time.Millisecond, 100 * time.Millisecond, 2 * time.Second, time.Minute, 24 * time.Hour}

func TestANodeThatRefusesIsDownWithinASecondOfLoad(t *testing.T) {
	for _, interval := range intervals {
		for _, outcome := range []Outcome{Refused, Unreachable, TimedOut, Unencrypted} {
			dead := func(context.Context, service.Service, int) error { return EvidenceError{outcome} }
			witnessed(t, interval, dead, func(t *testing.T, p *Prober, o *owner) {
				for range 100 { // of one service, and not very many
					p.Witness(service.RESTPP, outcome, time.Now())
					sleep(10 * time.Millisecond)
				}
				for s := range service.Count {
					if p.Verdict(s) != Down {
						t.Errorf("interval %s, %s: %s is %s after a second", interval, outcome, s, p.Verdict(s))
					}
				}
			})
		}
	}
}

// Requests leave the node as soon as their own service is down there, and a retry has
// that one probed more often than the others.
func TestANodeThatRefusesIsDownForServicesThatNobodyAsksFor(t *testing.T) {
	for _, interval := range intervals {
		dead := func(context.Context, service.Service, int) error { return EvidenceError{Refused} }
		witnessed(t, interval, dead, func(t *testing.T, p *Prober, o *owner) {
			p.Witness(service.RESTPP, Refused, time.Now())
			sleep(1500 * time.Millisecond)
			for s := range service.Count {
				if p.Verdict(s) != Down {
					t.Errorf("interval %s: %s is %s", interval, s, p.Verdict(s))
				}
			}
		})
	}
}

func TestAServiceBehindALivingNginxIsDownWithinASecondOfLoad(t *testing.T) {
	for _, interval := range intervals {
		dead := func(_ context.Context, s service.Service, _ int) error {
			if s == service.GSQL {
				return StatusError(502)
			}
			return nil
		}
		witnessed(t, interval, dead, func(t *testing.T, p *Prober, o *owner) {
			for range 100 {
				p.Witness(service.GSQL, BadGateway, time.Now())
				sleep(10 * time.Millisecond)
			}
			if p.Verdict(service.GSQL) != Down || p.Verdict(service.GUI) != Up || p.Verdict(service.RESTPP) != Up {
				t.Errorf("interval %s: gui %s, gsql %s, restpp %s", interval, p.Verdict(service.GUI), p.Verdict(service.GSQL), p.Verdict(service.RESTPP))
			}
		})
	}
}

// Whatever the load, and whether or not other paths are asked for.
func TestASickPathOfALivingServiceNeverTakesItDown(t *testing.T) {
	for _, interval := range intervals[1:] {
		for _, outcome := range []Outcome{BadGateway, GatewayTimeout, Broken} {
			for _, mixed := range []bool{false, true} {
				witnessed(t, interval, nil, func(t *testing.T, p *Prober, o *owner) {
					for i := range 20_000 {
						p.Witness(service.GUI, outcome, time.Now())
						if mixed && i%7 == 0 {
							p.Witness(service.GUI, Answered, time.Now())
						}
						sleep(time.Millisecond)
						if p.Verdict(service.GUI) != Up {
							t.Fatalf("interval %s, %s: %q", interval, outcome, o.heard)
						}
					}
					if n := strings.Count(strings.Join(o.heard, "\n"), "witnessed"); n != 1 {
						t.Errorf("heard of it %d times within a minute: %q", n, o.heard)
					}
				})
			}
		}
	}
}

func TestOneRefusalIsNoReasonToGoDown(t *testing.T) {
	witnessed(t, 2*time.Second, nil, func(t *testing.T, p *Prober, o *owner) {
		for range 10 { // bursts, as of a node that restarts its nginx
			for range 1000 {
				p.Witness(service.GUI, Refused, time.Now())
			}
			sleep(time.Second)
		}
		if p.Verdict(service.GUI) != Up {
			t.Errorf("%q", o.heard)
		}
	})
}

func TestAGoodWordEndsTheDoubtAndBringsNothingUp(t *testing.T) {
	witnessed(t, time.Hour, nil, func(t *testing.T, p *Prober, o *owner) {
		o.fail(StatusError(502), 0)
		for range 2 {
			p.Witness(service.GUI, Refused, time.Now())
			sleep(20 * time.Millisecond)
		}
		if isSurelyUp(p, service.GUI) {
			t.Error("it is surely up after a refusal")
		}
		if since, _ := p.Failing(service.GUI); since == 0 {
			t.Error("it does not fail after a refusal")
		}
		before := p.GoodWord(service.GUI)
		p.Witness(service.GUI, Answered, time.Now())
		if !isSurelyUp(p, service.GUI) || p.GoodWord(service.GUI) <= before {
			t.Error("it is not surely up after a good word")
		}
		if since, _ := p.Failing(service.GUI); since != 0 {
			t.Error("it fails still")
		}
		for range 300 {
			p.Witness(service.GUI, Refused, time.Now())
			sleep(10 * time.Millisecond)
		}
		if p.Verdict(service.GUI) != Down {
			t.Fatal("it is not down")
		}
		for range 300 {
			p.Witness(service.GUI, Answered, time.Now())
			sleep(10 * time.Millisecond)
		}
		if p.Verdict(service.GUI) != Down {
			t.Error("good words bring it up, though probes fail")
		}
		o.fail(nil, 0)
		for range 100 { // the pool may have failed open
			p.Witness(service.GUI, Answered, time.Now())
			sleep(10 * time.Millisecond)
		}
		if p.Verdict(service.GUI) != Up {
			t.Error("good words do not bring the probes forward")
		}
	})
}

// A probe that times out began before the service gave a good word.
func TestAGoodWordSpeaksForAProbeThatWaits(t *testing.T) {
	hang := func(ctx context.Context, _ service.Service, _ int) error { return silence(ctx) }
	witnessed(t, 2*time.Second, hang, func(t *testing.T, p *Prober, o *owner) {
		for range 600 {
			p.Witness(service.GUI, Answered, time.Now())
			sleep(100 * time.Millisecond)
		}
		if p.Verdict(service.GUI) != Up || p.Verdict(service.GSQL) != Down {
			t.Errorf("gui, which answers, is %s; gsql, which does not, %s", p.Verdict(service.GUI), p.Verdict(service.GSQL))
		}
	})
}

func TestTheFailuresOfTheLastFiveMinutesAreCounted(t *testing.T) {
	witnessed(t, 10*time.Minute, nil, func(t *testing.T, p *Prober, o *owner) {
		if e := p.Report(service.GUI).Evidence; e != (Evidence{}) {
			t.Errorf("at first: %+v", e)
		}
		for range 60 {
			p.Witness(service.GUI, BadGateway, time.Now())
			sleep(10 * time.Second)
		}
		if e := p.Report(service.GUI).Evidence; e.Count < 28 || e.Count > 30 || e.Last != BadGateway || time.Since(e.At) != 10*time.Second {
			t.Errorf("%+v", e)
		}
		if e := p.Report(service.GSQL).Evidence; e != (Evidence{}) {
			t.Errorf("of another service: %+v", e)
		}
		p.Witness(service.GSQL, Refused, time.Now())
		for s := range service.Count {
			if e := p.Report(s).Evidence; e.Last != Refused {
				t.Errorf("%s after a refusal: %+v", s, e)
			}
		}
		sleep(6 * time.Minute)
		if e := p.Report(service.GUI).Evidence; e.Count != 0 || e.Last != Refused {
			t.Errorf("after a while: %+v", e)
		}
		if n := strings.Count(strings.Join(o.heard, "\n"), "gui witnessed"); n < 9 || n > 11 {
			t.Errorf("heard %d times in ten minutes", n)
		}
	})
}

func TestAGoodWordCostsNothingWhileAllIsWell(t *testing.T) {
	witnessed(t, time.Hour, nil, func(t *testing.T, p *Prober, _ *owner) {
		p.Witness(service.GUI, Answered, time.Time{})
		attempt := Attempt{Service: service.GUI, Path: "/api/x", Status: 200, Header: http.Header{"Server": {"nginx"}}}
		if allocated := testing.AllocsPerRun(1000, func() { p.Witness(service.GUI, attempt.Outcome(), time.Time{}) }); allocated != 0 {
			t.Errorf("%g allocations", allocated)
		}
	})
}

func BenchmarkWitness(b *testing.B) {
	p := NewProber("m1:14240", all)
	b.ReportAllocs()
	for b.Loop() {
		p.Witness(service.GUI, Answered, time.Time{})
	}
}
