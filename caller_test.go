package tigergraph_test

import (
	"crypto/tls"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/affinity"
)

// lifetime is so long that no test sees an epoch end.
const (
	lifetime     = 200_000 * time.Hour
	lifetimeText = `"lifetime":"200000h"`
	pinning      = `{"policy":"tigergraph","cookie":{"secrets":["new","old"],` + lifetimeText + `}}`
	ourName      = "TigerGraphNode"
)

// token returns the cookie's value for a node, some epochs from now.
func token(secret string, epochs int64, address string) string {
	return affinity.Token([]byte(secret), affinity.Epoch(time.Now(), lifetime)+epochs, address)
}

// caller is one request as the proxy hands it to its policy, and what is left
// of it and of the response.
type caller struct {
	*http.Request
	writer nothing
}

// from makes a request of a client. The fields are pairs of name and value.
func from(client, path string, fields ...string) *caller {
	writer := nothing{make(http.Header)}
	plain := httptest.NewRequest(http.MethodGet, "http://graph.example.com/", nil)
	plain.URL.Path = path
	for i := 0; i < len(fields); i += 2 {
		plain.Header[fields[i]] = append(plain.Header[fields[i]], fields[i+1])
	}
	c := &caller{prepare(plain, writer), writer}
	caddyhttp.SetVar(c.Context(), caddyhttp.ClientIPVarKey, client)
	return c
}

// overTLS makes the request one that came over TLS.
func (c *caller) overTLS() *caller {
	c.TLS = new(tls.ConnectionState)
	return c
}

// ask has a proxy's policy choose, and returns the node's address, "" for none.
func (c *caller) ask(h *reverseproxy.Handler) string {
	return c.askFor(h, h.Upstreams)
}

func (c *caller) askFor(h *reverseproxy.Handler, pool reverseproxy.UpstreamPool) string {
	return dialOf(h.LoadBalancing.SelectionPolicy.Select(pool, c.Request, c.writer))
}

func dialOf(upstream *reverseproxy.Upstream) string {
	if upstream == nil {
		return ""
	}
	return upstream.Dial
}

// set returns the Set-Cookie lines so far.
func (c *caller) set() []string { return c.writer.header["Set-Cookie"] }

// ours returns the value of our cookie in the response, and how often it is set.
func (c *caller) ours() (value string, times int) {
	for _, line := range c.set() {
		// One without a value ends another variant of the cookie.
		if rest, found := strings.CutPrefix(line, ourName+"="); found && !strings.HasPrefix(rest, ";") {
			value, _, _ = strings.Cut(rest, ";")
			times++
		}
	}
	return value, times
}

// placeholder returns the value of one of the policy's placeholders.
func (c *caller) placeholder(name string) string {
	return c.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer).ReplaceAll("{http.tigergraph."+name+"}", "unset")
}

// elsewhere returns a client's address whose home is not this node.
func elsewhere(t *testing.T, h *reverseproxy.Handler, node string) string {
	t.Helper()
	for host := 1; host < 250; host++ {
		client := fmt.Sprintf("198.51.100.%d", host)
		if from(client, "/gsql/v1/schema").ask(h) != node {
			return client
		}
	}
	t.Fatalf("every client's home is %s", node)
	return ""
}

// randomAddresses returns random IPv4 addresses, the same ones in each run.
func randomAddresses(count int) []string {
	random := rand.New(rand.NewPCG(7, 9))
	addresses := make([]string, count)
	for i := range addresses {
		v4 := random.Uint32()
		addresses[i] = netip.AddrFrom4([4]byte{byte(v4 >> 24), byte(v4 >> 16), byte(v4 >> 8), byte(v4)}).String()
	}
	return addresses
}

// turnstile lets the same request through again and again.
type turnstile struct {
	*caller
	vars     map[string]any
	replacer *caddy.Replacer
	pristine caddy.Replacer
}

func newTurnstile(path string) *turnstile {
	c := from("198.51.100.7", path)
	replacer := c.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer)
	return &turnstile{c, c.Context().Value(caddyhttp.VarsCtxKey).(map[string]any), replacer, *replacer}
}

// reset makes the request forget that it has been here.
func (s *turnstile) reset() {
	delete(s.vars, "tigergraph.visit")
	*s.replacer = s.pristine
	delete(s.writer.header, "Set-Cookie")
}

// selectFor returns a function by which a client asks a policy for a node: it returns
// the node's address, "" for none, and the cookie that the answer sets.
func selectFor(tb testing.TB, policy string, nodes int) func(client, path, cookie string) (address, set string) {
	tb.Helper()
	handler := provisionHandler(tb, policy, nodes)
	return func(client, path, cookie string) (string, string) {
		c := from(client, path)
		if cookie != "" {
			c.Header.Set("Cookie", cookie)
		}
		address := c.ask(handler)
		set, _, _ := strings.Cut(c.writer.header.Get("Set-Cookie"), ";")
		return address, set
	}
}

// provisionHandler returns a proxy with this policy in front of so many nodes,
// as the server would have it, but without a server.
func provisionHandler(tb testing.TB, policy string, nodes int) *reverseproxy.Handler {
	tb.Helper()
	addresses := make([]string, nodes)
	for i := range addresses {
		addresses[i] = fmt.Sprintf("10.0.%d.%d:14240", i/250, i%250+1)
	}
	handler, err := tryProvision(tb, policy, addresses...)
	if err != nil {
		tb.Fatal(err)
	}
	return handler
}

// tryProvision does the same for these nodes, unless the policy is refused.
func tryProvision(tb testing.TB, policy string, addresses ...string) (*reverseproxy.Handler, error) {
	tb.Helper()
	ctx, err := caddy.ProvisionContext(&caddy.Config{Admin: &caddy.AdminConfig{Disabled: true}})
	if err != nil {
		tb.Fatal(err)
	}
	upstreams := make([]map[string]string, len(addresses))
	for i, address := range addresses {
		upstreams[i] = map[string]string{"dial": address}
	}
	config, err := json.Marshal(map[string]any{
		"upstreams":      upstreams,
		"load_balancing": map[string]any{"selection_policy": json.RawMessage(policy)},
	})
	if err != nil {
		tb.Fatal(err)
	}
	module, err := ctx.LoadModuleByID("http.handlers.reverse_proxy", config)
	if err != nil {
		return nil, err
	}
	return module.(*reverseproxy.Handler), nil
}

// prepare makes a request as the server hands it to the proxy.
func prepare(request *http.Request, writer http.ResponseWriter) *http.Request {
	return caddyhttp.PrepareRequest(request, caddy.NewReplacer(), writer, &caddyhttp.Server{})
}

// nothing is a response writer that only has headers.
type nothing struct{ header http.Header }

func (w nothing) Header() http.Header       { return w.header }
func (nothing) Write(b []byte) (int, error) { return len(b), nil }
func (nothing) WriteHeader(int)             {}

const (
	oursByCookie   = `{"policy":"tigergraph","cookie":{"secrets":["benchmark"]}}`
	oursByClientIP = `{"policy":"tigergraph","affinity":"client_ip"}`
	oursByHeader   = `{"policy":"tigergraph","affinity":"header","header":"X-User"}`
	oursByNothing  = `{"policy":"tigergraph","affinity":"none"}`
)
