package integration_test

import (
	"context"
	"net/http"
	"net/http/httptrace"
	"net/textproto"
	"strings"
	"sync"
	"testing"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/tgnode"
)

// informing is an answer of a node that says something before it.
const informing = "HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\nSet-Cookie: TigerGraphNode=forged\r\nSet-Cookie: other=1\r\n\r\n" +
	"HTTP/1.1 103 Early Hints\r\nLink: </b.css>\r\n\r\n"

// withHeader is a site that sets fields of its own, one of them when the answer goes
// out.
const withHeader = "header X-Site yes\nheader {\nX-Late yes\ndefer\n}\n"

func TestInformationalResponsesAreTheNodesAlone(t *testing.T) {
	_, nodes := startCluster(t, 1)
	e := newEdge(t)
	e.load(withHeader + cluster(nodes, "health_check off"))
	const final = "HTTP/1.1 200 OK\r\nSet-Cookie: TigerGraphNode=forged\r\nContent-Length: 2\r\n\r\nok"
	for name, test := range map[string]struct{ before, expect string }{
		"103":      {informing, ""},
		"100":      {"HTTP/1.1 100 Continue\r\nTigerGraphNode: x\r\nSet-Cookie: TigerGraphNode=forged\r\n\r\n", "Expect: 100-continue\r\n"},
		"103, 100": {informing + "HTTP/1.1 100 Continue\r\n\r\n", "Expect: 100-continue\r\n"},
	} {
		t.Run(name, func(t *testing.T) {
			nodes[0].SetFault(tgnode.All, tgnode.Fault{Mode: tgnode.Raw, Body: test.before + final})
			var got string
			// The stand-in closes with the body unread, and its answer may get lost.
			eventually(t, "the answer arrives", func() bool {
				got = e.raw("POST /api/auth/login HTTP/1.1\r\nHost: "+e.address+"\r\nContent-Length: 1\r\nConnection: close\r\n"+test.expect+"\r\nx", "")
				return !strings.Contains(got, "502 Bad Gateway")
			})
			parts := strings.Split(got, "\r\n\r\n")
			last := len(parts) - 2 // the body is behind it
			if last < 1 || !strings.HasPrefix(parts[last], "HTTP/1.1 200 OK\r\n") {
				t.Fatalf("%q", got)
			}
			informational := strings.Join(parts[:last], "\r\n\r\n")
			for _, field := range []string{"X-Site", "X-Late", "Set-Cookie: TigerGraphNode", "Server", "Via"} {
				if strings.Contains(informational, field) {
					t.Errorf("%s is in %q", field, informational)
				}
			}
			if strings.Contains(test.before, "103") {
				if strings.Count(informational, "103 Early Hints") != 2 || !strings.Contains(informational, "Set-Cookie: other=1") ||
					strings.Count(informational, "Link: </a.css>") != 1 || strings.Count(informational, "Link: </b.css>") != 1 {
					t.Errorf("the node's words are lost: %q", informational)
				}
			}
			for _, field := range []string{"X-Site: yes", "X-Late: yes", "Set-Cookie: TigerGraphNode="} {
				if strings.Count(parts[last], field) != 1 {
					t.Errorf("%s is not there once: %q", field, parts[last])
				}
			}
			if strings.Contains(got, "forged") || strings.Contains(parts[last], "Link") {
				t.Errorf("too much: %q", got)
			}
		})
	}
}

func TestEarlyHintsOverHTTP2(t *testing.T) {
	_, nodes := startCluster(t, 1)
	nodes[0].SetFault(tgnode.All, tgnode.Fault{Mode: tgnode.Raw, Body: informing + "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"})
	e := newEdge(t)
	e.loadTLS(withHeader + cluster(nodes, "health_check off"))
	b := e.newBrowserTLS(2)
	var mu sync.Mutex
	var hints []http.Header
	ctx := httptrace.WithClientTrace(t.Context(), &httptrace.ClientTrace{Got1xxResponse: func(_ int, header textproto.MIMEHeader) error {
		mu.Lock()
		defer mu.Unlock()
		hints = append(hints, http.Header(header))
		return nil
	}})
	response := getWith(ctx, t, b, "/studio/")
	mu.Lock()
	defer mu.Unlock()
	if len(hints) != 2 || hints[0].Get("Link") != "</a.css>" || hints[1].Get("Link") != "</b.css>" || hints[0].Get("Set-Cookie") != "other=1; Secure" {
		t.Errorf("%v", hints)
	}
	for _, header := range hints {
		if header.Get("X-Site")+header.Get("X-Late") != "" {
			t.Errorf("the site's fields are in %v", header)
		}
	}
	if response.ProtoMajor != 2 || response.Header.Get("X-Site") != "yes" || response.Header.Get("X-Late") != "yes" ||
		len(response.Cookies()) != 1 || response.Cookies()[0].Name != "TigerGraphNode" || response.Header.Get("Link") != "" {
		t.Errorf("%s %v", response.Proto, response.Header)
	}
}

// getWith sends a request in a context.
func getWith(ctx context.Context, t *testing.T, b *browser, path string) *http.Response {
	t.Helper()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, b.base+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := b.http.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	return response
}

// An error page has the site's fields, too, where the node broke off after its hints.
func TestAnErrorAfterEarlyHintsKeepsTheSitesFields(t *testing.T) {
	_, nodes := startCluster(t, 1)
	nodes[0].SetFault(tgnode.All, tgnode.Fault{Mode: tgnode.Raw, Body: informing})
	e := newEdge(t)
	e.load(withHeader + cluster(nodes, "health_check off") + "\nhandle_errors {\nrespond sorry {err.status_code}\n}")
	a := e.newBrowser(2).do(http.MethodPost, "/api/auth/login", []byte("x"))
	if a.StatusCode != http.StatusBadGateway || a.Header.Get("X-Site") != "yes" || a.Header.Get("Link") != "" || len(a.Cookies()) != 0 {
		t.Errorf("%d %v", a.StatusCode, a.Header)
	}
}
