package integration_test

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"sync"
	"sync/atomic"
	"testing"
)

// What could not be encrypted for a node never left the edge.
func TestWhatANodeDidNotAgreeToEncryptGoesToAnotherNode(t *testing.T) {
	for _, versions := range []string{"1.1", "1.1 2"} {
		t.Run(versions, func(t *testing.T) { testNodesThatRefuseToEncrypt(t, versions) })
	}
}

func testNodesThatRefuseToEncrypt(t *testing.T, versions string) {
	var mu sync.Mutex
	arrived := make(map[string]int64)
	var sick [2]atomic.Bool
	var refused atomic.Int64
	var nodes [2]*httptest.Server
	for i := range nodes {
		nodes[i] = httptest.NewUnstartedServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			size, err := io.Copy(io.Discard, r.Body)
			if err != nil {
				t.Errorf("%s: %v", r.RequestURI, err)
			}
			mu.Lock()
			defer mu.Unlock()
			arrived[r.Method+r.RequestURI] += 1 + size
		}))
		nodes[i].TLS = &tls.Config{GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
			if sick[i].Load() {
				refused.Add(1)
				return nil, errors.New("the node's key is gone")
			}
			return nil, nil
		}}
		nodes[i].EnableHTTP2 = true
		nodes[i].Config.ErrorLog = log.New(io.Discard, "", 0)
		nodes[i].StartTLS()
		t.Cleanup(nodes[i].Close)
	}
	sick[0].Store(true)
	e := newEdge(t)
	e.load("tigergraph " + nodes[0].URL + " " + nodes[1].URL + " {\nhealth_check off\nfail_duration 0\ntransport tigergraph {\ntls_insecure_skip_verify\nversions " + versions + "\n}\n}")
	bodies := [][]byte{nil, []byte("a short one"), bytes.Repeat([]byte("long "), 100_000)}
	send := func(number, want int) {
		t.Helper()
		for _, method := range []string{http.MethodGet, http.MethodPost, http.MethodDelete} {
			for i, body := range bodies {
				target := fmt.Sprintf("/restpp/query/g/q?n=%d.%d", number, i)
				a := e.newBrowser(byte(2+number)).do(method, target, body)
				if a.StatusCode != want || (want != http.StatusOK) != (a.Header.Get("Retry-After") != "") {
					t.Errorf("%s with %d bytes: %d, Retry-After %q", method, len(body), a.StatusCode, a.Header.Get("Retry-After"))
				}
				mu.Lock()
				times := arrived[method+target]
				mu.Unlock()
				if expected := 1 + int64(len(body)); want == http.StatusOK && times != expected || want != http.StatusOK && times != 0 {
					t.Errorf("%s with %d bytes arrived as %d", method, len(body), times-1)
				}
			}
		}
	}
	for number := range 10 {
		if number < 2 || refused.Load() == 0 {
			send(number, http.StatusOK)
		}
	}
	if refused.Load() == 0 {
		t.Error("nobody met the node that refuses")
	}
	sick[1].Store(true)
	nodes[1].CloseClientConnections()
	send(10, http.StatusServiceUnavailable)
}

// startWithoutKey starts a node that breaks off each TLS handshake.
func startWithoutKey(t *testing.T) *httptest.Server {
	t.Helper()
	sick := httptest.NewUnstartedServer(http.NotFoundHandler())
	sick.TLS = &tls.Config{GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
		return nil, errors.New("the node's key is gone")
	}}
	sick.Config.ErrorLog = log.New(io.Discard, "", 0)
	sick.StartTLS()
	t.Cleanup(sick.Close)
	return sick
}

func TestARequestThatTheOnlyNodeDidNotAgreeToEncryptMayBeSentAgain(t *testing.T) {
	sick := startWithoutKey(t)
	e := newEdge(t)
	e.load("tigergraph " + sick.URL + " {\nhealth_check off\ntransport tigergraph {\ntls_insecure_skip_verify\n}\n}")
	for _, method := range []string{http.MethodGet, http.MethodPost, http.MethodDelete} {
		a := e.newBrowser(2).do(method, "/restpp/query/g/q", nil)
		if a.StatusCode != http.StatusServiceUnavailable || a.Header.Get("Retry-After") == "" {
			t.Errorf("%s: %d, Retry-After %q", method, a.StatusCode, a.Header.Get("Retry-After"))
		}
	}
}

// What one proxy could not encrypt for its nodes is no more repeatable for the next one,
// which may know nothing of ours but the matcher.
func TestWhatANodeDidNotAgreeToEncryptIsNotDoneTwiceByTheNextProxy(t *testing.T) {
	sick := startWithoutKey(t)
	for _, next := range []string{"", "lb_policy tigergraph {\nhealth_check off\n}", "transport tigergraph"} {
		for _, body := range [][]byte{nil, []byte("a short one"), bytes.Repeat([]byte("long "), 100_000)} {
			t.Run(fmt.Sprintf("%.12s %d", next, len(body)), func(t *testing.T) {
				var done atomic.Int64
				var others [2]*httptest.Server
				for i := range others {
					others[i] = httptest.NewUnstartedServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
						_, _ = io.Copy(io.Discard, r.Body)
						done.Add(1)
						panic(http.ErrAbortHandler)
					}))
					others[i].Config.ErrorLog = log.New(io.Discard, "", 0)
					others[i].Start()
					t.Cleanup(others[i].Close)
				}
				e := newEdge(t)
				e.load("tigergraph " + sick.URL + " {\nhealth_check off\ntransport tigergraph {\ntls_insecure_skip_verify\n}\n}\n" +
					"handle_errors {\nreverse_proxy " + others[0].URL + " " + others[1].URL + " {\n" + next + "\nlb_retries 1\nlb_retry_match {\ntigergraph_repeatable\n}\n}\n}")
				a := e.newBrowser(2).do(http.MethodPost, "/restpp/ddl/social", body)
				if again := a.Header.Get("Retry-After"); again != "" {
					t.Errorf("%d, asked to be sent again after %s s", a.StatusCode, again)
				}
				if times := done.Load(); times != 1 {
					t.Errorf("%d bytes were taken %d times", len(body), times)
				}
			})
		}
	}
}
