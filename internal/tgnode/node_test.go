package tgnode

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

func TestStoppedNodeRefusesAndForgetsItsSessions(t *testing.T) {
	node := startNode(t, Options{})
	addr := node.Addr()
	cookie := logIn(t, node, "anna")
	idle := dial(t, node)
	idle.do("GET", "/restpp/echo", "")

	node.Stop()
	node.Stop() // changes nothing
	if _, err := net.DialTimeout("tcp", addr, enough); !errors.Is(err, syscall.ECONNREFUSED) {
		t.Errorf("dialling a stopped node: %v, want a refusal", err)
	}
	if _, err := idle.reader.ReadByte(); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("open connection: %v, want a reset", err)
	}
	if node.Sessions() != 0 || node.Connections() != 0 {
		t.Errorf("%d sessions, %d connections", node.Sessions(), node.Connections())
	}

	if err := node.Start(); err != nil {
		t.Fatal(err)
	}
	if node.Addr() != addr {
		t.Errorf("address is %s, was %s", node.Addr(), addr)
	}
	if got := get(t, node, "/api/auth/whoami", cookie); got.status != 401 {
		t.Errorf("old session is answered %d", got.status)
	}
}

func TestStoppedNodeKeepsItsPort(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("ports are reserved on Linux only")
	}
	node := startNode(t, Options{})
	node.Stop()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	if listener.Addr().String() == node.Addr() {
		t.Error("the port was given away")
	}
	if err := node.Start(); err != nil {
		t.Error(err)
	}
}

func TestRestartIsAnOutageOfOneService(t *testing.T) {
	node := startNode(t, Options{})
	cookie := logIn(t, node, "anna")
	node.Restart(RESTPP, time.Hour)
	if got := get(t, node, "/api/auth/whoami", cookie); got.status != 200 {
		t.Errorf("a restart of RESTPP ends the GUI's session: %d", got.status)
	}
	wantBody(t, get(t, node, "/restpp/echo"), 502, page502)

	node.Restart(All, time.Hour)
	for _, target := range []string{"/api/ping", "/restpp/echo", "/gsql/v1/version"} {
		wantStatus(t, node, target, 502)
	}
	wantStatus(t, node, "/", 200)
	node.Restart(All, time.Millisecond)
	eventually(t, "the restart", func() bool { return get(t, node, "/api/ping").status == 200 })
	if got := get(t, node, "/api/auth/whoami", cookie); got.status != 401 {
		t.Errorf("session survives the restart: %d", got.status)
	}
}

func TestCloseLeavesNothingRunning(t *testing.T) {
	cluster := NewCluster()
	for range 3 {
		if _, err := cluster.Start(Options{}); err != nil {
			t.Fatal(err)
		}
	}
	for i, n := range cluster.Nodes() {
		dial(t, n).do("GET", "/restpp/echo", "")
		dial(t, n).write("GET /restpp/echo?sleep=3600 HTTP/1.1\r\nHost: a\r\n\r\n")
		dial(t, n).write("POST /gsqlserver/gsql/command HTTP/1.1\r\nHost: a\r\nAuthorization: Basic YTp0aWdlcmdyYXBo\r\nContent-Length: 6\r\n\r\nask me")
		dial(t, n).write("GET /restpp/query/g/q?bytes=1000000000 HTTP/1.1\r\nHost: a\r\n\r\n")
		n.SetFault(GUI, Fault{Mode: Endless, Status: 200, Body: "x"})
		dial(t, n).write("GET /api/ping HTTP/1.1\r\nHost: a\r\n\r\n")
		eventually(t, "the requests", func() bool { return n.Count(All) == 5 })
		if i == 1 {
			n.Freeze()
		}
	}
	if err := cluster.SwitchLeader("m2", time.Hour); err != nil {
		t.Fatal(err)
	}
	cluster.Close()
	if _, err := cluster.Start(Options{}); err == nil {
		t.Error("a closed cluster started a node")
	}
	if err := cluster.Nodes()[0].Start(); err == nil {
		t.Error("a closed node started")
	}
	stacks := make([]byte, 1<<20)
	eventually(t, "the end of all goroutines", func() bool {
		return !strings.Contains(string(stacks[:runtime.Stack(stacks, true)]), "tgnode.(*machine)")
	})
}

func TestSwitchesAreSafeUnderLoad(t *testing.T) {
	nodes := startNodes(t, Options{}, Options{})
	var clients sync.WaitGroup
	for i := range 4 {
		clients.Go(func() {
			for j := range 40 {
				conn, err := net.Dial("tcp", nodes[i%2].Addr())
				if err != nil {
					continue
				}
				_ = conn.SetDeadline(time.Now().Add(50 * time.Millisecond))
				for _, target := range []string{"/restpp/query/g/q", "/gsql/v1/statements", "/informant/metrics", "/api/auth/whoami"} {
					_, _ = fmt.Fprintf(conn, "GET %s?marker=%d-%d HTTP/1.1\r\nHost: a\r\n\r\n", target, i, j)
				}
				_, _ = conn.Read(make([]byte, 1000))
				_ = conn.Close()
			}
		})
	}
	for i := range 20 {
		n := nodes[i%2]
		n.SetFault(RESTPP, Fault{Mode: Reset, Times: 1}, Fault{Mode: Trickle, Delay: time.Millisecond, Sequence: "-+"})
		n.Update(func(o *Options) { o.RequireAuth = i%3 == 0; o.GUIFrom = nodes[(i+1)%2] })
		n.Restart(GUI, time.Millisecond)
		if err := n.cluster.SwitchLeader(nodes[i%2].Name(), time.Millisecond); err != nil {
			t.Error(err)
		}
		n.Freeze()
		n.Thaw()
		n.Stop()
		if err := n.Start(); err != nil {
			t.Error(err)
		}
		_, _, _, _ = n.Requests(), n.Connections(), n.Sessions(), n.cluster.Ledger().Executions()
		n.ClearFaults()
	}
	clients.Wait()
}

func TestEveryExecutionIsInTheLedger(t *testing.T) {
	node := startNode(t, Options{})
	ledger := node.cluster.Ledger()
	cookie := logIn(t, node, "anna")
	for _, test := range []struct {
		method, target string
		want           Kind
	}{
		{"GET", "/gsql/v1/drop-all", DropAll},
		{"GET", "/gsqlserver/gsql/clear-store", ClearStore},
		{"GET", "/gsql/v1/clear-store", ClearStore},
		{"GET", "/gsql/v1/queries/install", InstallQuery},
		{"GET", "/gsql/v1/queries/install/1234", Read},
		{"POST", "/gsql/v1/statements", Statement},
		{"GET", "/gsql/v1/statements/6.3", Read},
		{"GET", "/gsql/v1/loading-jobs/abort", Other},
		{"GET", "/gsqlserver/gsql/loading-jobs?action=start", Other},
		{"GET", "/gsql/v1/version", Read},
		{"GET", "/restpp/rebuildnow/g", RebuildNow},
		{"GET", "/restpp/query/g/q", Query},
		{"GET", "/restpp/abortquery/g", AbortQuery},
		{"POST", "/restpp/graph/g", Upsert},
		{"DELETE", "/restpp/graph/g/vertices/p", Delete},
		{"GET", "/restpp/graph/g/vertices/p", Read},
		{"POST", "/restpp/ddl/g", Load},
		{"POST", "/restpp/requesttoken", Token},
		{"POST", "/restpp/echo", Read},
		{"GET", "/restpp/endpoint-of-a-user", Other},
		{"GET", "/api/ping", Read},
		{"GET", "/api/anything", Other},
		{"POST", "/api/restpp/query/g/q", Query},
		{"GET", "/api/gsql-server/gsql/v1/drop-all", DropAll},
		{"GET", "/", Read},
	} {
		ledger.Reset()
		dial(t, node).do(test.method, test.target, "", cookie, "X-Marker: m")
		switch {
		case test.want == Read && ledger.Total() != 0:
			t.Errorf("%s %s is in the ledger: %+v", test.method, test.target, ledger.Executions())
		case test.want != Read && (ledger.Total() != 1 || ledger.Count(test.want) != 1 || ledger.CountMarker("m") != 1):
			t.Errorf("%s %s: ledger is %+v, want %s", test.method, test.target, ledger.Executions(), test.want)
		}
	}
	if got := ledger.Repeated(); len(got) != 0 {
		t.Errorf("repeated: %v", got)
	}
	for range 2 {
		get(t, node, "/restpp/query/g/q?marker=twice")
	}
	if got := ledger.Repeated(); len(got) != 1 || got["twice"] != 2 {
		t.Errorf("repeated: %v", got)
	}
}

func TestRequestsAreRecordedAsTheyArrive(t *testing.T) {
	node := startNode(t, Options{})
	get(t, node, "/restpp/query/g/q?vp[0]=a+b&x=%2f", "x-Lower: 1", "X-LOWER: 2")
	got := node.Requests()[0]
	want := []Field{{"Host", "edge"}, {"x-Lower", "1"}, {"X-LOWER", "2"}}
	if got.Method != http.MethodGet || got.Target != "/restpp/query/g/q?vp[0]=a+b&x=%2f" || !slices.Equal(got.Fields, want) {
		t.Errorf("recorded %+v", got)
	}
	if values := got.Values("X-Lower"); !slices.Equal(values, []string{"1", "2"}) {
		t.Errorf("values %q", values)
	}
}

func TestRecordingIsBoundedAndCanBeOff(t *testing.T) {
	r := recent[int]{limit: 3}
	for i := range 5 {
		r.add(i)
	}
	if got := fmt.Sprint(r.all()); got != "[2 3 4]" {
		t.Errorf("kept %s", got)
	}

	node := startNode(t, Options{NoRecord: true})
	get(t, node, "/restpp/query/g/q")
	ledger := node.cluster.Ledger()
	if len(node.Requests()) != 0 || len(ledger.Executions()) != 0 {
		t.Error("recorded")
	}
	if node.Count(RESTPP) != 1 || ledger.Total() != 1 {
		t.Error("not counted")
	}
}

func TestFourthNodeHasRESTPPOnly(t *testing.T) {
	node := startNodes(t, Options{}, Options{NoGUI: true, NoGSQL: true})[1]
	wantBody(t, get(t, node, "/api/ping"), 502, page502)
	wantBody(t, get(t, node, "/gsqlserver/gsql/version"), 502, page502)
	wantStatus(t, node, "/restpp/echo", 200)
	wantStatus(t, node, "/studio/", 200)
}

func TestBalancingNodeAnswersFromANeighboursGUI(t *testing.T) {
	nodes := startNodes(t, Options{}, Options{})
	nodes[1].Update(func(o *Options) { o.GUIFrom = nodes[0] })
	cookie := logIn(t, nodes[1], "anna")
	if nodes[0].Sessions() != 1 || nodes[1].Sessions() != 0 {
		t.Errorf("%d and %d sessions", nodes[0].Sessions(), nodes[1].Sessions())
	}
	wantBody(t, get(t, nodes[1], "/api/auth/whoami", cookie), 200, `{"error":false,"message":"","results":{"username":"anna","node":"m1"}}`)
	nodes[0].Stop()
	wantBody(t, get(t, nodes[1], "/api/ping"), 502, page502)
}

func TestInformantReportsTheWholeCluster(t *testing.T) {
	nodes := startNodes(t, Options{}, Options{})
	nodes[0].SetFault(GUI, Fault{Mode: Dead})
	got := get(t, nodes[1], "/informant/metrics").body
	for _, want := range []string{`{host_id="m1",service_name="GUI"} 27`, `{host_id="m2",service_name="GUI"} 6`} {
		if !strings.Contains(got, want) {
			t.Errorf("no %s in\n%s", want, got)
		}
	}
}

// The ledger shows what it is there for: Go's transport repeats a GET for
// every idle connection that breaks before the answer.
func TestLedgerSeesWhatGoRepeats(t *testing.T) {
	const idle = 5
	node := startNode(t, Options{})
	transport := &http.Transport{MaxIdleConnsPerHost: idle}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport}
	var opening sync.WaitGroup
	for range idle {
		opening.Go(func() {
			response, err := client.Get("http://" + node.Addr() + "/restpp/echo?sleep=2")
			if err != nil {
				t.Error(err)
				return
			}
			_, _ = io.Copy(io.Discard, response.Body)
			_ = response.Body.Close()
		})
	}
	opening.Wait()
	node.SetFault(GSQL, Fault{Mode: Close})
	if response, err := client.Get("http://" + node.Addr() + "/gsql/v1/drop-all?marker=once"); err == nil {
		_ = response.Body.Close()
		t.Error("answered")
	}
	if n := node.cluster.Ledger().CountMarker("once"); n < 2 {
		t.Errorf("executed %d times", n)
	}
}

func TestTheJournalHasWhatArrivesAndWhatIsDone(t *testing.T) {
	var mu sync.Mutex
	var journal []Entry
	node := startNode(t, Options{NoRecord: true, Journal: func(e Entry) {
		mu.Lock()
		defer mu.Unlock()
		if e.Time.IsZero() {
			t.Error("an entry without a time")
		}
		e.Time = time.Time{}
		journal = append(journal, e)
	}})
	c := dial(t, node)
	login := c.do("POST", "/api/auth/login?marker=1", `{"username":"anna","password":"`+Password+`"}`)
	session, _, _ := strings.Cut(strings.TrimPrefix(login.header.Get("Set-Cookie"), guiCookie+"="), ";")
	c.do("GET", "/api/changes?marker=2", "", "Cookie: "+guiCookie+"="+session)
	c.do("GET", "/api/changes?marker=3", "", "Cookie: "+guiCookie+"=stale")
	c.do("GET", "/restpp/query/g/q?marker=4", "")
	want := []Entry{
		{Service: GUI, Marker: "1"},
		{Service: GUI, Marker: "1", Executed: Login},
		{Service: GUI, Marker: "2", Session: session, Known: true},
		{Service: GUI, Marker: "2", Session: session, Known: true, Executed: Other},
		{Service: GUI, Marker: "3", Session: "stale"},
		{Service: RESTPP, Marker: "4"},
		{Service: RESTPP, Marker: "4", Executed: Query},
	}
	mu.Lock()
	defer mu.Unlock()
	if !slices.Equal(journal, want) {
		t.Errorf("journal is %+v, want %+v", journal, want)
	}
}
