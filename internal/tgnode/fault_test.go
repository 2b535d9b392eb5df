package tgnode

import (
	"errors"
	"io"
	"net"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

func TestModesOfFailure(t *testing.T) {
	const target = "/gsql/v1/drop-all"
	shape := func(want string) func(*testing.T, reply, error) {
		return func(t *testing.T, got reply, err error) {
			t.Helper()
			outcome := "answer"
			var timeout net.Error
			switch {
			case errors.Is(err, syscall.ECONNRESET):
				outcome = "reset"
			case errors.As(err, &timeout) && timeout.Timeout():
				outcome = "silence"
			case errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF):
				outcome = "closed"
			case err != nil:
				outcome = err.Error()
			}
			if got.status != 0 && err != nil {
				outcome = "half an answer, " + outcome
			}
			if outcome != want {
				t.Errorf("the client sees %q (%v), want %q", outcome, err, want)
			}
		}
	}
	status := func(want int) func(*testing.T, reply, error) {
		return func(t *testing.T, got reply, err error) {
			t.Helper()
			if err != nil || got.status != want {
				t.Errorf("got %d, %v; want %d", got.status, err, want)
			}
		}
	}
	for _, test := range []struct {
		name       string
		fault      Fault
		check      func(*testing.T, reply, error)
		executions int
	}{
		{"dead", Fault{Mode: Dead}, status(502), 0},
		{"died in mid-request", Fault{Mode: Died}, status(502), 1},
		{"hang", Fault{Mode: Hang}, shape("silence"), 1},
		{"cut", Fault{Mode: Cut}, shape("half an answer, closed"), 1},
		{"stall", Fault{Mode: Stall}, shape("half an answer, silence"), 1},
		{"header too late", Fault{Mode: SlowHeader, Delay: time.Hour}, shape("silence"), 1},
		{"body too late", Fault{Mode: SlowBody, Delay: time.Hour}, shape("half an answer, silence"), 1},
		{"trickle for ever", Fault{Mode: Trickle, Delay: time.Hour}, shape("half an answer, silence"), 1},
		{"header late", Fault{Mode: SlowHeader, Delay: time.Millisecond, Jitter: time.Millisecond}, status(200), 1},
		{"body late", Fault{Mode: SlowBody, Delay: time.Millisecond}, status(200), 1},
		{"trickle", Fault{Mode: Trickle, Delay: time.Millisecond}, status(200), 1},
		{"reset", Fault{Mode: Reset}, shape("reset"), 1},
		{"close", Fault{Mode: Close}, shape("closed"), 1},
		{"early reset", Fault{Mode: ResetEarly}, shape("reset"), 0},
		{"busy", StatusFault(503), status(503), 0},
		{"too many", StatusFault(429), status(429), 0},
		{"gateway timeout", StatusFault(504), status(504), 0},
		{"nothing instead of HTTP", Fault{Mode: Raw}, shape("closed"), 0},
		{"other path", Fault{Mode: Dead, Path: "/api"}, status(200), 1},
		{"reused connections only", Fault{Mode: Dead, Connection: Reused}, status(200), 1},
		{"reused connections closed while idle", Fault{Mode: CloseIdle}, status(200), 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			node := startNode(t, Options{})
			node.SetFault(GSQL, test.fault)
			c := dial(t, node)
			slow := []Mode{Hang, Stall, SlowHeader, SlowBody, Trickle}
			silent := slices.Contains(slow, test.fault.Mode) && test.fault.Delay != time.Millisecond
			if silent { // the time runs when the node has done what it does
				c.write("GET " + target + " HTTP/1.1\r\nHost: edge\r\n\r\n")
				eventually(t, "executions", func() bool { return node.cluster.Ledger().Count(DropAll) == test.executions })
				if test.fault.Mode != Hang && test.fault.Mode != SlowHeader {
					_, _ = c.reader.Peek(1)
				}
				_ = c.conn.SetDeadline(time.Now().Add(100 * time.Millisecond))
			}
			try := c.try
			if silent {
				try = func(method, _, _ string, _ ...string) (reply, error) { return c.read(method) }
			}
			answer, err := try("GET", target, "")
			test.check(t, answer, err)
			eventually(t, "executions", func() bool { return node.cluster.Ledger().Count(DropAll) == test.executions })
			wantStatus(t, node, "/restpp/echo", 200)
		})
	}
}

func TestFaultsOfReusedConnections(t *testing.T) {
	for _, test := range []struct {
		name       string
		fault      Fault
		executions int
		recorded   int
	}{
		{"reset after the request was read", Fault{Mode: Reset, Connection: Reused}, 1, 2},
		{"close after the request was read", Fault{Mode: Close, Connection: Reused}, 1, 2},
		{"idle connection closed", Fault{Mode: CloseIdle}, 0, 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			node := startNode(t, Options{})
			node.SetFault(All, test.fault)
			c := dial(t, node)
			c.do("GET", "/restpp/echo", "")
			if _, err := c.try("GET", "/restpp/rebuildnow/g", ""); err == nil {
				t.Error("answered")
			}
			if n := node.cluster.Ledger().Count(RebuildNow); n != test.executions {
				t.Errorf("%d executions, want %d", n, test.executions)
			}
			if n := len(node.Requests()); n != test.recorded {
				t.Errorf("%d requests recorded, want %d", n, test.recorded)
			}
		})
	}
}

func TestOpenConnectionsCanBeReset(t *testing.T) {
	node := startNode(t, Options{})
	c := dial(t, node)
	c.do("GET", "/restpp/echo", "")
	node.ResetConnections()
	if _, err := c.reader.ReadByte(); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("error is %v, want a reset", err)
	}
	wantStatus(t, node, "/restpp/echo", 200)
}

func TestFaultsLimitedToSomeRequests(t *testing.T) {
	for _, test := range []struct {
		name  string
		fault Fault
		want  string // one letter per request
	}{
		{"next two", Fault{Mode: Dead, Times: 2}, "--+++"},
		{"sequence", Fault{Mode: Dead, Sequence: "+-+"}, "+-+++"},
		{"flapping", Fault{Mode: Dead, Sequence: "-+", Repeat: true}, "-+-+-"},
		{"flapping for a while", Fault{Mode: Dead, Sequence: "-+", Repeat: true, Times: 3}, "-+-++"},
		{"always", Fault{Mode: Dead}, "-----"},
	} {
		node := startNode(t, Options{})
		test.fault.Path = "/restpp/query/"
		node.SetFault(RESTPP, test.fault)
		got := ""
		for range test.want {
			wantStatus(t, node, "/restpp/echo", 200) // other paths do not count
			if get(t, node, "/restpp/query/g/q").status == 200 {
				got += "+"
			} else {
				got += "-"
			}
		}
		if got != test.want {
			t.Errorf("%s: %s, want %s", test.name, got, test.want)
		}
	}
}

func TestFirstFaultThatAppliesWins(t *testing.T) {
	node := startNode(t, Options{})
	node.SetFault(RESTPP, Fault{Path: "/restpp/echo"}, StatusFault(503))
	node.SetFault(All, StatusFault(504))
	wantStatus(t, node, "/restpp/echo", 200)
	wantStatus(t, node, "/restpp/version", 503)
	node.SetFault(GSQL, Fault{Path: "/gsqlserver/gsql/version"})
	wantStatus(t, node, "/gsqlserver/gsql/version", 200)
	wantStatus(t, node, "/", 504)
	wantStatus(t, node, "/api/ping", 504)
}

func TestNoLyingPingIsAHealthyAnswer(t *testing.T) {
	node := startNode(t, Options{})
	for _, lie := range LyingPings() {
		t.Run(lie.Name, func(t *testing.T) {
			node.SetFault(GUI, lie.Fault)
			c := dial(t, node)
			if strings.HasPrefix(lie.Name, "endless") || strings.HasPrefix(lie.Name, "silence") {
				_ = c.conn.SetDeadline(time.Now().Add(200 * time.Millisecond))
			}
			got, err := c.try("GET", "/api/ping", "")
			for _, pong := range pings {
				if err == nil && got.status == 200 && got.body == pong {
					t.Errorf("answer is %s", got.body)
				}
			}
			if err != nil && !strings.Contains("endless body garbage instead of HTTP half a status line head without end short body silence after first bytes", lie.Name) {
				t.Errorf("no answer: %v", err)
			}
		})
	}
	node.ClearFaults()
	wantStatus(t, node, "/api/ping", 200)
}

func TestAFailingRequestWithABodyIsReadFirst(t *testing.T) {
	node := startNode(t, Options{})
	node.SetFault(RESTPP, Fault{Mode: Died})
	body := strings.Repeat("x", 3<<20)
	if got := dial(t, node).do("POST", "/restpp/ddl/g?marker=upload", body); got.status != 502 {
		t.Errorf("status %d", got.status)
	}
	executions := node.cluster.Ledger().Executions()
	if len(executions) != 1 || executions[0].BodyBytes != int64(len(body)) || executions[0].Marker != "upload" {
		t.Errorf("ledger: %+v", executions)
	}
}

func TestFrozenNodeAcceptsAndIsSilent(t *testing.T) {
	node := startNode(t, Options{})
	old := dial(t, node)
	old.do("GET", "/restpp/echo", "")
	node.Freeze()
	fresh := dial(t, node)
	for _, c := range []*client{old, fresh} {
		_ = c.conn.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
		if _, err := c.try("GET", "/restpp/query/g/q", ""); err == nil {
			t.Error("a frozen node answered")
		}
	}
	if n := node.Count(RESTPP); n != 1 {
		t.Errorf("%d requests arrived, want 1", n)
	}
	node.Thaw()
	for _, c := range []*client{old, fresh} {
		_ = c.conn.SetReadDeadline(time.Now().Add(enough))
		if got, err := c.read("GET"); err != nil || got.status != 200 {
			t.Errorf("after the thaw: %d, %v", got.status, err)
		}
	}
}

func TestBlackholedNodeCannotBeDialled(t *testing.T) {
	node := startNode(t, Options{})
	if err := node.Blackhole(); errors.Is(err, errors.ErrUnsupported) {
		t.Skipf("packets cannot be dropped on this system: %v", err)
	} else if err != nil {
		t.Fatal(err)
	}
	conn, err := net.DialTimeout("tcp", node.Addr(), 200*time.Millisecond)
	if err == nil {
		_ = conn.Close()
		t.Error("connected")
	} else if failure := net.Error(nil); !errors.As(err, &failure) || !failure.Timeout() {
		t.Errorf("dialling: %v, want a timeout", err)
	}
	node.Thaw()
	wantStatus(t, node, "/api/ping", 200)
}
