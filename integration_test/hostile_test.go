package integration_test

import (
	"bufio"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"
)

// hostileSeed makes the random attacks the same in each run.
const hostileSeed = 20260701

// hostileCookies and the others are what an attacker might try; to these come
// random ones.
var (
	hostileCookies = []string{
		"TigerGraphNode", "TigerGraphNode=", "TigerGraphNode==", "=TigerGraphNode", ";", ";;;;", "TigerGraphNode=;TigerGraphNode=",
		`TigerGraphNode="`, `TigerGraphNode=""`, `TigerGraphNode="unclosed`, "TigerGraphNode=../../etc/passwd", "TigerGraphNode=%00%0d%0a",
		"TigerGraphNode=127.0.0.1:2019", "TigerGraphNode={env.HOME}", "TigerGraphNode={http.tigergraph.node}", "TigerGraphNode=' OR 1=1 --",
		"TigerGraphNode=\x80\xff", "TigerGraphNode=\t", "tigergraphnode=x", "TigerGraphNode[]=x", "TigerGraphNode =x", `{"TigerGraphNode=":"x;y"}`,
		"$Version=1; TigerGraphNode=x; $Path=/", strings.Repeat("TigerGraphNode=x;", 2000), "TigerGraphNode=" + strings.Repeat("A", 60_000),
		strings.Repeat("TigerGraphNode=AAAAAAAAAAAAAAAAAAAAAA; ", 200) + "TigerGraphApp=x", "TigerGraphNode=a; TigerGraphNode_dr=b; TigerGraphNode=" + strings.Repeat("B", 20_000),
		strings.Repeat(";", 50_000), strings.Repeat("a=b; ", 5000) + "TigerGraphNode=x",
	}
	hostilePaths = []string{
		"/", "//", "///", "/.", "/..", "/../../../etc/passwd", "/%2e%2e/%2e%2e/restpp", "/%", "/%zz", "/%00", "/%0d%0aSet-Cookie:%20a=b", "/restpp%2f..%2fgsqlserver",
		"/gsqlserver/../restpp/./echo", "/\\..\\restpp", "/;jsessionid=1", "/?", "/??&&==", "/#", "/api/__echo;TigerGraphNode=x", "*", "http://127.0.0.1:2019/config/",
		"//127.0.0.1:2019/config/", "/{http.tigergraph.node}", "/" + strings.Repeat("a/../", 3000), "/" + strings.Repeat("%2f", 3000), "/\x80\xff", "/restpp/\xe2\x80\xae",
	}
	hostileFields = []string{
		"X-Forwarded-For: 999.999.999.999", "X-Forwarded-For: , , ,", "X-Forwarded-For: ::ffff:1.2.3.4, [::1]:80, unknown", "X-Forwarded-For: " + strings.Repeat("1.2.3.4,", 5000),
		"X-Forwarded-Proto: https", "X-Forwarded-Proto: javascript", "X-Forwarded-Host: evil.example", "X-User: " + strings.Repeat("u", 50_000), "X-User: \x80\xff",
		"X-User:", "Forwarded: for=\"[::1]\"", "Connection: Cookie", "Connection: X-User, TigerGraphNode", "Upgrade: h2c", "Expect: 100-continue", "X-HTTP-Method-Override: DELETE",
		"Transfer-Encoding: identity", "Content-Length: 0", "Range: bytes=0-,0-,0-", "If-None-Match: *", "TE: trailers", "Trailer: Set-Cookie", "GSQL-ASYNC: true",
		"GSQL-Cookie: {\"a\":\"TigerGraphNode=x\"}", "Host: evil.example", "Accept-Encoding: gzip, zstd, br;q=nan",
	}
)

// answersOfHTTP are errors that a server owes to a malformed request.
var answersOfHTTP = map[int]bool{http.StatusNotImplemented: true, http.StatusHTTPVersionNotSupported: true}

// hostile returns one attack as it goes over the wire.
func hostile(random *rand.Rand, cookie, path, field string) string {
	method := []string{"GET", "GET", "HEAD", "POST", "OPTIONS", "DELETE", "TRACE", "PROPFIND"}[random.IntN(8)]
	return method + " " + path + " HTTP/1.1\r\nHost: graph.example.com\r\nCookie: " + cookie + "\r\n" + field + "\r\n\r\n"
}

// randomBytes returns up to so many bytes, biased to those that matter.
func randomBytes(random *rand.Rand, most int, forbidden string) string {
	const telling = "=;,\"'\\/%.:{}[]()<> TigerGraphNode\t\x00\x7f\x80\xff"
	var b strings.Builder
	for range random.IntN(most) {
		c := byte(random.IntN(256))
		if random.IntN(2) == 0 {
			c = telling[random.IntN(len(telling))]
		}
		if !strings.ContainsRune(forbidden, rune(c)) {
			b.WriteByte(c)
		}
	}
	return b.String()
}

// send sends raw bytes and returns the status of the answer, 0 for a connection
// that was closed without one, and the answer's Set-Cookie lines.
func send(t *testing.T, address, raw string) (status int, set []string) {
	t.Helper()
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatalf("the edge is gone: %v", err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(enough)); err != nil {
		t.Fatal(err)
	}
	_, _ = io.WriteString(conn, raw) // it may be cut off, with an answer or without
	method, _, _ := strings.Cut(raw, " ")
	response, err := http.ReadResponse(bufio.NewReader(conn), &http.Request{Method: method})
	if err != nil {
		if errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("no answer to %.300q", raw)
		}
		return 0, nil
	}
	defer response.Body.Close()
	return response.StatusCode, response.Header["Set-Cookie"]
}

func TestHostileRequestsDoNoHarm(t *testing.T) {
	_, nodes := startCluster(t, 3)
	for _, policy := range []string{"tigergraph", "tigergraph client_ip", "tigergraph header X-User", "tigergraph none"} {
		t.Run(policy, func(t *testing.T) {
			e := newEdge(t)
			e.trustLoopback()
			_, port, _ := net.SplitHostPort(e.address)
			if err := e.tryLoad("http://:"+port, proxyTo(nodes, policy, "lb_retries 2")); err != nil { // whatever they call it
				t.Fatal(err)
			}
			victim := e.newBrowser(2)
			home := ""
			if policy != "tigergraph none" {
				home = victim.login()
			}
			random := rand.New(rand.NewPCG(hostileSeed, 1))

			var attacks []string
			for _, cookie := range hostileCookies {
				attacks = append(attacks, hostile(random, cookie, "/api/ping", "X-User: u"))
			}
			for _, path := range hostilePaths {
				attacks = append(attacks, hostile(random, "TigerGraphNode=x", path, "X-User: u"))
			}
			for _, field := range hostileFields {
				attacks = append(attacks, hostile(random, "TigerGraphNode=x", "/api/ping", field))
			}
			for range 300 {
				cookie, path, field := "TigerGraphNode="+randomBytes(random, 40, "\r\n"), "/"+randomBytes(random, 40, "\r\n "), "X-User: "+randomBytes(random, 40, "\r\n")
				attacks = append(attacks, hostile(random, cookie, path, field))
			}
			for range 100 {
				// As long as the preface of HTTP/2, which the server waits for.
				noise := randomBytes(random, 200, "") + strings.Repeat("\r\n", 12)
				attacks = append(attacks, noise, "GET / HTTP/1.1\r\n"+randomBytes(random, 200, "")+"\r\n\r\n")
			}
			statuses := make(map[int]int)
			for _, raw := range attacks {
				status, set := send(t, e.address, raw)
				statuses[status]++
				if status >= 500 && !answersOfHTTP[status] {
					t.Errorf("%d for %.300q", status, raw)
				}
				ours := 0
				for _, line := range set {
					// One without a value ends another variant of the cookie.
					if strings.HasPrefix(line, "TigerGraphNode=") && !strings.HasPrefix(line, "TigerGraphNode=;") {
						ours++
					}
				}
				if length := len(strings.Join(set, "\n")); length > 4<<10 {
					t.Errorf("%d bytes of cookies for %.300q", length, raw)
				}
				if ours > 1 || ours > 0 && policy != "tigergraph" || strings.Contains(strings.Join(set, " "), "TigerGraphNode=x;") {
					t.Errorf("set %q for %.300q", set, raw)
				}
			}
			if statuses[http.StatusOK] == 0 || statuses[http.StatusBadRequest] == 0 {
				t.Errorf("the attacks reached nothing: %v", statuses)
			}
			reached := 0
			for _, node := range nodes {
				reached += len(node.Requests())
				for _, request := range node.Requests() {
					for _, line := range request.Values("Cookie") {
						for pair := range strings.SplitSeq(line, ";") {
							if policy == "tigergraph" && strings.HasPrefix(strings.Trim(pair, " \t"), "TigerGraphNode=") {
								t.Errorf("a node saw %.300q", line)
							}
						}
					}
				}
				node.ResetRequests()
			}
			if reached < 50 {
				t.Errorf("%d of %d attacks reached a node", reached, len(attacks))
			}
			if panics := e.logs("panic"); len(panics) > 0 {
				t.Errorf("%d panics, the first: %s", len(panics), panics[0])
			}
			if home != "" {
				if node, status := victim.whoami(); node != home || status != http.StatusOK {
					t.Errorf("the session of %s was sent to %q: %d", home, node, status)
				}
			}
			if a := e.newBrowser(3).get("/api/ping"); a.StatusCode != http.StatusOK {
				t.Errorf("afterwards: %d", a.StatusCode)
			}
		})
	}
}

func TestNobodyGuessesACookie(t *testing.T) {
	_, nodes := startCluster(t, 3)
	e := newEdge(t)
	e.load(proxyTo(nodes, "tigergraph"))
	b := e.newBrowser(2)
	home := b.pinnedTo()
	genuine := b.ourCookie()
	// Of a client whose home is elsewhere, each variation is a missing cookie.
	var stranger *browser
	for host := byte(3); stranger == nil; host++ {
		if candidate := e.newBrowser(host); candidate.pinnedTo() != home {
			stranger = candidate
		}
	}
	for i := range genuine {
		for _, c := range []byte("A_") {
			value := genuine[:i] + string(c) + genuine[i+1:]
			if value == genuine {
				continue
			}
			stranger.forget()
			a := stranger.get("/api/__echo", "Cookie", "TigerGraphNode="+value)
			if _, times := a.cookie("TigerGraphNode"); a.served(t) == home || times != 1 {
				t.Fatalf("%s, varied from %s, led to its node; the cookie was set %d times", value, genuine, times)
			}
		}
	}
}
