package tigergraph

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/health"
	"github.com/caddy-tigergraph/caddy-tigergraph/internal/service"
)

// Probe implements HealthChecker.
func (s *Services) Probe(ctx context.Context, transport http.RoundTripper, node reverseproxy.DialInfo, name string) error {
	checked, known := service.Parse(name)
	if !known || s.targets[checked] == nil {
		return fmt.Errorf("'%s' is no service that is checked", name)
	}
	return s.moved.Ask(node.Address, s.targets[checked], func(target *url.URL) error {
		return s.probe(ctx, transport, node, checked, target)
	})
}

// probe asks a service at this path.
func (s *Services) probe(ctx context.Context, transport http.RoundTripper, node reverseproxy.DialInfo, checked service.Service, target *url.URL) error {
	request, err := s.request(ctx, transport, node, target)
	if err != nil {
		return err
	}
	response, err := transport.RoundTrip(request)
	if err != nil {
		return health.Explain(ctx, err, s.plan.Timeout)
	}
	defer func() { _ = response.Body.Close() }()
	return health.Read(ctx, checked, response, s.plan.Timeout)
}

// request builds a GET that no client has sent, a probe or a search for an asynchronous
// query, with all that a transport of the proxy expects in a request.
func (s *Services) request(ctx context.Context, transport http.RoundTripper, node reverseproxy.DialInfo, target *url.URL) (*http.Request, error) {
	to := *target
	to.Scheme, to.Host = "http", node.Address
	isSocket := node.Port == "" || node.Port == "0"
	if isSocket { // whose path is no host
		to.Host = "localhost"
	}
	if overrider, ok := transport.(reverseproxy.HealthCheckSchemeOverriderTransport); ok {
		overrider.OverrideHealthCheckScheme(&to, node.Port)
	}
	ctx = context.WithValue(ctx, caddy.ReplacerCtxKey, caddy.NewReplacer())
	ctx = context.WithValue(ctx, dialInfoKey, node)
	ctx = context.WithValue(ctx, caddyhttp.VarsCtxKey, map[string]any{
		"reverse_proxy.tls_h1_only":         true,
		"reverse_proxy.proxy_protocol_info": reverseproxy.ProxyProtocolInfo{AddrPort: unknownClient},
	})
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, to.String(), nil)
	if err != nil {
		return nil, fmt.Errorf("making the request: %w", err)
	}
	request.Header = s.header.Clone()
	request.Host = s.host
	// A connection that nobody needs for so long costs both ends more than to dial anew.
	request.Close = s.plan.Interval >= longInterval
	if isSocket {
		// Transports keep connections by this, and must not take one socket for
		// another.
		request.URL.Host = node.Address
		request.Host = cmp.Or(s.host, "localhost")
	}
	return request, nil
}

// dialInfoKey is the key under which the proxy tells its transport where to
// dial.
const dialInfoKey caddy.CtxKey = "reverse_proxy.dial_info"

// unknownClient stands for the client in the header of the PROXY protocol, which
// a probe has to send as well.
var unknownClient = netip.AddrPortFrom(netip.IPv4Unspecified(), 0)

// longInterval is from where on probes leave no connection open.
const longInterval = 30 * time.Second
