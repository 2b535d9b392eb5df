package tgnode

import (
	"bytes"
	"compress/gzip"
	"net/http"
	"strings"
	"sync"
)

// appPages are the web applications: any path below them is their index page.
var appPages = []string{"/studio", "/admin", "/insights", "/graphql", "/gsql"}

// isStatic tells whether nginx answers from its own disk.
func isStatic(path string) bool {
	if path == "/" || path == "/index.html" || path == "/favicon.ico" || strings.HasPrefix(path, "/assets/") {
		return true
	}
	for _, page := range appPages {
		if rest, ok := strings.CutPrefix(path, page); ok && (rest == "" || rest[0] == '/') {
			return true
		}
	}
	return false
}

const indexPage = `<!DOCTYPE html>
<html><head><title>TigerGraph</title></head><body><h1>TigerGraph</h1></body></html>
`

// script stands for GraphStudio's, which compress well.
var script = sync.OnceValue(func() []byte {
	line := []byte("export function vertex(id, attributes) { return { id, attributes }; }\n")
	return bytes.Repeat(line, 200_000/len(line)+1)[:200_000]
})

var compressedScript = sync.OnceValue(func() []byte {
	var b bytes.Buffer
	w := gzip.NewWriter(&b)
	_, _ = w.Write(script()) // a bytes.Buffer takes all
	_ = w.Close()
	return b.Bytes()
})

func (c *connection) serveStatic() {
	r := &c.request
	switch {
	case !isRead(r.method):
		c.nginxError(http.StatusMethodNotAllowed, "")
	case strings.HasPrefix(r.path, "/gsql/v1/") || strings.HasPrefix(r.path, "/gsql/scim/"):
		c.nginxError(http.StatusNotFound, "")
	case r.path == "/assets/main.js":
		c.serveScript()
	case strings.HasPrefix(r.path, "/assets/") || r.path == "/favicon.ico":
		c.nginxError(http.StatusNotFound, "")
	case r.path == "/" && c.options.Index != nil:
		c.respond(http.StatusOK, "text/html", c.options.Index)
	default:
		c.respond(http.StatusOK, "text/html", []byte(indexPage))
	}
}

// serveScript compresses, but as nginx does not for a request from a proxy
// that names itself in Via (gzip_proxied off).
func (c *connection) serveScript() {
	const contentType = "application/javascript"
	r := &c.request
	modified := Field{"Last-Modified", "Mon, 01 Jan 2024 00:00:00 GMT"}
	if r.header("Via") != "" || !strings.Contains(r.header("Accept-Encoding"), "gzip") {
		c.respond(http.StatusOK, contentType, script(), modified)
		return
	}
	c.startStream(http.StatusOK, contentType, modified, Field{"Content-Encoding", "gzip"})
	c.stream(compressedScript())
	c.endStream()
}
