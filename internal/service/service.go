// Package service tells which TigerGraph service a request is for.
package service

import (
	"path"
	"strings"
)

// Service is one of the servers behind a TigerGraph node's single port.
type Service uint8

const (
	// GUI is the application server (GraphStudio, Admin Portal, Insights) and
	// everything else that is neither GSQL nor RESTPP.
	GUI Service = iota
	// GSQL is the GSQL server: schema, queries, users.
	GSQL
	// RESTPP serves installed queries and data in and out.
	RESTPP

	// Count is the number of services, for tables indexed by Service.
	Count
)

var names = [Count]string{GUI: "gui", GSQL: "gsql", RESTPP: "restpp"}

// String returns the service's name as it is written in a Caddyfile.
func (s Service) String() string { return names[s] }

// Parse returns the service with this name.
func Parse(name string) (s Service, known bool) {
	for i := range names {
		if names[i] == name {
			return Service(i), true
		}
	}
	return 0, false
}

// prefixes are path prefixes that end at a slash or at the end of the path.
var prefixes = [...]struct {
	path    string
	service Service
}{
	{"/restpp", RESTPP},
	{"/gsqlserver", GSQL},
	{"/gsql/v1", GSQL},
	{"/gsql/scim", GSQL},
}

// Of returns the service that a decoded path is for. The path is cleaned first,
// as the nginx in each TigerGraph node does before it routes.
func Of(decoded string) Service {
	if isPlainGUI(decoded) {
		return GUI
	}
	decoded = Clean(decoded)
	for i := range prefixes {
		rest, found := strings.CutPrefix(decoded, prefixes[i].path)
		if found && (rest == "" || rest[0] == '/') {
			return prefixes[i].service
		}
	}
	return GUI
}

// Clean returns a decoded path as the nginx in each TigerGraph node sees it.
func Clean(decoded string) string {
	if unclean(decoded) {
		return path.Clean("/" + decoded)
	}
	return decoded
}

// isPlainGUI reports whether a look at a path's second byte shows that it is for
// the GUI, as that of most requests does: cleaning changes the first segment of
// such a path only where it goes up.
func isPlainGUI(p string) bool {
	if len(p) < 2 || p[0] != '/' {
		return false
	}
	switch p[1] {
	case '/', '.', 'r', 'g':
		return false
	}
	return !strings.Contains(p, "/..")
}

// unclean reports whether cleaning may change what a path is routed by; nearly
// no path needs it, and cleaning allocates.
func unclean(p string) bool {
	if p == "" || p[0] != '/' {
		return true
	}
	for i := 1; i < len(p); i++ {
		if p[i-1] == '/' && (p[i] == '/' || p[i] == '.') {
			return true
		}
	}
	return false
}
