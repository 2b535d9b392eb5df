package tigergraph

import (
	"context"
	"net"
	"net/http"
	"net/url"
	"slices"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/attempt"
	"github.com/caddy-tigergraph/caddy-tigergraph/internal/http1"
	"github.com/caddy-tigergraph/caddy-tigergraph/internal/settings"
)

func init() {
	caddy.RegisterModule(new(Transport))
}

// Transport is the transport `http`, with all its settings, at less cost for the
// requests that a cluster mostly gets: those without a body, and those whose body has
// a known length of at most 64 KiB. Such a body is read from the client before the
// first byte is sent to a node, so a client whose upload breaks off gets 400 (408 if
// it was too slow) and no node hears of it. They go over connections of their own,
// which need no goroutines. No request is sent twice unless TigerGraph may get it
// twice. The `tigergraph` directive uses this transport where no other is given.
//
// `compression` is off if nothing else is set, and the header of an answer has at most
// 256 KiB (`max_response_header_size`) and 1,000 lines; that of a probe's answer
// 64 KiB and 100 lines. A node that says what it was not asked gets a new connection
// for each request, for a minute.
//
// Longer bodies, those of unknown length, requests with trailers, with a header of
// more than 16 KiB, with `Expect` or `Upgrade`, and CONNECT go the way of `http`, over
// its connections: so there may be twice as many idle ones to a node as
// `max_idle_conns_per_host` says. `max_conns_per_host` holds for both ways together.
// Everything goes that way over TLS, on Windows, through a forward proxy, and with one
// of these settings: `proxy_protocol`, `response_header_timeout`, `read_timeout`,
// `write_timeout`, `versions` without `1.1` or with `h2c`, `max_idle_conns`,
// `keep_alive` that is off, or `compression` that is on.
type Transport struct {
	reverseproxy.HTTPTransport

	// The header field that tells the node the client's address as Caddy knows it
	// (`{client_ip}`), in place of what the client sent in it. `header_up` can do
	// so too, at the price of one more copy of the header. Default: none.
	ClientIPHeader string `json:"client_ip_header,omitempty"`

	// Keeps `Via` from the node: nginx sends uncompressed what is asked for with
	// it. Default: false.
	NoVia bool `json:"no_via,omitempty"`

	sender attempt.Sender

	// observe hears of each attempt at a node when the header of its answer is there,
	// or when it failed. It may be nil, and is set before the first request.
	observe func(*http.Request, attempt.Attempt)
}

// CaddyModule returns the Caddy module information.
func (*Transport) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.reverse_proxy.transport.tigergraph",
		New: func() caddy.Module { return new(Transport) },
	}
}

// Provision sets up the transport.
func (t *Transport) Provision(ctx caddy.Context) (err error) {
	defer spareUpstreams(ctx, &err)
	if err := settings.CheckClientIPHeader(t.ClientIPHeader); t.ClientIPHeader != "" && err != nil {
		return err
	}
	t.ClientIPHeader = http.CanonicalHeaderKey(t.ClientIPHeader)
	if t.Compression == nil {
		t.Compression = new(bool)
	}
	if t.MaxResponseHeaderSize == 0 {
		t.MaxResponseHeaderSize = http1.DefaultLimits.Bytes
	}
	if err := t.HTTPTransport.Provision(ctx); err != nil {
		return err
	}
	client := t.Transport
	client.Proxy = attempt.AskOnce(client.Proxy)
	t.sender.Edge, t.sender.Goes = edge{}, &t.HTTPTransport
	t.sender.Proxy = func(r *http.Request) (*url.URL, error) { return client.Proxy(r) }
	dial := client.DialContext
	limit := &http1.Limit{Most: client.MaxConnsPerHost}
	// within has both ways together keep to the most connections that there may be.
	within := func(ctx context.Context, network, address string, free func()) (net.Conn, error) {
		if limit.Most <= 0 {
			return dial(ctx, network, address)
		}
		return limit.Dial(ctx, address, free, func() (net.Conn, error) { return dial(ctx, network, address) })
	}
	if !slices.Contains(t.Versions, "h2c") { // where requests share a connection
		client.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
			conn, err := within(ctx, network, address, func() { t.closeIdle(address) })
			if err != nil {
				return nil, err
			}
			return http1.NewGuard(conn), nil
		}
	}
	if !t.isPlain() {
		return nil
	}
	t.sender.Own = &http1.Client{
		Dial: func(ctx context.Context, address string) (net.Conn, error) {
			return within(dialContext{ctx}, "tcp", address, client.CloseIdleConnections)
		},
		MaxIdle: client.MaxIdleConnsPerHost, MaxConns: client.MaxConnsPerHost, IdleTimeout: client.IdleConnTimeout,
		Limits:     http1.Limits{Bytes: client.MaxResponseHeaderBytes},
		ReadBuffer: client.ReadBufferSize,
		Suspects:   &t.sender.Suspects,
	}
	return nil
}

func (t *Transport) closeIdle(address string) {
	if t.sender.Own != nil {
		t.sender.Own.CloseIdle(address)
	}
}

// dialContext is what a dial knows of the request that began it and may be over
// before it: nothing that still changes.
type dialContext struct{ context.Context }

func (c dialContext) Value(key any) any {
	if key == caddyhttp.VarsCtxKey {
		return nil
	}
	return c.Context.Value(key)
}

// isPlain reports whether nothing is set that only Go's client does.
func (t *Transport) isPlain() bool {
	client := t.Transport
	return http1.Supported && t.TLS == nil && t.ProxyProtocol == "" && t.ReadTimeout == 0 && t.WriteTimeout == 0 &&
		slices.Contains(t.Versions, "1.1") && !slices.Contains(t.Versions, "h2c") &&
		client.DisableCompression && !client.DisableKeepAlives &&
		client.MaxIdleConns == 0 && client.ResponseHeaderTimeout == 0
}

// Cleanup closes idle connections.
func (t *Transport) Cleanup() error {
	if t.sender.Own != nil {
		t.sender.Own.Close()
	}
	if t.Transport == nil { // which Provision did not come to
		return nil
	}
	return t.HTTPTransport.Cleanup()
}

// adjust changes the header that the node gets. What is right already stays
// untouched: of an earlier attempt that failed, Go's client may still be writing
// it.
func (t *Transport) adjust(r *http.Request, address string, known bool) {
	if t.NoVia && r.Header["Via"] != nil {
		delete(r.Header, "Via")
	}
	if t.ClientIPHeader == "" || !known { // a probe is nobody's
		return
	}
	if values := r.Header[t.ClientIPHeader]; len(values) != 1 || values[0] != address {
		r.Header[t.ClientIPHeader] = []string{address}
	}
}

// UnmarshalCaddyfile sets up the transport. Syntax:
//
//	transport tigergraph {
//		client_ip_header <field>
//		no_via
//		<settings of transport http>
//	}
func (t *Transport) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next()
	tokens := []caddyfile.Token{d.Token()}
	if d.NextArg() {
		return d.ArgErr()
	}
	var opening caddyfile.Token
	var others []caddyfile.Token
	for d.NextBlock(0) {
		if opening.Text == "" {
			opening = openingBrace(d)
		}
		switch d.Val() {
		case "client_ip_header":
			if t.ClientIPHeader != "" {
				return d.Err("client_ip_header is already specified")
			}
			if !d.AllArgs(&t.ClientIPHeader) {
				return d.Err("expected 'client_ip_header <field>', such as 'client_ip_header X-Real-IP'")
			}
			if err := settings.CheckClientIPHeader(t.ClientIPHeader); err != nil {
				return d.WrapErr(err)
			}
		case "no_via":
			if t.NoVia {
				return d.Err("no_via is already specified")
			}
			if d.CountRemainingArgs() > 0 {
				return d.Err("no_via takes no argument")
			}
			t.NoVia = true
		default:
			others = append(others, d.NextSegment()...)
		}
	}
	return settings.ExplainSize(t.HTTPTransport.UnmarshalCaddyfile(caddyfile.NewDispenser(withBlock(tokens, opening, others))))
}

// httpTransport returns the settings of a transport that speaks HTTP, nil if it is
// another one.
func httpTransport(transport http.RoundTripper) *reverseproxy.HTTPTransport {
	switch t := transport.(type) {
	case *reverseproxy.HTTPTransport:
		return t
	case *Transport:
		return &t.HTTPTransport
	}
	return nil
}

// Interface guards
var (
	_ caddy.Module                                     = (*Transport)(nil)
	_ caddy.Provisioner                                = (*Transport)(nil)
	_ caddy.CleanerUpper                               = (*Transport)(nil)
	_ caddyfile.Unmarshaler                            = (*Transport)(nil)
	_ http.RoundTripper                                = (*Transport)(nil)
	_ reverseproxy.TLSTransport                        = (*Transport)(nil)
	_ reverseproxy.H2CTransport                        = (*Transport)(nil)
	_ reverseproxy.HealthCheckSchemeOverriderTransport = (*Transport)(nil)
	_ reverseproxy.ProxyProtocolTransport              = (*Transport)(nil)
)
