package tgnode

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
)

// PingForm is one of the healthy answers to GET /api/ping that are known.
type PingForm uint8

// The forms of a healthy ping.
const (
	PingDocumented PingForm = iota // error is the string "false", results an object
	PingNull                       // error is false, results null
	PingShort                      // no results
)

var pings = [...]string{
	PingDocumented: `{"error":"false","message":"pong","results":{}}`,
	PingNull:       `{"error":false,"message":"pong","results":null}`,
	PingShort:      `{"error":false,"message":"pong"}`,
}

const (
	guiCookie    = "TigerGraphApp"
	unauthorized = `{"error":true,"message":"You are not authorized to use this API.","results":{}}`
)

// guiServer is a node's application server. Its sessions are its own.
type guiServer struct {
	mu       sync.Mutex
	sessions map[string]string   // token to user
	logins   map[string]struct{} // begun with an identity provider
}

func (s *guiServer) clear() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sessions = make(map[string]string)
	s.logins = make(map[string]struct{})
}

func (s *guiServer) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.sessions)
}

func (s *guiServer) user(token string) (string, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	user, ok := s.sessions[token]
	return user, ok
}

func (s *guiServer) logIn(user string) (token string) {
	token = newUUID()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.sessions[token] = user
	return token
}

func (s *guiServer) logOut(token string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.sessions, token)
}

// beginLogin remembers a login that an identity provider is to complete.
func (s *guiServer) beginLogin() (id string) {
	id = newUUID()
	s.mu.Lock()
	defer s.mu.Unlock()
	s.logins[id] = struct{}{}
	return id
}

// completeLogin tells whether this server began the login; it does so once.
func (s *guiServer) completeLogin(id string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, ok := s.logins[id]
	delete(s.logins, id)
	return ok
}

func newUUID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	b[6] = b[6]&0x0f | 0x40
	b[8] = b[8]&0x3f | 0x80
	return fmt.Sprintf("%x-%x-%x-%x-%x", b[:4], b[4:6], b[6:8], b[8:10], b[10:])
}

// cookie returns the value of a cookie.
func (r *request) cookie(name string) string {
	for i := range r.fields {
		if !strings.EqualFold(r.fields[i].Name, "Cookie") {
			continue
		}
		for rest := r.fields[i].Value; rest != ""; {
			var pair string
			pair, rest, _ = strings.Cut(rest, ";")
			if key, value, _ := strings.Cut(strings.TrimSpace(pair), "="); key == name {
				return value
			}
		}
	}
	return ""
}

// authorizeGUI tells whether the request needs no session or has one.
func (c *connection) authorizeGUI() bool {
	r := &c.request
	switch r.path {
	case "/api/ping", "/api/auth/login", "/api/auth/saml/login", "/api/auth/saml/acs",
		"/api/auth/oidc/login", "/api/auth/oidc/callback":
		return true
	}
	if strings.HasSuffix(r.path, "/__echo") || strings.HasSuffix(r.path, "/__events") {
		return true
	}
	var ok bool
	r.user, ok = r.backend.gui.user(r.cookie(guiCookie))
	return ok
}

// tunnel tells to which other service the GUI passes a path, and what it is there.
func tunnel(path string) (Service, string) {
	if strings.HasPrefix(path, "/api/restpp/") {
		return RESTPP, path[len("/api"):]
	}
	if strings.HasPrefix(path, "/api/gsql-server/") {
		return GSQL, path[len("/api/gsql-server"):]
	}
	return GUI, path
}

func (c *connection) serveGUI() {
	r := &c.request
	gui := &r.backend.gui
	if r.path == "/api/ping" {
		c.respondJSON(http.StatusOK, pings[c.options.Ping])
		return
	}
	if !r.authorized {
		c.respondJSON(http.StatusUnauthorized, unauthorized)
		return
	}
	if service, path := tunnel(r.path); service != GUI {
		r.service, r.path, r.tunnelled = service, path, true
		if service == GSQL {
			c.serveGSQL()
		} else {
			c.serveRESTPP()
		}
		return
	}
	c.execute()
	switch r.path {
	case "/api/auth/login":
		c.loginGUI()
	case "/api/auth/logout":
		gui.logOut(r.cookie(guiCookie))
		c.respondJSON(http.StatusOK, `{"error":false,"message":"","results":{}}`)
	case "/api/auth/whoami":
		c.respondJSON(http.StatusOK, fmt.Sprintf(`{"error":false,"message":"","results":{"username":%s,"node":%s}}`,
			quote(r.user), quote(r.backend.name)))
	case "/api/auth/saml/login":
		c.respond(http.StatusFound, "text/html", nil,
			Field{"Location", "https://idp.example/saml?SAMLRequest=" + gui.beginLogin()})
	case "/api/auth/oidc/login":
		c.respond(http.StatusFound, "text/html", nil,
			Field{"Location", "https://idp.example/authorize?state=" + gui.beginLogin()})
	case "/api/auth/saml/acs":
		form, _ := url.ParseQuery(string(r.body)) // what is broken is missing
		c.completeSSO(form.Get("SAMLResponse"), form.Get("NameID"))
	case "/api/auth/oidc/callback":
		c.completeSSO(r.parameter("state"), r.parameter("code"))
	default:
		c.respondJSON(http.StatusOK, `{"error":false,"message":"","results":{"node":`+quote(r.backend.name)+`}}`)
	}
}

func (c *connection) loginGUI() {
	r := &c.request
	var credentials struct{ Username, Password string }
	if r.method != http.MethodPost || json.Unmarshal(r.body, &credentials) != nil {
		c.respondJSON(http.StatusBadRequest, `{"error":true,"message":"Invalid request.","results":{}}`)
		return
	}
	if credentials.Username == "" || credentials.Password != Password {
		c.respondJSON(http.StatusUnauthorized, `{"error":true,"message":"Incorrect username or password.","results":{}}`)
		return
	}
	token := r.backend.gui.logIn(credentials.Username)
	c.respondJSON(http.StatusOK, `{"error":false,"message":"","results":{"name":`+quote(credentials.Username)+`}}`, c.guiCookieField(token))
}

// completeSSO is where the browser comes back from the identity provider: the
// server that sent it there must get the answer, and only once. The stand-in's
// provider returns the request's id as the assertion.
func (c *connection) completeSSO(id, user string) {
	gui := &c.request.backend.gui
	if user == "" || !gui.completeLogin(id) {
		c.respondJSON(http.StatusUnauthorized, unauthorized)
		return
	}
	c.respond(http.StatusFound, "text/html", nil, Field{"Location", "/studio/"}, c.guiCookieField(gui.logIn(user)))
}

func (c *connection) guiCookieField(token string) Field {
	value := guiCookie + "=" + token + "; Path=/; Max-Age=86400; SameSite=" + c.options.SameSite
	if c.options.TLS != nil {
		value += "; Secure"
	}
	return Field{"Set-Cookie", value}
}
