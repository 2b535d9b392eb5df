package tgnode

import (
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Kind says what a request made a service do.
type Kind string

// What the ledger tells apart. Read is never in the ledger.
const (
	Read         Kind = ""
	Login        Kind = "login"
	Logout       Kind = "logout"
	SSO          Kind = "sso"
	DropAll      Kind = "drop-all"
	ClearStore   Kind = "clear-store"
	InstallQuery Kind = "queries/install"
	Statement    Kind = "statement"
	Command      Kind = "command"
	File         Kind = "file"
	Dialog       Kind = "dialog"
	AbortSession Kind = "abortclientsession"
	Query        Kind = "query"
	AbortQuery   Kind = "abortquery"
	Upsert       Kind = "upsert"
	Delete       Kind = "delete"
	Load         Kind = "load"
	RebuildNow   Kind = "rebuildnow"
	Token        Kind = "token"
	Other        Kind = "other" // neither known nor known to be harmless
)

// Execution is one entry of the ledger.
type Execution struct {
	Kind Kind
	// Node executed it: with GSQL the leader, whoever got the request.
	Node string
	// Service got the request.
	Service Service
	// Marker is the request's query parameter "marker", or else its header
	// field X-Marker, or else X-Request-Id.
	Marker    string
	Method    string
	Target    string
	BodyBytes int64
	Time      time.Time
}

// Entry is one of a node's journal, which outlives the process that writes it.
type Entry struct {
	Time    time.Time
	Service Service
	Marker  string // as in an Execution
	// Session is the session that the request brought, and Known whether the GUI
	// has it.
	Session string
	Known   bool
	// Executed is what was done, Read if the request has only arrived.
	Executed Kind
}

// journal enters the request into the node's journal, if it keeps one.
func (c *connection) journal(executed Kind) {
	if c.options.Journal == nil {
		return
	}
	entry := Entry{Time: time.Now(), Service: c.request.service, Marker: c.request.marker(), Executed: executed}
	if c.request.service == GUI {
		entry.Session = c.request.cookie(guiCookie)
		_, entry.Known = c.request.backend.gui.user(entry.Session)
	}
	c.options.Journal(entry)
}

// ledgerSize bounds the executions that are kept.
const ledgerSize = 100_000

// Ledger lists what the nodes of a cluster executed, whether or not the client
// ever learned of it.
type Ledger struct {
	total atomic.Int64

	mu      sync.Mutex
	counts  map[Kind]int
	entries recent[Execution]
}

func newLedger() *Ledger {
	return &Ledger{counts: make(map[Kind]int), entries: recent[Execution]{limit: ledgerSize}}
}

func (l *Ledger) add(e Execution) {
	l.total.Add(1)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.counts[e.Kind]++
	l.entries.add(e)
}

// Total returns the number of executions of any kind, those of nodes with
// NoRecord included.
func (l *Ledger) Total() int { return int(l.total.Load()) }

// Count returns the number of executions of one kind.
func (l *Ledger) Count(kind Kind) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.counts[kind]
}

// CountMarker returns how often a request with this marker was executed.
func (l *Ledger) CountMarker(marker string) int {
	n := 0
	for _, e := range l.Executions() {
		if e.Marker == marker {
			n++
		}
	}
	return n
}

// Repeated returns the markers that were executed more than once, with their
// number.
func (l *Ledger) Repeated() map[string]int {
	counts := make(map[string]int)
	for _, e := range l.Executions() {
		if e.Marker != "" {
			counts[e.Marker]++
		}
	}
	for marker, n := range counts {
		if n < 2 {
			delete(counts, marker)
		}
	}
	return counts
}

// Executions returns the entries, oldest first; of very many the newest.
func (l *Ledger) Executions() []Execution {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.entries.all()
}

// Reset empties the ledger.
func (l *Ledger) Reset() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.total.Store(0)
	clear(l.counts)
	l.entries.reset()
}

// recent keeps the newest values, up to limit.
type recent[T any] struct {
	limit  int
	values []T
	oldest int // once values is full
}

func (r *recent[T]) add(v T) {
	if len(r.values) < r.limit {
		r.values = append(r.values, v)
		return
	}
	r.values[r.oldest] = v
	r.oldest = (r.oldest + 1) % r.limit
}

func (r *recent[T]) all() []T {
	all := make([]T, 0, len(r.values))
	all = append(all, r.values[r.oldest:]...)
	return append(all, r.values[:r.oldest]...)
}

func (r *recent[T]) reset() { r.values, r.oldest = nil, 0 }

// kindOf classifies a request by its decoded path. What is not known to be
// harmless counts as an execution, so that no repetition goes unnoticed.
func kindOf(service Service, method, path, query string) Kind {
	if strings.HasSuffix(path, "/__echo") || strings.HasSuffix(path, "/__events") {
		return Read
	}
	switch service {
	case GUI:
		return guiKind(method, path, query)
	case GSQL:
		return gsqlKind(method, path, query)
	case RESTPP:
		return restppKind(method, path)
	default:
		return Read
	}
}

func isRead(method string) bool { return method == "GET" || method == "HEAD" }

func guiKind(method, path, query string) Kind {
	switch path {
	case "/api/ping", "/api/auth/whoami", "/api/auth/saml/login", "/api/auth/oidc/login":
		return Read
	case "/api/auth/login":
		return Login
	case "/api/auth/logout":
		return Logout
	case "/api/auth/saml/acs", "/api/auth/oidc/callback":
		return SSO
	}
	if service, inner := tunnel(path); service != GUI {
		return kindOf(service, method, inner, query)
	}
	return Other
}

func restppKind(method, path string) Kind {
	name, _, _ := strings.Cut(strings.TrimPrefix(path, "/restpp/"), "/")
	switch name {
	case "query":
		return Query
	case "abortquery":
		return AbortQuery
	case "rebuildnow":
		return RebuildNow
	case "requesttoken":
		return Token
	case "ddl":
		return Load
	case "graph":
		switch {
		case isRead(method):
			return Read
		case method == "DELETE":
			return Delete
		default:
			return Upsert
		}
	case "echo", "version", "endpoints", "statistics", "query_status", "query_result",
		"showprocesslist", "showprocesslistall", "showdelayedlistall":
		return Read
	}
	return Other
}

func gsqlKind(method, path, query string) Kind {
	name := strings.TrimPrefix(strings.TrimPrefix(path, "/gsql"), "/v1")
	name = strings.Trim(name, "/")
	switch name {
	case "version", "help", "getinfo":
		return Read
	case "login", "auth/simple", "simpleauth":
		return Login
	case "drop-all":
		return DropAll
	case "clear-store":
		return ClearStore
	case "queries/install":
		return InstallQuery
	case "statements":
		return Statement
	case "command":
		return Command
	case "file":
		return File
	case "dialog":
		return Dialog
	case "abortclientsession":
		return AbortSession
	case "tokens":
		return Token
	}
	if !isRead(method) || strings.Contains(query, "action=") {
		return Other
	}
	first, rest, _ := strings.Cut(name, "/")
	switch first {
	case "schema", "privileges", "roles", "users", "groups", "data-sources", "packages",
		"queryinfo", "saml", "Users", "Groups", "statements":
		return Read
	case "queries":
		if rest == "" || rest == "info" || rest == "signature" || strings.HasPrefix(rest, "install/") {
			return Read
		}
	case "loading-jobs":
		if rest == "" || rest == "status" || strings.HasPrefix(rest, "status/") {
			return Read
		}
	}
	return Other
}
