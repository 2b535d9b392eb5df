package health

import (
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/service"
)

// page is one of nginx's own pages.
func page(title, line string) string {
	return "<html>\r\n<head><title>" + title + "</title></head>\r\n<body>\r\n<center><h1>" + title + "</h1></center>\r\n" +
		line + "<hr><center>nginx/1.22.1</center>\r\n</body>\r\n</html>\r\n"
}

func TestAnErrorPageOfNginxProvesNothing(t *testing.T) {
	const html, json, plain = "text/html", "application/json", "text/plain"
	for _, test := range []struct {
		name         string
		status       int
		server, kind string
		body         string
		passes       bool
		advice       string // for RESTPP
	}{
		{"the service's 401", 401, "nginx", json, `{"error":true}`, true, ""},
		{"the service's 403", 403, "nginx", json, `{"error":true,"message":"Access Denied"}`, true, ""},
		{"the service's 404", 404, "nginx", json, `{"error":true}`, true, ""},
		{"the service's 404 as a page", 404, "nginx", html, "<html><title>Error 404</title>Powered by Jetty</html>", true, ""},
		{"the service's 500", 500, "nginx", json, `{"error":true}`, true, ""},
		{"the service's 503", 503, "nginx", json, `{"error":true}`, true, ""},
		{"the service speaks of certificates", 403, "", json, `{"message":"client certificate of the data source"}`, true, ""},
		{"a page that is no error", 200, "nginx", html, page("hello", ""), true, ""},
		{"502", 502, "nginx", html, page("502 Bad Gateway", ""), false, "gadmin restart restpp"},
		{"504", 504, "nginx", html, page("504 Gateway Time-out", ""), false, "gadmin restart restpp"},
		{"plain HTTP to TLS", 400, "nginx", html, page("400 Bad Request", "<center>The plain HTTP request was sent to HTTPS port</center>\r\n"), false, "write https://"},
		{"no certificate", 400, "nginx", html, page("400 Bad Request", "<center>No required SSL certificate was sent</center>\r\n"), false, "tls_client_auth"},
		{"bad certificate", 400, "nginx/1.26", html, page("400 Bad Request", "<center>The SSL certificate error</center>\r\n"), false, "tls_client_auth"},
		{"a line about the certificate", 403, "nginx", plain, "Client certificate verification failed", false, "tls_client_auth"},
		{"forbidden address", 403, "nginx", html, page("403 Forbidden", ""), false, "refuses the request"},
		{"no route", 404, "nginx", html, page("404 Not Found", ""), false, "in health_check, set the path of a request that it hands on by a line 'restpp <path>'"},
		{"without the field Server", 404, "", html, page("404 Not Found", ""), false, "no such route"},
		{"busy", 503, "nginx", html, page("503 Service Temporarily Unavailable", ""), false, "refuses the request"},
	} {
		header := http.Header{"Content-Type": {test.kind}}
		if test.server != "" {
			header.Set("Server", test.server)
		}
		err := Judge(service.RESTPP, test.status, header, []byte(test.body))
		if (err == nil) != test.passes {
			t.Errorf("%s: %v", test.name, err)
		}
		if advice := Advice("restpp", err); !strings.Contains(advice, test.advice) {
			t.Errorf("%s: the advice is %q, want it to contain %q", test.name, advice, test.advice)
		}
		if err != nil && strings.Contains(err.Error(), "<") {
			t.Errorf("%s: the error shows what the node sent: %v", test.name, err)
		}
		gsql := Judge(service.GSQL, test.status, header, []byte(test.body))
		if missing := strings.Contains(test.advice, "route") || strings.Contains(test.advice, "<path>"); errors.Is(gsql, ErrNoRoute) != missing {
			t.Errorf("%s: for gsql it is %v", test.name, gsql)
		}
		if gui := Judge(service.GUI, test.status, header, []byte(test.body)); gui == nil {
			t.Errorf("%s: passes for the GUI", test.name)
		}
	}
}

func TestAGUIThatIsNotWellIsNotCalledSomethingElse(t *testing.T) {
	for _, status := range []int{500, 503} {
		err := Judge(service.GUI, status, http.Header{"Server": {"nginx"}}, []byte(`{"error":true}`))
		if advice := Advice("gui", err); strings.Contains(advice, "something else") || !strings.Contains(advice, "gadmin status gui") {
			t.Errorf("%d: %q", status, advice)
		}
	}
}
