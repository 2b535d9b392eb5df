package tigergraph

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"regexp"
	"slices"
	"strings"

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
	if checked != service.GSQL || s.paths()[checked] != olderGSQL {
		return s.probe(ctx, transport, node, checked, s.targets[checked])
	}
	paths := []*url.URL{s.targets[checked], newerGSQL}
	_, moved := s.moved.Load(node.Address)
	if moved {
		slices.Reverse(paths)
	}
	err := s.probe(ctx, transport, node, checked, paths[0])
	if !errors.Is(err, health.ErrNoRoute) {
		return err
	}
	if err = s.probe(ctx, transport, node, checked, paths[1]); errors.Is(err, health.ErrNoRoute) {
		return err
	}
	if moved {
		s.moved.Delete(node.Address)
	} else {
		s.moved.Store(node.Address, true)
	}
	return err
}

// probe asks a service at this path.
func (s *Services) probe(ctx context.Context, transport http.RoundTripper, node reverseproxy.DialInfo, checked service.Service, target *url.URL) error {
	request, err := s.request(ctx, transport, node, target)
	if err != nil {
		return err
	}
	response, err := transport.RoundTrip(request)
	if err != nil {
		return s.explain(ctx, err)
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(response.Body, health.MostBody+1))
	if err != nil {
		return s.explain(ctx, err)
	}
	if len(body) > health.MostBody {
		return health.ErrTooLong
	}
	return health.Judge(checked, response.StatusCode, response.Header, body)
}

// request builds a probe with what the transport looks for in a request of the
// proxy's.
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

// explain turns the failure of a probe into plain words.
func (s *Services) explain(ctx context.Context, err error) error {
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return health.TimeoutError{Limit: s.plan.Timeout}
	}
	// What is wrong with a certificate may be said; of an answer, errors quote
	// what they found.
	var certificate *tls.CertificateVerificationError
	text := err.Error()
	if !errors.As(err, &certificate) && (strings.Contains(text, "malformed") || strings.Contains(text, `"`)) {
		return errors.New("the answer is not well-formed HTTP")
	}
	if shorter := currentTime.ReplaceAllString(ownAddress.ReplaceAllString(text, ""), "now"); shorter != text {
		return &unboundError{error: err, text: shorter}
	}
	return err
}

// ownAddress is that of our end of a connection in the text of an error, and currentTime
// when a certificate was found to have expired.
var ownAddress, currentTime = regexp.MustCompile(`\S+->`), regexp.MustCompile(`current time \S+`)

// unboundError is an error without our address in its text, whose port differs each
// time, or the time: equal failures read alike.
type unboundError struct {
	error
	text string
}

func (e *unboundError) Error() string { return e.text }

func (e *unboundError) Unwrap() error { return e.error }
