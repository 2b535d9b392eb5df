package tigergraph

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/headers"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/response"
)

// What the directive chooses where the user does not.
const (
	defaultDialTimeout = caddy.Duration(3 * time.Second)
	// nginx in the nodes closes idle connections after 900s. To be first is the
	// way not to send a request on one that is just being closed.
	defaultKeepAlive = caddy.Duration(5 * time.Minute)
	// Caddy's 32 are too few for the users of a cluster: a connection too many is
	// closed after each burst, and dialled again in the next.
	defaultIdleConnections = 256
	// Each dial may take defaultDialTimeout: with three retries a request waits for
	// no longer than four of them, however many nodes there are.
	mostRetries    = 3
	clientIPHeader = "X-Real-IP"
)

// completeLoadBalancing has a request tried once on each other node, up to three:
// always if it never left, else only if it may be repeated.
func (v *directive) completeLoadBalancing(proxy *reverseproxy.Handler) {
	if proxy.LoadBalancing == nil {
		proxy.LoadBalancing = new(reverseproxy.LoadBalancing)
	}
	balancing := proxy.LoadBalancing
	// Who gives a time to try wants it used up.
	if !v.isGiven("lb_retries") && !v.isGiven("lb_try_duration") {
		nodes := max(len(proxy.Upstreams)-v.standbys, v.largest)
		balancing.Retries = min(max(nodes-1, 0), mostRetries)
		if v.isGiven("dynamic") { // of how many nodes nobody knows
			balancing.Retries = mostRetries
		}
	}
	if !v.isGiven("lb_retry_match") {
		balancing.RetryMatchRaw = caddyhttp.RawMatcherSets{{
			"tigergraph_repeatable": caddyconfig.JSON(MatchRepeatable{}, nil),
		}}
	}
}

// mentions reports whether header operations say anything of a field.
func mentions(operations *headers.HeaderOps, field string) bool {
	is := func(other string) bool { return strings.EqualFold(other, field) }
	for _, fields := range []http.Header{operations.Add, operations.Set} {
		for other := range fields {
			if is(other) {
				return true
			}
		}
	}
	for other := range operations.Replace {
		if is(other) {
			return true
		}
	}
	return slices.ContainsFunc(operations.Delete, func(pattern string) bool { return response.Deletes(pattern, field) })
}

// completeTransport fills in the settings of an HTTP transport. Another one is
// the user's own affair.
func (v *directive) completeTransport(proxy *reverseproxy.Handler) error {
	protocol := "tigergraph"
	if v.isGiven("transport") {
		protocol = "http" // of which nothing is left if it has no settings
	}
	if proxy.TransportRaw != nil && v.isGiven("transport") { // https:// alone makes one too
		var module struct {
			Protocol string `json:"protocol"`
		}
		if err := json.Unmarshal(proxy.TransportRaw, &module); err != nil {
			return fmt.Errorf("transport: %w", err)
		}
		protocol = module.Protocol
	}
	if protocol != "tigergraph" {
		completeHeaders(proxy)
	}
	if protocol != "tigergraph" && protocol != "http" {
		return nil
	}
	transport := new(Transport)
	if proxy.TransportRaw != nil {
		if err := json.Unmarshal(proxy.TransportRaw, transport); err != nil {
			return fmt.Errorf("transport: %w", err)
		}
	}
	v.completeSettings(&transport.HTTPTransport)
	var settings any = transport
	if protocol == "http" {
		settings = &transport.HTTPTransport
	} else {
		completeFields(transport, proxy.Headers)
	}
	proxy.TransportRaw = caddyconfig.JSONModuleObject(settings, "protocol", protocol, nil)
	return nil
}

// completeSettings fills in the settings that the transports tigergraph and http share.
func (v *directive) completeSettings(transport *reverseproxy.HTTPTransport) {
	transport.DialTimeout = cmp.Or(transport.DialTimeout, defaultDialTimeout)
	if transport.KeepAlive == nil {
		transport.KeepAlive = new(reverseproxy.KeepAlive)
	}
	if keepAlive := transport.KeepAlive; keepAlive.Enabled == nil || *keepAlive.Enabled {
		keepAlive.IdleConnTimeout = cmp.Or(keepAlive.IdleConnTimeout, defaultKeepAlive)
		keepAlive.MaxIdleConnsPerHost = cmp.Or(keepAlive.MaxIdleConnsPerHost, defaultIdleConnections)
	}
	isCompression := func(token caddyfile.Token) bool { return token.Text == "compression" }
	if transport.Compression == nil && !slices.ContainsFunc(slices.Concat(v.given["transport"]...), isCompression) {
		transport.Compression = new(bool)
	}
}

// completeFields has the transport tell the node the client's address, and spare it
// Via, unless the user says something else of them.
func completeFields(transport *Transport, given *headers.Handler) {
	operations := new(headers.HeaderOps)
	if given != nil && given.Request != nil {
		operations = given.Request
	}
	if !mentions(operations, clientIPHeader) {
		transport.ClientIPHeader = cmp.Or(transport.ClientIPHeader, clientIPHeader)
	}
	if !mentions(operations, "Via") {
		transport.NoVia = true
	}
}

// completeHeaders has a proxy with any other transport send the client's address, and
// no Via, by header operations, unless the user says something else of them.
func completeHeaders(proxy *reverseproxy.Handler) {
	if proxy.Headers == nil {
		proxy.Headers = new(headers.Handler)
	}
	if proxy.Headers.Request == nil {
		proxy.Headers.Request = new(headers.HeaderOps)
	}
	operations := proxy.Headers.Request
	if !mentions(operations, clientIPHeader) {
		if operations.Set == nil {
			operations.Set = make(http.Header)
		}
		operations.Set.Set(clientIPHeader, "{http.vars.client_ip}")
	}
	if !mentions(operations, "Via") {
		operations.Delete = append(operations.Delete, "Via")
	}
}
