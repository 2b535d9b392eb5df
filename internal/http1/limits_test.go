package http1

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"testing"
)

func TestAnAnswerOfTooManyLinesIsRefused(t *testing.T) {
	lines := func(n int) string { // with the first one and the empty one
		return "HTTP/1.1 200 OK\r\nContent-Length: 6000\r\n" + strings.Repeat("a:\r\n", n-3) + "\r\n"
	}
	body := strings.Repeat("\r\n", 3000)
	early := strings.Repeat("HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\n", 10)
	for _, test := range []struct {
		name, answer string
		limits       Limits
		fails        bool
	}{
		{"as many as may be", lines(1000) + body, Limits{}, false},
		{"one more", lines(1001) + body, Limits{}, true},
		{"as many as may be to a probe", lines(100) + body, ProbeLimits, false},
		{"one more to a probe", lines(101) + body, ProbeLimits, true},
		{"as many with earlier ones", early + lines(970) + body, Limits{}, false},
		{"one more with earlier ones", early + lines(971) + body, Limits{}, true},
		{"as many with earlier ones to a probe", early + lines(70) + body, ProbeLimits, false},
		{"one more with earlier ones to a probe", early + lines(71) + body, ProbeLimits, true},
		{"a flood of informational answers", strings.Repeat("HTTP/1.1 102 Processing\r\n\r\n", 501), Limits{}, true},
	} {
		for _, piece := range []int{1, 7, 4096, 1 << 20} {
			t.Run(fmt.Sprintf("%s in pieces of %d", test.name, piece), func(t *testing.T) {
				s := startServer(t, func(conn net.Conn, _ *http.Request, _ int) bool {
					for rest := test.answer; rest != ""; {
						n, err := io.WriteString(conn, rest[:min(piece, len(rest))])
						if err != nil {
							return false
						}
						rest = rest[n:]
					}
					return true
				})
				terms := never
				terms.Limits = test.limits
				content, err := read(newClient(t).RoundTrip(s.request(t.Context()), terms))
				if test.fails && (err == nil || !strings.Contains(err.Error(), " lines; aborted")) || !test.fails && (err != nil || content != body) {
					t.Errorf("body of %d, error %v", len(content), err)
				}
			})
		}
	}
}

// A server that answers with nothing but header lines costs next to nothing.
func TestAFloodOfHeaderLinesCostsLittle(t *testing.T) {
	flood := []byte(strings.Repeat("a:\r\n", 16<<10))
	s := startServer(t, func(conn net.Conn, _ *http.Request, _ int) bool {
		_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\n")
		for range 160 { // 10 MB
			if _, err := conn.Write(flood); err != nil {
				break
			}
		}
		return false
	})
	c := newClient(t)
	for name, test := range map[string]struct {
		limits Limits
		most   uint64
	}{"of a probe": {ProbeLimits, 1 << 20}, "of others": {Limits{}, 4 << 20}} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		terms := always
		terms.Limits = test.limits
		if _, err := c.RoundTrip(s.request(t.Context()), terms); err == nil {
			t.Error("the answer was taken")
		}
		runtime.ReadMemStats(&after)
		if cost := after.TotalAlloc - before.TotalAlloc; cost > test.most {
			t.Errorf("the answer %s cost %d bytes", name, cost)
		}
	}
}
