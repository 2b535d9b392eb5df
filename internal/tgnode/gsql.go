package tgnode

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

const authenticationFailed = `{"error":true,"message":"Authentication failed."}`

// gsqlServer is a node's GSQL server. The sessions of its clients live in it
// even while another node leads.
type gsqlServer struct {
	mu       sync.Mutex
	sessions map[string]*gsqlSession
}

type gsqlSession struct {
	id, user string
	header   string // what the client is to send back

	mu      sync.Mutex
	dialogs map[string]chan string // nil once the session has ended
}

func (s *gsqlServer) clear() {
	s.mu.Lock()
	sessions := s.sessions
	s.sessions = make(map[string]*gsqlSession)
	s.mu.Unlock()
	for _, session := range sessions {
		session.end()
	}
}

// end aborts what still waits for an answer of the user.
func (s *gsqlSession) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, answers := range s.dialogs {
		close(answers)
	}
	s.dialogs = nil
}

// openDialog returns nil if the session has ended.
func (s *gsqlSession) openDialog(id string) <-chan string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.dialogs == nil {
		return nil
	}
	answers := make(chan string, 1)
	s.dialogs[id] = answers
	return answers
}

func (s *gsqlSession) closeDialog(id string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.dialogs, id)
}

// answer passes the user's answer to a dialog, once.
func (s *gsqlSession) answer(id, text string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	answers, ok := s.dialogs[id]
	if ok {
		answers <- text
		delete(s.dialogs, id)
	}
	return ok
}

func (n *Node) newGSQLSession(user, password string) *gsqlSession {
	session := &gsqlSession{
		id:      fmt.Sprintf("%011d", n.cluster.sequence.Add(1)),
		user:    user,
		dialogs: make(map[string]chan string),
	}
	session.header = fmt.Sprintf(`{"sessionId":"%s","serverId":"%d_%d","graph":"","auth":"Basic %s"}`,
		session.id, n.number, time.Now().UnixMilli(), base64.StdEncoding.EncodeToString([]byte(user+":"+password)))
	n.gsql.mu.Lock()
	defer n.gsql.mu.Unlock()
	n.gsql.sessions[session.id] = session
	return session
}

// gsqlSession returns the session that the client names in GSQL-Cookie, or in
// Cookie up to 3.6.1; either must be JSON and nothing else.
func (c *connection) gsqlSession() *gsqlSession {
	r := &c.request
	var named struct{ SessionID string }
	if json.Unmarshal([]byte(orDefault(r.header("GSQL-Cookie"), r.header("Cookie"))), &named) != nil {
		return nil
	}
	s := &c.node.gsql
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sessions[named.SessionID]
}

// basicAuth returns the user if the credentials are good.
func (r *request) basicAuth() (string, bool) {
	encoded, ok := strings.CutPrefix(r.header("Authorization"), "Basic ")
	if !ok {
		return "", false
	}
	return checkCredentials(encoded)
}

func checkCredentials(encoded string) (user string, ok bool) {
	decoded, err := base64.StdEncoding.DecodeString(strings.TrimSpace(encoded))
	if err != nil {
		return "", false
	}
	user, password, _ := strings.Cut(string(decoded), ":")
	return user, user != "" && password == Password
}

func (c *connection) serveGSQL() {
	r := &c.request
	path := strings.TrimPrefix(r.path, "/gsql")
	if c.options.RequireAuth && !r.tunnelled && path != "/login" && r.header("Authorization") == "" {
		c.respondJSON(http.StatusUnauthorized, authenticationFailed)
		return
	}
	switch path {
	case "/version", "/v1/version":
		c.respond(http.StatusOK, "text/plain", []byte("GSQL version: 3.9.3\nGSQL commit: "+c.node.name+"\n"))
		return
	case "/v1/auth/simple", "/simpleauth":
		if _, ok := r.basicAuth(); !ok {
			c.respondJSON(http.StatusUnauthorized, authenticationFailed)
			return
		}
	case "/command", "/file", "/dialog", "/abortclientsession":
		if _, ok := r.basicAuth(); !ok {
			c.respondJSON(http.StatusUnauthorized, authenticationFailed)
			return
		}
	}
	if !c.execute() {
		c.respondJSON(http.StatusOK, `{"error":true,"message":"GSQL has no leader at the moment."}`)
		return
	}
	switch path {
	case "/login":
		c.loginGSQL()
	case "/command", "/file":
		c.runCommand()
	case "/dialog":
		id, text, _ := strings.Cut(string(r.body), ",")
		session := c.gsqlSession()
		if session == nil || !session.answer(id, text) {
			c.respondJSON(http.StatusOK, `{"error":true,"message":"No such dialog in this session."}`)
			return
		}
		c.respondJSON(http.StatusOK, `{"error":false,"message":""}`)
	case "/abortclientsession":
		if session := c.gsqlSession(); session != nil {
			c.node.gsql.mu.Lock()
			delete(c.node.gsql.sessions, session.id)
			c.node.gsql.mu.Unlock()
			session.end()
		}
		c.respondJSON(http.StatusOK, `{"error":false,"message":""}`)
	default:
		c.respondJSON(http.StatusOK, `{"error":false,"message":"","results":{"path":`+quote(r.path)+`,"node":`+quote(c.node.name)+`}}`)
	}
}

// loginGSQL answers 200 on failure too, as the client expects.
func (c *connection) loginGSQL() {
	encoded := string(c.request.body)
	user, ok := checkCredentials(encoded)
	if !ok {
		c.respondJSON(http.StatusOK, `{"error":true,"message":"Wrong password.","isClientCompatible":true}`)
		return
	}
	session := c.node.newGSQLSession(user, Password)
	c.respondJSON(http.StatusOK,
		`{"error":false,"message":"","isClientCompatible":true,"welcomeMessage":"Welcome to TigerGraph.","shellPrompt":"GSQL > ","securityRecommendations":0}`,
		Field{c.options.GSQLSessionHeader, session.header})
}

// runCommand runs a few commands of the stand-in's own, and prints what it got
// of any other:
//
//	lines <n> <pause> [<word>]
//	                      n lines that begin with the word, with a pause between
//	ask <question>        a dialog: waits until the answer is posted to dialog
func (c *connection) runCommand() {
	r := &c.request
	c.startStream(http.StatusOK, "text/plain")
	session := c.gsqlSession()
	if session == nil {
		user, _ := r.basicAuth()
		session = c.node.newGSQLSession(user, Password)
		c.print("__GSQL__COOKIES__,%s", session.header)
	}
	command := strings.Fields(string(r.body))
	code := 0
	switch {
	case (len(command) == 3 || len(command) == 4) && command[0] == "lines":
		word := "line"
		if len(command) == 4 {
			word = command[3]
		}
		n, _ := strconv.Atoi(command[1])
		pause, _ := time.ParseDuration(command[2])
		for i := range n {
			if i > 0 && !c.pause(pause) {
				c.broken = true
				return
			}
			c.print("%s %d", word, i+1)
		}
	case len(command) > 1 && command[0] == "ask":
		id := strconv.FormatInt(c.node.cluster.sequence.Add(1), 10)
		answers := session.openDialog(id)
		defer session.closeDialog(id)
		c.print("%s", strings.Join(command[1:], " "))
		c.print("__GSQL__INTERACT__,DialogBox,%s,%s", id, session.user)
		if answers == nil {
			c.broken = true
			return
		}
		answer, ok := c.await(answers)
		if !ok {
			c.broken = true
			return
		}
		c.print("answer: %s", answer)
	default:
		c.print("%s", strings.Join(command, " "))
		c.print("Executed by the leader, %s.", c.node.cluster.Leader())
	}
	c.print("__GSQL__RETURN__CODE__,%d", code)
	c.endStream()
}

func (c *connection) print(format string, args ...any) {
	c.stream(fmt.Appendf(nil, format+"\n", args...))
}
