package tigergraph

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/headers"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"
)

func init() {
	httpcaddyfile.RegisterDirective("tigergraph", parseDirective)
	httpcaddyfile.RegisterDirectiveOrder("tigergraph", httpcaddyfile.Before, "reverse_proxy")
}

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

// parseDirective sets up a proxy in front of a TigerGraph cluster. Syntax:
//
//	tigergraph [<matcher>] <nodes...> {
//		<options of lb_policy tigergraph>
//		<subdirectives of reverse_proxy, but lb_policy>
//	}
//
// Nodes are addresses as reverse_proxy takes them, with the port 14240 where none
// is given. A line such as this:
//
//	tigergraph m1 m2 m3
//
// is short for a handler of its own, which see, and after it:
//
//	reverse_proxy m1:14240 m2:14240 m3:14240 {
//		lb_policy tigergraph
//		lb_retries 2
//		lb_retry_match {
//			tigergraph_repeatable
//		}
//		transport tigergraph {
//			client_ip_header X-Real-IP
//			no_via
//			dial_timeout 3s
//			keepalive 5m
//			keepalive_idle_conns_per_host 256
//			compression off
//		}
//	}
//
// What the user writes wins over each of these.
func parseDirective(h httpcaddyfile.Helper) ([]httpcaddyfile.ConfigValue, error) {
	if !h.Next() {
		return nil, h.ArgErr()
	}
	matcherSet, err := h.ExtractMatcherSet()
	if err != nil {
		return nil, err
	}
	h.Next() // the directive's name, once more
	var directive directive
	if err := directive.split(h.Dispenser); err != nil {
		return nil, err
	}
	policy, err := directive.policy()
	if err != nil {
		return nil, err
	}
	if err := directive.completeOptions(policy); err != nil {
		return nil, err
	}
	proxy, err := directive.proxy(h)
	if err != nil {
		return nil, err
	}
	proxy.LoadBalancing.SelectionPolicyRaw = caddyconfig.JSONModuleObject(policy, "policy", "tigergraph", nil)
	both := caddyhttp.Route{HandlersRaw: []json.RawMessage{
		caddyconfig.JSONModuleObject(new(Handler), "handler", "tigergraph", nil),
		caddyconfig.JSONModuleObject(proxy, "handler", "reverse_proxy", nil),
	}}
	// A named route keeps the first handler of each directive only.
	whole := &caddyhttp.Subroute{Routes: caddyhttp.RouteList{both}}
	route := caddyhttp.Route{HandlersRaw: []json.RawMessage{caddyconfig.JSONModuleObject(whole, "handler", "subroute", nil)}}
	if matcherSet != nil {
		route.MatcherSetsRaw = []caddy.ModuleMap{matcherSet}
	}
	return []httpcaddyfile.ConfigValue{{Class: "route", Value: route}}, nil
}

// directive is the directive's tokens, told apart by whose they are. They keep
// their lines, so that errors name those.
type directive struct {
	name          caddyfile.Token
	nodes         []caddyfile.Token
	addresses     []string          // of all nodes, complete
	options       []caddyfile.Token // of the policy, as in its block
	subdirectives []caddyfile.Token // of the proxy, as in its block
	opening       caddyfile.Token   // the brace that begins the user's block
	given         map[string]caddyfile.Segment
}

// split reads the directive, at whose name d stands.
func (v *directive) split(d *caddyfile.Dispenser) error {
	v.name = d.Token()
	v.given = make(map[string]caddyfile.Segment)
	for d.NextArg() {
		node := d.Token()
		if err := v.addNode(&node); err != nil {
			return d.WrapErr(err)
		}
		v.nodes = append(v.nodes, node)
	}
	for d.NextBlock(0) {
		if len(v.given) == 0 {
			v.opening = openingBrace(d)
		}
		name := d.Val()
		segment := d.NextSegment()
		v.given[name] = segment
		at := caddyfile.NewDispenser(segment)
		at.Next()
		switch {
		case name == "lb_policy":
			return at.Err("tigergraph is the policy: write the options of 'lb_policy tigergraph' without it, or use reverse_proxy for another policy")
		case isPolicyOption(name):
			v.options = append(v.options, segment...)
			continue
		case name == "to":
			for i := range segment[1:] {
				if err := v.addNode(&segment[1+i]); err != nil {
					return at.WrapErr(err)
				}
			}
		}
		v.subdirectives = append(v.subdirectives, segment...)
	}
	if len(v.addresses) == 0 && v.given["dynamic"] == nil {
		return d.Err("tigergraph needs the addresses of its nodes, such as 'tigergraph m1 m2 m3'")
	}
	return nil
}

// isPolicyOption reports whether a word is the name of an option of the policy.
// The policy's parser knows: there is no second list.
func isPolicyOption(word string) bool {
	d := caddyfile.NewDispenser([]caddyfile.Token{{Text: word}})
	d.Next()
	return !errors.As(new(Policy).unmarshalOption(d, word), new(unknownOptionError))
}

// addNode completes the address of a node and refuses it if it does not go with
// the others.
func (v *directive) addNode(token *caddyfile.Token) error {
	node := token.Text
	address, err := completeAddress(node)
	if err != nil {
		return err
	}
	if slices.Contains(v.addresses, address) {
		return fmt.Errorf("node '%s' is already specified: write each node once", node)
	}
	if len(v.addresses) > 0 {
		first := v.addresses[0]
		if schemeOf(first) != schemeOf(address) {
			return fmt.Errorf("node '%s' is dialled in another way than '%s': write the same scheme, such as https://, before all nodes or before none", address, first)
		}
	}
	v.addresses = append(v.addresses, address)
	token.Text = address
	return nil
}

func schemeOf(address string) string {
	scheme, _, found := strings.Cut(address, "://")
	if !found {
		return ""
	}
	return scheme
}

// completeAddress adds TigerGraph's port to the address of a node if it has none.
// A placeholder may hold the port, and a socket has none: these stay as they are.
func completeAddress(node string) (string, error) {
	if strings.Contains(node, "{") {
		return node, nil
	}
	if !hasWellFormedBrackets(node) {
		return "", fmt.Errorf("node '%s' is not an address: write brackets around an IPv6 address alone, such as [fd00::1]:%s", node, defaultPort)
	}
	if scheme, rest, found := strings.Cut(node, "://"); found {
		if host, _, surplus := strings.Cut(rest, "/"); surplus {
			return "", fmt.Errorf("node '%s' must have no path: write '%s://%s', and change paths with the rewrite directive", node, scheme, host)
		}
		return scheme + "://" + withPort(rest), nil
	}
	prefix, rest, found := strings.Cut(node, "/")
	switch {
	case !found:
		return withPort(node), nil
	case caddy.IsUnixNetwork(prefix), caddy.IsFdNetwork(prefix):
		return node, nil
	case prefix == "tcp", prefix == "tcp4", prefix == "tcp6":
		return prefix + "/" + withPort(rest), nil
	}
	return "", fmt.Errorf("node '%s' must have no path: write '%s', and change paths with the rewrite directive", node, prefix)
}

// hasWellFormedBrackets reports whether a node has no brackets, or two around its
// host.
func hasWellFormedBrackets(node string) bool {
	host := node[strings.LastIndexByte(node, '/')+1:]
	if !strings.ContainsAny(node, "[]") {
		return true
	}
	inside, rest, closed := strings.Cut(strings.TrimPrefix(host, "["), "]")
	return strings.HasPrefix(host, "[") && closed && inside != "" && (rest == "" || strings.LastIndexByte(rest, ':') == 0) &&
		strings.Count(node, "[") == 1 && strings.Count(node, "]") == 1
}

// withPort adds TigerGraph's port to a host without one.
func withPort(host string) string {
	if _, _, err := net.SplitHostPort(host); err == nil {
		return host
	}
	return net.JoinHostPort(strings.Trim(host, "[]"), defaultPort)
}

// policy parses the options of the policy.
func (v *directive) policy() (*Policy, error) {
	policy := new(Policy)
	return policy, policy.UnmarshalCaddyfile(v.dispense(nil, v.options))
}

// completeOptions completes the nodes that options of the policy name, and refuses
// those that are not the directive's.
func (v *directive) completeOptions(policy *Policy) error {
	weights := make(map[string]int, len(policy.Weights))
	for _, node := range slices.Sorted(maps.Keys(policy.Weights)) {
		address, err := v.upstream("weight", node)
		if err != nil {
			return err
		}
		if _, twice := weights[address]; twice {
			return v.at("weight").Errf("the weight of '%s' is already specified", node)
		}
		weights[address] = policy.Weights[node]
	}
	if policy.Weights != nil {
		policy.Weights = weights
	}
	for option, nodes := range map[string][]string{"backup": policy.Backup, "drain": policy.Drain} {
		for i, node := range nodes {
			address, err := v.upstream(option, node)
			if err != nil {
				return err
			}
			if slices.Contains(nodes[:i], address) {
				return v.at(option).Errf("%s names '%s' twice", option, node)
			}
			nodes[i] = address
		}
	}
	return nil
}

// upstream returns the address of the upstream that an option names. With a
// dynamic source any may be one.
func (v *directive) upstream(option, node string) (string, error) {
	address, err := completeAddress(node)
	if err != nil {
		return "", v.at(option).WrapErr(err)
	}
	address = dialAddress(address)
	if v.given["dynamic"] == nil && !slices.ContainsFunc(v.addresses, func(known string) bool { return dialAddress(known) == address }) {
		return "", v.at(option).Errf("%s: '%s' is not one of the nodes: write it behind tigergraph as well", option, node)
	}
	return address, nil
}

// dialAddress is what the proxy makes of an address: the scheme is the
// transport's.
func dialAddress(address string) string {
	if _, rest, found := strings.Cut(address, "://"); found {
		return rest
	}
	return strings.TrimPrefix(address, "tcp/")
}

// at returns a dispenser that stands at an option, for errors that name its line.
func (v *directive) at(option string) *caddyfile.Dispenser {
	d := caddyfile.NewDispenser(v.given[option])
	d.Next()
	return d
}

// dispense makes a directive of arguments and the lines of a block.
func (v *directive) dispense(arguments, block []caddyfile.Token) *caddyfile.Dispenser {
	line := append([]caddyfile.Token{v.name}, arguments...)
	return caddyfile.NewDispenser(withBlock(line, v.opening, block))
}

// proxy parses the proxy and fills in what the user left open.
func (v *directive) proxy(h httpcaddyfile.Helper) (*reverseproxy.Handler, error) {
	proxy := new(reverseproxy.Handler)
	if err := proxy.UnmarshalCaddyfile(v.dispense(v.nodes, v.subdirectives)); err != nil {
		return nil, v.explain(err)
	}
	if err := proxy.FinalizeUnmarshalCaddyfile(h); err != nil {
		return nil, err
	}
	v.completeLoadBalancing(proxy)
	return proxy, v.completeTransport(proxy)
}

// explain says what may be written instead of a word that nobody knows.
func (v *directive) explain(err error) error {
	for name, segment := range v.given {
		if strings.HasPrefix(err.Error(), "unrecognized subdirective "+name+",") {
			d := caddyfile.NewDispenser(segment)
			d.Next()
			return d.Errf("unrecognized option '%s': expected an option of 'lb_policy tigergraph' or a subdirective of reverse_proxy", name)
		}
	}
	return err
}

func (v *directive) isGiven(name string) bool { return v.given[name] != nil }

// completeLoadBalancing has a request tried once on each other node, up to three:
// always if it never left, else only if it may be repeated.
func (v *directive) completeLoadBalancing(proxy *reverseproxy.Handler) {
	if proxy.LoadBalancing == nil {
		proxy.LoadBalancing = new(reverseproxy.LoadBalancing)
	}
	balancing := proxy.LoadBalancing
	// Who gives a time to try wants it used up.
	if !v.isGiven("lb_retries") && !v.isGiven("lb_try_duration") {
		balancing.Retries = min(max(len(proxy.Upstreams)-1, 0), mostRetries)
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
	return slices.ContainsFunc(operations.Delete, func(pattern string) bool { return deletes(pattern, field) })
}

// deletes reports whether a field that is to be deleted, which may have an asterisk
// at either end, is this one.
func deletes(pattern, field string) bool {
	pattern, field = strings.ToLower(pattern), strings.ToLower(field)
	end, atStart := strings.CutPrefix(pattern, "*")
	start, atEnd := strings.CutSuffix(pattern, "*")
	switch {
	case atStart && atEnd:
		return strings.Contains(field, strings.Trim(pattern, "*"))
	case atStart:
		return strings.HasSuffix(field, end)
	case atEnd:
		return strings.HasPrefix(field, start)
	}
	return pattern == field
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

// completeSettings fills in what both of them have.
func (v *directive) completeSettings(transport *reverseproxy.HTTPTransport) {
	transport.DialTimeout = orDefault(transport.DialTimeout, defaultDialTimeout)
	if transport.KeepAlive == nil {
		transport.KeepAlive = new(reverseproxy.KeepAlive)
	}
	if keepAlive := transport.KeepAlive; keepAlive.Enabled == nil || *keepAlive.Enabled {
		keepAlive.IdleConnTimeout = orDefault(keepAlive.IdleConnTimeout, defaultKeepAlive)
		keepAlive.MaxIdleConnsPerHost = orDefault(keepAlive.MaxIdleConnsPerHost, defaultIdleConnections)
	}
	isCompression := func(token caddyfile.Token) bool { return token.Text == "compression" }
	if transport.Compression == nil && !slices.ContainsFunc(v.given["transport"], isCompression) {
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
		transport.ClientIPHeader = orDefault(transport.ClientIPHeader, clientIPHeader)
	}
	if !mentions(operations, "Via") {
		transport.NoVia = true
	}
}

// completeHeaders does so for another transport.
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
