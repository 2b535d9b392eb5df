package tgnode

import (
	"fmt"
	"net/http"
	"strings"
)

// serveInformant reports on the whole cluster, whichever node is asked.
func (c *connection) serveInformant() {
	const online, down = 6, 27
	var metrics, events strings.Builder
	metrics.WriteString("# TYPE tigergraph_service_status gauge\n")
	for _, n := range c.node.cluster.Nodes() {
		for s := GUI; s <= RESTPP; s++ {
			status, word := online, "Online"
			if !n.serves(s) {
				status, word = down, "Down"
			}
			name := strings.ToUpper(s.String())
			fmt.Fprintf(&metrics, "tigergraph_service_status{host_id=%q,service_name=%q} %d\n", n.name, name, status)
			fmt.Fprintf(&events, `,{"ServiceDescriptor":{"ServiceName":"%s","Replica":%d,"Partition":0},"ServiceStatus":"%s","ProcessState":"Running"}`,
				name, n.number, word)
		}
	}
	switch c.request.path {
	case "/informant/metrics":
		c.respond(http.StatusOK, "application/openmetrics-text; version=1.0.0; charset=utf-8", []byte(metrics.String()+"# EOF\n"))
	case "/informant/current-service-status":
		c.respondJSON(http.StatusOK, `{"ServiceStatusEvents":[`+strings.TrimPrefix(events.String(), ",")+`]}`)
	default:
		c.respondJSON(http.StatusNotFound, `{"error":"not found"}`)
	}
}
