package integration_test

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/tgnode"
)

func TestOneLineIsEnough(t *testing.T) {
	_, nodes := startCluster(t, 3)
	e := newEdge(t)
	e.load("tigergraph " + addresses(nodes))
	b := e.newBrowser(2)
	home := b.login()
	for _, node := range nodes {
		if node.Name() == home {
			node.Stop()
		}
	}
	// The first request may meet a connection that is just breaking.
	eventually(t, "another node answers, which knows nobody", func() bool {
		_, status := b.whoami()
		return status == http.StatusUnauthorized
	})
	moved := b.login()
	for range 10 {
		if node, status := b.whoami(); node != moved || status != http.StatusOK {
			t.Fatalf("the session of %s was sent to %q: %d", moved, node, status)
		}
	}
}

func TestEventsComeOneByOne(t *testing.T) {
	_, nodes := startCluster(t, 2)
	for _, node := range nodes {
		node.Update(func(o *tgnode.Options) { o.Streaming = true })
	}
	e := newEdge(t)
	e.loadTLS("encode gzip zstd\n" + cluster(nodes, "health_check off"))
	base := e.newBrowserTLS(2)
	for protocol, client := range fronts(e) {
		for _, path := range []string{"/api/__events", "/gsqlserver/__events", "/restpp/__events"} {
			ctx, cancel := context.WithTimeout(t.Context(), enough)
			defer cancel()
			// The second event would come in an hour.
			request, err := http.NewRequestWithContext(ctx, http.MethodGet, base.base+path+"?n=2&every=1h", nil)
			if err != nil {
				t.Fatal(err)
			}
			response, err := client.Do(request)
			if err != nil {
				t.Fatalf("%s %s: %v", protocol, path, err)
			}
			if line, err := bufio.NewReader(response.Body).ReadString('\n'); line != "data: 1\n" {
				t.Errorf("%s %s: %q, %v", protocol, path, line, err)
			}
			cancel()
			response.Body.Close()
		}
	}
}

func TestASilentQueryIsNotCut(t *testing.T) {
	_, nodes := startCluster(t, 2)
	e := newEdge(t)
	// Everything that has a time-out is at a fraction of the query's time.
	e.load(cluster(nodes, "health_check {\ninterval 50ms\ntimeout 100ms\n}\nlb_try_duration 1s\ntransport http {\ndial_timeout 1s\n}"))
	b := e.newBrowser(2)
	for _, mode := range []tgnode.Mode{tgnode.SlowHeader, tgnode.SlowBody} {
		for _, node := range nodes {
			node.SetFault(tgnode.RESTPP, tgnode.Fault{Mode: mode, Path: "/restpp/query", Delay: 3 * time.Second})
		}
		if a := b.get("/restpp/query/g/q"); a.StatusCode != http.StatusOK || len(a.body) == 0 {
			t.Errorf("mode %d: %d %s", mode, a.StatusCode, a.body)
		}
	}
}

func TestAClientThatLeavesEndsItsRequestAtTheNode(t *testing.T) {
	_, nodes := startCluster(t, 2)
	e := newEdge(t)
	e.load(cluster(nodes, "health_check off"))
	for _, node := range nodes {
		node.SetFault(tgnode.RESTPP, tgnode.Fault{Mode: tgnode.Hang})
	}
	for _, method := range []string{http.MethodGet, http.MethodPost} {
		ctx, leave := context.WithCancel(t.Context())
		request, err := http.NewRequestWithContext(ctx, method, "http://"+e.address+"/restpp/query/g/q", nil)
		if err != nil {
			t.Fatal(err)
		}
		arrived := func() int { return nodes[0].Count(tgnode.RESTPP) + nodes[1].Count(tgnode.RESTPP) }
		before := arrived()
		left := make(chan error)
		go func() {
			response, err := http.DefaultClient.Do(request)
			if err == nil {
				response.Body.Close()
			}
			left <- err
		}()
		open := func() int { return nodes[0].Connections() + nodes[1].Connections() }
		// A connection alone is not enough: one that was dialled for a client who has left
		// meanwhile is kept for the next.
		eventually(t, "the request is at a node", func() bool { return arrived() > before })
		leave()
		if err := <-left; err == nil {
			t.Error("a hung request was answered")
		}
		eventually(t, "the node sees that the client is gone", func() bool { return open() == 0 })
	}
}

func TestNodesWithTLSOfTheirOwn(t *testing.T) {
	config, _, err := tgnode.SelfSigned("node.example.com")
	if err != nil {
		t.Fatal(err)
	}
	authority, _ := writePEM(t, config.Certificates[0])
	nodes := tgnode.NewCluster()
	t.Cleanup(nodes.Close)
	var list []string
	for range 2 {
		node, err := nodes.Start(tgnode.Options{TLS: config})
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, "https://"+node.Addr())
	}
	load := func(transport string) *browser {
		e := newEdge(t)
		e.load("tigergraph " + strings.Join(list, " ") + " {\nhealth_check {\ninterval 50ms\n}\n" + transport + "\n}")
		return e.newBrowser(2)
	}
	trusted := "tls_trust_pool file " + authority + "\n"
	for name, transport := range map[string]string{
		"authority and name": trusted + "tls_server_name node.example.com",
		"no verification":    "tls_insecure_skip_verify",
	} {
		b := load("transport http {\n" + transport + "\n}")
		if a := b.get("/restpp/__echo"); a.StatusCode != http.StatusOK {
			t.Errorf("%s: %d %s", name, a.StatusCode, a.body)
		}
	}
	for name, transport := range map[string]string{
		"no authority": "",
		"another name": "transport http {\n" + trusted + "tls_server_name other.example.com\n}",
	} {
		b := load(transport)
		if a := b.get("/restpp/query/g/q"); a.StatusCode/100 != 5 {
			t.Errorf("%s: %d, want an error", name, a.StatusCode)
		}
	}
}

func TestClientsMayHaveNothingBetterThanTLS12(t *testing.T) {
	_, nodes := startCluster(t, 1)
	e := newEdge(t)
	e.loadTLS(cluster(nodes, ""))
	b := e.newBrowserTLS(2)
	b.http.Transport.(*http.Transport).TLSClientConfig = &tls.Config{InsecureSkipVerify: true, MaxVersion: tls.VersionTLS12}
	if a := b.get("/api/ping"); a.StatusCode != http.StatusOK || a.TLS.Version != tls.VersionTLS12 {
		t.Errorf("%d, TLS version %x", a.StatusCode, a.TLS.Version)
	}
}

func TestASingleSignOnReturnsToItsNode(t *testing.T) {
	_, nodes := startCluster(t, 3)
	e := newEdge(t)
	e.loadTLS(cluster(nodes, ""))
	for host := byte(2); host < 12; host++ {
		b := e.newBrowserTLS(host)
		begun := b.get("/api/auth/saml/login")
		location, err := url.Parse(begun.Header.Get("Location"))
		if err != nil || begun.StatusCode != http.StatusFound {
			t.Fatalf("%d %v", begun.StatusCode, begun.Header)
		}
		for _, cookie := range begun.Cookies() {
			// Else browsers would not send it with the POST of another site.
			if cookie.SameSite != http.SameSiteNoneMode || !cookie.Secure {
				t.Errorf("our cookie: %s", cookie.Raw)
			}
		}
		// The browser may have changed its network meanwhile.
		returned := e.newBrowserTLS(host + 100)
		returned.http.Jar = b.http.Jar
		form := url.Values{"SAMLResponse": {location.Query().Get("SAMLRequest")}, "NameID": {"user"}}
		a := returned.do(http.MethodPost, "/api/auth/saml/acs", []byte(form.Encode()),
			"Content-Type", "application/x-www-form-urlencoded", "Origin", "https://idp.example")
		if a.StatusCode != http.StatusFound || a.Header.Get("Location") != "/studio/" {
			t.Errorf("the assertion was answered with %d %s", a.StatusCode, a.body)
		}
	}
}

func TestNodesLearnTheClientsAddressAndNothingFalse(t *testing.T) {
	_, nodes := startCluster(t, 1)
	e := newEdge(t)
	lies := []string{
		"X-Forwarded-For", "203.0.113.9", "X-Real-IP", "203.0.113.8", "X-Real-IP", "203.0.113.7", "X-Forwarded-Proto", "https",
		"X-Forwarded-Host", "evil.example", "Via", "1.1 before",
	}
	check := func(how string, fields []string, want map[string]string) {
		t.Helper()
		for _, path := range []string{"/restpp/__echo", "/api/__echo", "/gsqlserver/__echo"} {
			echo := e.newBrowser(7).get(path, fields...).echo(t)
			for name, value := range want {
				if got := received(echo, name); !slices.Equal(got, []string{value}) {
					t.Errorf("%s: %s: %s: %q, want %q", how, path, name, got, value)
				}
			}
			if via := received(echo, "Via"); len(via) > 0 {
				t.Errorf("%s: Via: %q", how, via)
			}
			if encoding := received(echo, "Accept-Encoding"); !slices.Equal(encoding, []string{"br"}) {
				t.Errorf("%s: Accept-Encoding: %q, want what the client sent", how, encoding)
			}
		}
	}
	lies = append(lies, "Accept-Encoding", "br")
	e.load(cluster(nodes, ""))
	check("no proxy in front", lies, map[string]string{
		"X-Forwarded-For": "127.0.0.7", "X-Real-IP": "127.0.0.7", "X-Forwarded-Proto": "http", "X-Forwarded-Host": e.address,
	})
	e = newEdge(t)
	e.behindProxy(cluster(nodes, ""))
	check("a trusted proxy in front", lies, map[string]string{
		"X-Forwarded-For": "203.0.113.9, 127.0.0.7", "X-Real-IP": "203.0.113.9", "X-Forwarded-Proto": "https", "X-Forwarded-Host": "evil.example",
	})
}

func TestTheNodesOwnLimitsAreItsOwnAnswers(t *testing.T) {
	_, nodes := startCluster(t, 2)
	for _, node := range nodes {
		node.Update(func(o *tgnode.Options) { o.MaxBody = 1000 })
	}
	e := newEdge(t)
	e.load(cluster(nodes, ""))
	b := e.newBrowser(2)
	a := b.do(http.MethodPost, "/restpp/ddl/g", bytes.Repeat([]byte("1,2,3\n"), 500))
	if a.StatusCode != http.StatusRequestEntityTooLarge || !bytes.Contains(a.body, []byte("nginx")) {
		t.Errorf("%d %s", a.StatusCode, a.body)
	}
	for _, status := range []int{400, 401, 403, 404, 408, 413, 422, 429, 500, 503} {
		for _, node := range nodes {
			node.SetFault(tgnode.RESTPP, tgnode.StatusFault(status))
		}
		if a := b.get("/restpp/query/g/q"); a.StatusCode != status || a.Header.Get("Retry-After") != "" {
			t.Errorf("%d became %d %v", status, a.StatusCode, a.Header)
		}
	}
}

func TestSmuggledRequestsReachNoNode(t *testing.T) {
	_, nodes := startCluster(t, 1)
	e := newEdge(t)
	e.load(cluster(nodes, "health_check off"))
	const smuggled = "GET /gsql/v1/drop-all HTTP/1.1\r\nHost: h\r\n\r\n"
	for name, head := range map[string]string{
		"two lengths":                "Content-Length: 0\r\nContent-Length: 44\r\n",
		"two lengths in one":         "Content-Length: 0, 44\r\n",
		"a signed length":            "Content-Length: +44\r\n",
		"a space before the colon":   "Transfer-Encoding : chunked\r\nContent-Length: 44\r\n",
		"an unknown encoding":        "Transfer-Encoding: xchunked\r\nContent-Length: 44\r\n",
		"two encodings":              "Transfer-Encoding: chunked, identity\r\nContent-Length: 44\r\n",
		"an encoding twice":          "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
		"a length that goes on":      "Content-Length: 4\r\n 4\r\n",
		"an encoding on a next line": "Transfer-Encoding:\r\n xchunked\r\nContent-Length: 44\r\n",
		"a null in a value":          "X: a\x00b\r\nContent-Length: 44\r\n",
		"a bare carriage return":     "X: a\rTransfer-Encoding: chunked\r\nContent-Length: 44\r\n",
		"a chunk of impossible size": "Transfer-Encoding: chunked\r\n\r\nfffffffffffffffff\r\n",
	} {
		got := e.raw("POST /restpp/graph/g HTTP/1.1\r\nHost: "+e.address+"\r\n"+head+"\r\n"+smuggled, "\r\n\r\n")
		if status := strings.Fields(got + " none none"); !strings.HasPrefix(status[1], "4") && !strings.HasPrefix(status[1], "5") {
			t.Errorf("%s: %q", name, got)
		}
	}
	// A line may end in a bare line feed, or go on in the next: what is passed on is
	// what was understood.
	bare := e.raw("POST /restpp/graph/g HTTP/1.1\nHost: "+e.address+"\nContent-Length: 4\nX-Folded: a\n b\nConnection: close\n\nbody", "")
	if !strings.HasPrefix(bare, "HTTP/1.1 200") && !strings.HasPrefix(bare, "HTTP/1.1 4") {
		t.Errorf("bare line feeds: %q", bare)
	}
	// With a length and chunks the chunks count, and the length goes no further.
	e.raw("POST /restpp/graph/g HTTP/1.1\r\nHost: "+e.address+"\r\nConnection: close\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n"+
		fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", len(smuggled), smuggled), "")
	for _, r := range nodes[0].Requests() {
		if r.Method != http.MethodPost {
			t.Errorf("%s %s arrived", r.Method, r.Target)
		}
		if len(r.Values("Transfer-Encoding"))+len(r.Values("Content-Length")) > 1 {
			t.Errorf("framed twice: %v", r.Fields)
		}
	}
}

func TestGSQLOutputArrivesAsItIsWritten(t *testing.T) {
	_, nodes := startCluster(t, 1)
	e := newEdge(t)
	e.load(cluster(nodes, ""))
	written, arrived := make(chan string, 10), 0
	gsql := &tgnode.GSQLClient{Address: e.address, User: "tigergraph", OnLine: func(line string) {
		if strings.HasPrefix(line, "progress") {
			written <- line
		}
	}}
	if err := gsql.Login(t.Context()); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() {
		_, err := gsql.Command(t.Context(), "lines 3 1s progress")
		ended <- err
	}()
	for range 2 { // the node is still to write the third
		select {
		case <-written:
			arrived++
		case err := <-ended:
			t.Fatalf("the command ended, with the error %v, and %d lines had arrived", err, arrived)
		case <-time.After(enough):
			t.Fatal("nothing arrives")
		}
	}
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// TigerGraph's documentation of single sign-on warns of large headers.
func TestLargeHeadersPassBothWays(t *testing.T) {
	_, nodes := startCluster(t, 1)
	e := newEdge(t)
	e.load(cluster(nodes, "health_check off"))
	b := e.newBrowser(2)
	large := strings.Repeat("x", 60<<10)
	nodes[0].SetFault(tgnode.GUI, tgnode.Fault{Mode: tgnode.Answer, Status: 302, Fields: []tgnode.Field{
		{Name: "Location", Value: "/studio/?" + large}, {Name: "Set-Cookie", Value: "TigerGraphApp=" + large[:4000]},
	}})
	if a := b.get("/api/auth/saml/login"); a.StatusCode != http.StatusFound || len(a.Header.Get("Location")) != len("/studio/?")+len(large) {
		t.Errorf("%d with a Location of %d bytes", a.StatusCode, len(a.Header.Get("Location")))
	}
	nodes[0].ClearFaults()
	target := "/restpp/__echo?" + large[:8000]
	if echo := b.get(target).echo(t); echo.Target != target {
		t.Errorf("a URL of %d bytes arrived as one of %d", len(target), len(echo.Target))
	}
	if a, err := b.try("GET", "/restpp/__echo", nil, "X-Flood", strings.Repeat("x", 2<<20)); err == nil && a.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
		t.Errorf("a flood of headers: %d", a.StatusCode)
	}
	if a := b.get("/restpp/echo"); a.StatusCode != http.StatusOK {
		t.Errorf("after the flood: %d", a.StatusCode)
	}
}

func TestManyClientsReuseTheirConnections(t *testing.T) {
	_, nodes := startCluster(t, 1)
	e := newEdge(t)
	e.load(cluster(nodes, "health_check off"))
	b := e.newBrowser(2)
	for range 6 {
		holdConnections(b, 100)
	}
	// That are a hundred without a body at a time and as many with one.
	if accepted := nodes[0].Accepted(); accepted > 400 {
		t.Errorf("%d connections for two hundred requests at a time", accepted)
	}
}
