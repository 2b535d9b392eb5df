package tgnode

import (
	"net/http"
	"strings"
)

// route finds the service for the path as nginx's locations do.
func (c *connection) route() {
	r := &c.request
	r.backend = c.node
	path := r.path
	switch {
	case strings.HasPrefix(path, "/restpp/"):
		r.service = RESTPP
	case strings.HasPrefix(path, "/gsqlserver/"):
		r.service = GSQL
	case (strings.HasPrefix(path, "/gsql/v1/") || strings.HasPrefix(path, "/gsql/scim/v2/")) && !c.options.NoGSQLRoutes:
		r.service = GSQL
	case strings.HasPrefix(path, "/informant/"):
		r.service = Informant
	case isStatic(path):
		r.service = Static
	default:
		r.service = GUI
		if from := c.options.GUIFrom; from != nil {
			r.backend = from
		}
	}
}

// answer passes the request on to its service.
func (c *connection) answer(fault *Fault) {
	r := &c.request
	if r.service != Static && !c.reachable() {
		c.nginxError(http.StatusBadGateway, "")
		return
	}
	if r.service == GSQL {
		r.path = strings.TrimPrefix(r.path, "/gsqlserver")
	}
	r.kind = kindOf(r.service, r.method, r.path, r.query)
	if r.service == GUI {
		if r.authorized = c.authorizeGUI(); !r.authorized {
			r.kind = Read // it will be told so, and nothing is done
		}
	}
	c.journal(Read)
	if fault != nil {
		if fault.executes() {
			c.execute()
		}
		if c.fail(fault) {
			return
		}
	}
	if strings.HasSuffix(r.path, "/__echo") && c.echo() {
		return
	}
	if strings.HasSuffix(r.path, "/__events") {
		c.events()
		return
	}
	switch r.service {
	case All: // is no service that a path leads to
	case Static:
		c.serveStatic()
	case GUI:
		c.serveGUI()
	case GSQL:
		c.serveGSQL()
	case RESTPP:
		c.serveRESTPP()
	case Informant:
		c.serveInformant()
	}
}

// reachable tells whether nginx finds a living service.
func (c *connection) reachable() bool {
	r := &c.request
	if r.backend != c.node {
		return r.backend.serves(r.service)
	}
	return c.node.hosts(r.service)
}
