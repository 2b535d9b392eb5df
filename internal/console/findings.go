package console

import (
	"errors"
	"fmt"
	"net/http"
	"strings"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/health"
)

// Finding is what a probe of one service of one node found.
type Finding struct {
	Node    string `json:"node"`
	Service string `json:"service"`
	// Passed is false, too, where there is no way to find out; then Unknown is true.
	Passed    bool    `json:"passed"`
	Unknown   bool    `json:"unknown,omitempty"`
	LatencyMS float64 `json:"latency_ms"`
	Error     string  `json:"error,omitempty"`
	Advice    string  `json:"advice,omitempty"`
	// Came is how the answer began, where something else answered than was asked for.
	Came string `json:"came,omitempty"`
}

// Findings prints what a check found: a table, and for each failure what it is and
// what to do about it.
func (p *Printer) Findings(findings []Finding) {
	rows := [][]string{{"NODE", "SERVICE", p.paint("RESULT"), "TIME"}}
	for _, found := range findings {
		result := "ok"
		switch {
		case found.Unknown:
			result = "unknown"
		case !found.Passed:
			result = "FAILED"
		}
		rows = append(rows, []string{Printable(found.Node), found.Service, p.paint(result), fmt.Sprintf("%.1f ms", found.LatencyMS)})
	}
	p.table(rows)

	// A node that is off fails in all its services: it is said once.
	type failure struct{ node, text, came, advice string }
	services := make(map[failure][]string)
	var order []failure
	for _, found := range findings {
		if found.Passed {
			continue
		}
		f := failure{found.Node, found.Error, found.Came, found.Advice}
		if services[f] == nil {
			order = append(order, f)
		}
		services[f] = append(services[f], found.Service)
	}
	for _, f := range order {
		came := ""
		if f.came != "" {
			came = "the answer was: " + Printable(f.came)
		}
		p.paragraph(fmt.Sprintf("%s %s:", Printable(f.node), strings.Join(services[f], ", ")),
			Printable(f.text), Printable(hereBy.Replace(f.advice)), came)
	}
}

// hereBy adds to what the advice says of the transport by which flag it is tried here.
var hereBy = strings.NewReplacer(
	"(tls_trust_pool)", "(tls_trust_pool; here --cacert)",
	"(tls_server_name)", "(tls_server_name; here --server-name)",
	"(tls_client_auth)", "(tls_client_auth; here --cert and --key)",
)

// IsOdd reports whether something else answered than the service or, in its place,
// the nginx of a node.
func IsOdd(err error) bool {
	var status health.StatusError
	var page health.PageError
	switch {
	case errors.As(err, &status):
		return health.Gateway(int(status)) == nil
	case errors.As(err, &page), errors.Is(err, health.ErrBody), errors.Is(err, health.ErrTooLong):
		return true
	}
	return false
}

// Came says what an answer was, by its begin, and whether more came.
func Came(response *http.Response, begin string, more bool) string {
	text := "status " + response.Status
	if server := response.Header.Get("Server"); server != "" {
		text += " from " + server
	}
	if location := response.Header.Get("Location"); location != "" {
		text += ", which leads to " + location
	}
	if begin = strings.Join(strings.Fields(begin), " "); begin != "" {
		text += ": " + begin
		if more {
			text += "…"
		}
	}
	return text
}
