package affinity

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"
)

func TestTheIDOfASessionIsFoundInRawJSON(t *testing.T) {
	for header, want := range map[string]string{
		`{"sessionId":"00000000561","serverId":"8_1659614329898","auth":"Basic dGVzdDp0ZXN0"}`: "00000000561",
		`{"graph":"g", "sessionId" : "7" }`:                                                    "7",
		`{"sessionId":561,"a":1}`:                                                              "561",
		`{"sessionId":561}`:                                                                    "561",
		`TigerGraphApp=1; GSQLCookie={"sessionId":"9"}`:                                        "9",
		`{"terminalWidth":80,"fromGsqlClient":true}`:                                           "",
		`{"sessionId":""}`:                                                                     "",
		`{"sessionId":null}`:                                                                   "",
		`{"sessionId":"unterminated`:                                                           "",
		`{"sessionId"`:                                                                         "",
		`{"sessionId":`:                                                                        "",
		`"sessionId":"no object"`:                                                              "",
		`{"sessionId":"a\"b"}`:                                                                 "",
		``:                                                                                     "",
	} {
		if got := SessionID(header); got != want {
			t.Errorf("%s: %q, want %q", header, got, want)
		}
	}
}

func TestSessionsAreRememberedByTheirNewestNode(t *testing.T) {
	s := NewSessions(time.Hour, 100)
	nodes := func(id string) []string { return slices.Collect(s.Nodes(id)) }
	if got := nodes("1"); got != nil {
		t.Errorf("nobody's session is on %v", got)
	}
	s.Remember("1", "m1")
	s.Remember("1", "m2")
	s.Remember("1", "m2")
	s.Remember("", "m3")
	if got := nodes("1"); !slices.Equal(got, []string{"m2", "m1"}) {
		t.Errorf("the session is on %v", got)
	}
	if got := nodes(""); got != nil {
		t.Errorf("a session without an id is on %v", got)
	}
	for i := range 200 {
		s.Remember(string(rune('a'+i)), "m1")
	}
	if s.Len() > 100 {
		t.Errorf("%d sessions are remembered, more than there may be", s.Len())
	}
}

func FuzzSessionID(f *testing.F) {
	f.Add(`{"sessionId":"1"}`)
	f.Add(`{"sessionId" : 5`)
	f.Fuzz(func(_ *testing.T, header string) { SessionID(header) })
}

func TestASessionThatSeveralBeginAtOnceIsThatOfAll(t *testing.T) {
	s := NewSessions(time.Hour, 10000)
	for i := range 2000 {
		id := fmt.Sprint(i)
		var beginning sync.WaitGroup
		for node := range mostNodesOfSession {
			beginning.Go(func() { s.Remember(id, fmt.Sprint("m", node)) })
		}
		beginning.Wait()
		if got := len(slices.Collect(s.Nodes(id))); got != mostNodesOfSession {
			t.Fatalf("%d nodes are remembered of %d that began a session", got, mostNodesOfSession)
		}
	}
}
