package tgnode

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"
)

func gsqlClient(node *Node) *GSQLClient { return &GSQLClient{Address: node.Addr(), User: "anna"} }

func TestGSQLVersions(t *testing.T) {
	node := startNode(t, Options{})
	for _, target := range []string{"/gsqlserver/gsql/version", "/gsql/v1/version"} {
		if got := get(t, node, target); got.status != 200 || !strings.HasPrefix(got.body, "GSQL version: ") {
			t.Errorf("%s: %d %s", target, got.status, got.body)
		}
	}
	wantBody(t, get(t, node, "/gsql/v1/auth/simple"), 401, authenticationFailed)
}

func TestGSQLSessionsInEveryStyle(t *testing.T) {
	for _, field := range []string{"Set-GSQL-Cookie", "Set-Cookie", "Set-cookie"} {
		t.Run(field, func(t *testing.T) {
			node := startNode(t, Options{GSQLSessionHeader: field})
			client := gsqlClient(node)
			client.SessionField = field
			if err := client.Login(within(t)); err != nil {
				t.Fatal(err)
			}
			if !strings.HasPrefix(client.Session(), `{"sessionId":"0000`) {
				t.Errorf("session is %s", client.Session())
			}
			session := client.Session()
			if _, err := client.Command(within(t), "ls"); err != nil {
				t.Error(err)
			}
			if client.Session() != session {
				t.Error("the server did not know its own session")
			}
			want := map[bool]string{true: "GSQL-Cookie", false: "Cookie"}[field == "Set-GSQL-Cookie"]
			requests := node.Requests()
			if got := requests[len(requests)-1].Fields[1]; got != (Field{want, session}) {
				t.Errorf("session came back in %v", got)
			}
			if err := client.Exit(within(t)); err != nil {
				t.Error(err)
			}
			if _, err := client.Command(within(t), "ls"); err != nil || client.Session() == session {
				t.Errorf("the session survived the client: %v", err)
			}
		})
	}
}

func TestGSQLClientLosesItsSessionToIntermediaries(t *testing.T) {
	t.Run("one that changes the case", func(t *testing.T) {
		client := gsqlClient(startNode(t, Options{}))
		client.Address = proxy(t, startNode(t, Options{}), nil)
		if err := client.Login(within(t)); !errors.Is(err, ErrNoSession) {
			t.Errorf("error is %v, want %v", err, ErrNoSession)
		}
	})
	t.Run("one that keeps it", func(t *testing.T) {
		client := gsqlClient(startNode(t, Options{}))
		client.Address = proxy(t, startNode(t, Options{}), func(h http.Header) {
			h["Set-GSQL-Cookie"] = h["Set-Gsql-Cookie"]
			delete(h, "Set-Gsql-Cookie")
		})
		if err := client.Login(within(t)); err != nil {
			t.Error(err)
		}
	})
	t.Run("one with a cookie of its own", func(t *testing.T) {
		node := startNode(t, Options{GSQLSessionHeader: "Set-Cookie"})
		client := gsqlClient(node)
		client.SessionField = "Set-Cookie"
		client.Address = proxy(t, node, func(h http.Header) { h.Add("Set-Cookie", "edge=1") })
		if err := client.Login(within(t)); err != nil {
			t.Fatal(err)
		}
		if client.Session() != "edge=1" {
			t.Errorf("session is %s", client.Session())
		}
	})
}

func TestGSQLLoginFailsWith200(t *testing.T) {
	got := dial(t, startNode(t, Options{})).do("POST", "/gsqlserver/gsql/login", "YTpndWVzcw==")
	if got.status != 200 || !strings.Contains(got.body, `"error":true`) || !strings.Contains(got.body, "isClientCompatible") {
		t.Errorf("got %d %s", got.status, got.body)
	}
}

func TestGSQLOutputComesLineByLine(t *testing.T) {
	client := gsqlClient(startNode(t, Options{}))
	ctx, cancel := context.WithCancel(within(t))
	defer cancel()
	first := ""
	client.OnLine = func(line string) {
		if strings.HasPrefix(line, "line") {
			first = line
			cancel() // the second would come in an hour
		}
	}
	if _, err := client.Command(ctx, "lines 2 1h"); !errors.Is(err, context.Canceled) || first != "line 1" {
		t.Errorf("got %q, %v", first, err)
	}
	client.OnLine = nil
	if got, err := client.Command(within(t), "lines 3 1ms"); err != nil || len(got) != 3 {
		t.Errorf("got %q, %v", got, err)
	}
}

func TestGSQLDialogIsAnsweredWhileTheOutputIsOpen(t *testing.T) {
	nodes := startNodes(t, Options{}, Options{})
	client := gsqlClient(nodes[0])
	if err := client.Login(within(t)); err != nil {
		t.Fatal(err)
	}
	client.OnDialog = func(kind string) string { return kind + "!" }
	got, err := client.Command(within(t), "ask Are you sure?")
	if want := "Are you sure?\nanswer: DialogBox!"; err != nil || strings.Join(got, "\n") != want {
		t.Errorf("got %q, %v; want %q", got, err, want)
	}

	client.OnDialog = func(string) string {
		client.Address = nodes[1].Addr()
		return "y"
	}
	if _, err := client.Command(within(t), "ask Again?"); err == nil || !strings.Contains(err.Error(), "No such dialog") {
		t.Errorf("a dialog on another node ends with %v", err)
	}
}

func TestFollowersForwardToTheLeader(t *testing.T) {
	nodes := startNodes(t, Options{}, Options{}, Options{})
	cluster := nodes[0].cluster
	ledger := cluster.Ledger()
	execute := func(want string) {
		t.Helper()
		ledger.Reset()
		get(t, nodes[1], "/gsql/v1/drop-all")
		if got := ledger.Executions(); len(got) != 1 || got[0].Node != want {
			t.Errorf("executed %+v, want it by %s", got, want)
		}
	}
	execute("m1")

	client := gsqlClient(nodes[1])
	if err := client.Login(within(t)); err != nil {
		t.Fatal(err)
	}
	session := client.Session()
	nodes[0].Stop()
	ledger.Reset()
	if got := get(t, nodes[1], "/gsql/v1/drop-all"); !strings.Contains(got.body, `"error":true`) || ledger.Total() != 0 {
		t.Errorf("without a leader: %s, %d executions", got.body, ledger.Total())
	}
	wantStatus(t, nodes[1], "/gsql/v1/version", 200)
	if err := cluster.SwitchLeader("m3", time.Hour); err != nil {
		t.Fatal(err)
	}
	if cluster.Leader() != "" {
		t.Errorf("leader during the election: %s", cluster.Leader())
	}
	if err := cluster.SwitchLeader("m3", 10*time.Millisecond); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the election", func() bool { return cluster.Leader() == "m3" })
	execute("m3")
	if _, err := client.Command(within(t), "ls"); err != nil || client.Session() == session {
		t.Errorf("the session survived the switch: %v", err)
	}
	if err := cluster.SwitchLeader("m9", 0); err == nil {
		t.Error("a node that is not there leads")
	}
}

func TestLeaderSwitchEndsDialogs(t *testing.T) {
	node := startNode(t, Options{})
	client := gsqlClient(node)
	client.OnDialog = func(string) string {
		if err := node.cluster.SwitchLeader("m1", 0); err != nil {
			t.Error(err)
		}
		return "y"
	}
	if got, err := client.Command(within(t), "ask Sure?"); err == nil {
		t.Errorf("got %q in spite of the switch", got)
	}
}

func TestGSQLClientRepeatsOn5xx(t *testing.T) {
	node := startNode(t, Options{})
	node.SetFault(GSQL, Fault{Mode: Dead, Times: 2})
	client := gsqlClient(node)
	client.Tries = 3
	if err := client.Login(within(t)); err != nil {
		t.Error(err)
	}
}

func TestLinesBeginWithTheWordAskedFor(t *testing.T) {
	lines, err := gsqlClient(startNode(t, Options{})).Command(within(t), "lines 2 0s marked")
	if err != nil || strings.Join(lines, ",") != "marked 1,marked 2" {
		t.Errorf("%q, %v", lines, err)
	}
}
