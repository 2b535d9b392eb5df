package service

import (
	"net/http"
	"net/url"
	"strings"
)

// Repeatable reports whether a request may be sent a second time although it may
// have been carried out already. In TigerGraph a GET can drop all data, so this
// is a list of what is known to do nothing but read, and to say the same on every
// node; whatever is not on it must not be repeated.
func Repeatable(r *http.Request) bool {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		return false
	}
	if mayHaveBody(r) {
		return false
	}
	// Most of what is not on the list is told by the path alone, at once.
	if path := r.URL.Path; path == "" || path[0] != '/' || !isRead(path) {
		return false
	}
	if !isPlain(r.URL) || hasAction(r.URL.RawQuery) {
		return false
	}
	for _, field := range deciding {
		if _, given := r.Header[field]; given {
			return false
		}
	}
	return true
}

// mayHaveBody reports whether a GET or HEAD request announces a body. Over HTTP/3
// the length is unknown where no field tells it, body or not.
func mayHaveBody(r *http.Request) bool {
	return r.ContentLength > 0 || r.ContentLength < 0 && r.ProtoMajor < 3 || len(r.TransferEncoding) > 0
}

// deciding are the header fields, in canonical form, that make something else of
// a request than its method and path say.
var deciding = [...]string{"Upgrade", "Gsql-Async", "X-Http-Method-Override"}

// isPlain reports whether the path of a URL is written on the wire as it is, and
// whether nodes, which decode and clean paths before they route them, take it for
// what it is.
func isPlain(u *url.URL) bool {
	path := u.Path
	if u.Opaque != "" {
		return false
	}
	plain := uint8(plainBytes)
	if u.RawPath != "" {
		// What net/url would escape by itself stays as the client wrote it.
		if u.RawPath != path {
			return false
		}
		plain |= reservedBytes
	}
	for i := 0; i < len(path); i++ {
		if byteKinds[path[i]]&plain == 0 {
			return false
		}
		if path[i] != '/' {
			continue
		}
		switch rest := path[i+1:]; {
		case rest == "":
		case rest[0] == '/', isDots(rest):
			return false
		}
	}
	return true
}

// isDots reports whether a path begins with the segment "." or "..".
func isDots(rest string) bool {
	if rest[0] != '.' {
		return false
	}
	rest = rest[1:]
	if rest != "" && rest[0] == '.' {
		rest = rest[1:]
	}
	return rest == "" || rest[0] == '/'
}

// The bytes that net/url writes as they are, always or if they were so written.
const (
	plainBytes    = 1
	reservedBytes = 2
)

var byteKinds = func() (kinds [256]uint8) {
	for c := range kinds {
		if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' {
			kinds[c] = plainBytes
		}
	}
	for _, c := range []byte("-_.~$&+,/:=@") { // not ';'
		kinds[c] = plainBytes
	}
	for _, c := range []byte("!'()*[]") {
		kinds[c] = reservedBytes
	}
	return kinds
}()

// isRead reports whether a path is on the list, provided that it is plain.
func isRead(path string) bool {
	first, rest, more := strings.Cut(path[1:], "/")
	switch first {
	case "restpp":
		return isRESTPPRead(rest)
	case "gsql":
		return isGSQLRead(rest)
	case "gsqlserver":
		switch rest {
		case "gsql/version", "gsql/schema", "gsql/queryinfo", "gsql/saml/meta":
			return true
		}
		return false
	case "api":
		return rest == "ping"
	case "informant":
		return rest == "metrics"
	case "ts3":
		return rest == "api/datapoints"
	case "studio", "admin", "insights", "graphql":
		return true
	case "assets":
		return more
	}
	return !more && (first == "" || isStatic(first))
}

// isRESTPPRead is isRead for what follows /restpp/.
func isRESTPPRead(path string) bool {
	first, rest, more := strings.Cut(path, "/")
	switch first {
	case "echo":
		return rest == ""
	case "version":
		return !more
	case "endpoints":
		return !more || isSegments(rest, 1, 1)
	case "statistics":
		return isSegments(rest, 1, 1)
	case "graph":
		graph, rest, _ := strings.Cut(rest, "/")
		kind, rest, _ := strings.Cut(rest, "/")
		switch {
		case graph == "":
			return false
		case kind == "vertices":
			return isSegments(rest, 1, 2) // type, id
		case kind == "edges":
			// Type and id; edge type, target type, target id, discriminator.
			return isSegments(rest, 2, 6)
		}
	}
	return false
}

// isGSQLRead is isRead for what follows /gsql/: the web shell and two interfaces.
func isGSQLRead(path string) bool {
	first, rest, more := strings.Cut(path, "/")
	switch first {
	case "v1":
		return isV1Read(rest)
	case "scim":
		first, id, more := strings.Cut(strings.TrimPrefix(rest, "v2/"), "/")
		return strings.HasPrefix(rest, "v2/") && (first == "Users" || first == "Groups") &&
			(!more || isSegments(id, 1, 1))
	case "":
		return !more
	}
	return isStatic(path)
}

// isV1Read is isRead for what follows /gsql/v1/.
func isV1Read(path string) bool {
	switch path {
	case "version", "saml/meta", "privileges", "roles", "users", "groups", "data-sources", "packages",
		"schema", "queries", "queries/info", "queries/signature", "loading-jobs", "loading-jobs/status":
		return true
	}
	first, rest, _ := strings.Cut(path, "/")
	second, rest, more := strings.Cut(rest, "/")
	switch first {
	case "schema":
		switch second {
		case "vertices", "edges", "indexes", "graphs", "jobs":
			return !more || isSegments(rest, 1, 1)
		}
	case "queries":
		return second == "install" && rest != "" && strings.Trim(rest, "0123456789") == ""
	case "loading-jobs":
		return second == "status" && isSegments(rest, 1, 1)
	case "statements":
		return !more && second != "" && strings.Trim(second, "0123456789.") == ""
	}
	return false
}

// isSegments reports whether a path consists of so many segments, none of them
// empty.
func isSegments(path string, least, most int) bool {
	if path == "" || path[len(path)-1] == '/' {
		return false
	}
	count := strings.Count(path, "/") + 1 // a plain path has no "//"
	return count >= least && count <= most && path[0] != '/'
}

// isStatic reports whether a file is one that the node's nginx serves from disk.
func isStatic(file string) bool {
	switch file[strings.LastIndexByte(file, '.')+1:] {
	case "js", "mjs", "css", "map", "html", "ico", "png", "svg", "jpg", "gif", "webp", "woff", "woff2", "ttf", "wasm":
		return strings.Contains(file, ".")
	}
	return false
}

// hasAction reports whether a query has "action=" in it, as it is or decoded, in
// any case: GSQL up to 3.x is told so what to do.
func hasAction(query string) bool {
	const action = "action="
	if query == "" {
		return false
	}
	if strings.Contains(query, action) {
		return true
	}
	matched := 0
	for i := 0; i < len(query); i++ {
		c := query[i]
		if c == '%' && i+2 < len(query) {
			if high, low := unhex(query[i+1]), unhex(query[i+2]); high < 16 && low < 16 {
				c = high<<4 | low
				i += 2
			}
		}
		if c >= 'A' && c <= 'Z' {
			c |= 0x20
		}
		if c != action[matched] {
			matched = 0
		}
		if c == action[matched] {
			matched++
		}
		if matched == len(action) {
			return true
		}
	}
	return false
}

// unhex returns the value of a hexadecimal digit, 16 for anything else.
func unhex(c byte) byte {
	switch {
	case c >= '0' && c <= '9':
		return c - '0'
	case c >= 'a' && c <= 'f':
		return c - 'a' + 10
	case c >= 'A' && c <= 'F':
		return c - 'A' + 10
	}
	return 16
}
