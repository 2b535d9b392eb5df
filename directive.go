package tigergraph

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp/reverseproxy"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/address"
	"github.com/caddy-tigergraph/caddy-tigergraph/internal/lookup"
	"github.com/caddy-tigergraph/caddy-tigergraph/internal/options"
)

func init() {
	httpcaddyfile.RegisterDirective("tigergraph", parseDirective)
	httpcaddyfile.RegisterDirectiveOrder("tigergraph", httpcaddyfile.Before, "reverse_proxy")
}

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
// is short for one handler (a subroute) that has two in it: the handler tigergraph,
// which see, and this proxy:
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
// Dynamic sources are put into `dynamic tigergraph`, which keeps their answers. What
// the user writes wins over each of these.
func parseDirective(h httpcaddyfile.Helper) ([]httpcaddyfile.ConfigValue, error) {
	if !h.Next() {
		return nil, h.ArgErr()
	}
	matcherSet, err := h.ExtractMatcherSet()
	if err != nil {
		return nil, err
	}
	h.Next() // the directive's name, once more
	var parts directive
	if err := parts.split(h.Dispenser); err != nil {
		return nil, err
	}
	policy, err := parts.policy()
	if err != nil {
		return nil, err
	}
	if err := parts.completeOptions(policy); err != nil {
		return nil, err
	}
	proxy, err := parts.proxy(h, policy)
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
	nodes         []caddyfile.Token // complete, one for each
	first         *address.Address
	known         *address.Index
	options       []caddyfile.Token // of the policy, as in its block
	subdirectives []caddyfile.Token // of the proxy, as in its block
	opening       caddyfile.Token   // the brace that begins the user's block
	given         map[string][]caddyfile.Segment
	// standbys is how many of the nodes are those of standbys, largest how many those
	// of the largest standby are.
	standbys, largest int
}

// split reads the directive, at whose name d stands.
func (v *directive) split(d *caddyfile.Dispenser) error {
	v.name = d.Token()
	v.given = make(map[string][]caddyfile.Segment)
	for d.NextArg() {
		complete, err := v.addNode(d.Token())
		if err != nil {
			return d.WrapErr(err)
		}
		v.nodes = append(v.nodes, complete...)
	}
	for d.NextBlock(0) {
		if len(v.given) == 0 {
			v.opening = openingBrace(d)
		}
		name := d.Val()
		segment := d.NextSegment()
		v.given[name] = append(v.given[name], segment)
		at := caddyfile.NewDispenser(segment)
		at.Next()
		switch {
		case name == "lb_policy":
			return at.Err("tigergraph is the policy: write the options of 'lb_policy tigergraph' without it, or use reverse_proxy for another policy")
		case isPolicyOption(name):
			v.options = append(v.options, segment...)
			continue
		case name == "to":
			complete := segment[:1:1]
			for _, token := range segment[1:] {
				nodes, err := v.addNode(token)
				if err != nil {
					return at.WrapErr(err)
				}
				complete = append(complete, nodes...)
			}
			segment = complete
		}
		v.subdirectives = append(v.subdirectives, segment...)
	}
	if v.first == nil && !v.isGiven("dynamic") {
		return d.Err("tigergraph needs the addresses of its nodes, such as 'tigergraph m1 m2 m3'")
	}
	return nil
}

// isPolicyOption reports whether a word is the name of an option of the policy.
// The policy's parser decides. The list
// options.OfPolicy only serves hints for misspelt words; a test compares the two.
func isPolicyOption(word string) bool {
	d := caddyfile.NewDispenser([]caddyfile.Token{{Text: word}})
	d.Next()
	return !errors.As(new(Policy).unmarshalOption(d, word), new(options.UnknownError))
}

// addNode completes the address of a node, or of each node of a range of ports, and
// refuses it if it does not go with the others.
func (v *directive) addNode(token caddyfile.Token) ([]caddyfile.Token, error) {
	a, err := address.Parse(token.Text)
	if err != nil {
		return nil, err
	}
	if v.first == nil {
		v.first, v.known = &a, address.NewIndex(nil)
	}
	if v.first.Scheme != a.Scheme {
		return nil, fmt.Errorf("node '%s' is dialled in another way than '%s': write the same scheme, such as https://, before all nodes or before none", a, v.first)
	}
	var complete []caddyfile.Token
	for _, one := range a.Expand() {
		if !v.known.Add(one.Dial()) {
			return nil, fmt.Errorf("node '%s' is already specified: write each node once", token.Text)
		}
		token.Text = one.String()
		complete = append(complete, token)
	}
	return complete, nil
}

// policy parses the options of the policy.
func (v *directive) policy() (*Policy, error) {
	policy := new(Policy)
	return policy, policy.UnmarshalCaddyfile(v.dispense(nil, v.options))
}

// completeOptions makes the nodes of standbys nodes of the proxy, gives nodes in
// options their complete addresses, and refuses those that are not the directive's.
func (v *directive) completeOptions(policy *Policy) error {
	for _, segment := range v.given["standby"] {
		at := caddyfile.NewDispenser(segment)
		at.Next()
		before := v.standbys
		for _, token := range segment[2:] {
			complete, err := v.addStandbyNode(token)
			if err != nil {
				return at.WrapErr(err)
			}
			v.nodes = append(v.nodes, complete...)
			v.standbys += len(complete)
		}
		v.largest = max(v.largest, v.standbys-before)
	}
	if policy.Weights == nil && policy.Backup == nil && policy.Drain == nil && policy.Standby == nil {
		return nil
	}
	var at *caddyfile.Dispenser
	err := policy.nameNodes(func(option, node string) ([]string, error) {
		at = v.at(option, node)
		return v.find(option, node)
	})
	if err != nil {
		return at.WrapErr(err)
	}
	return nil
}

// addStandbyNode adds a node of another cluster. It is on a line of its own, and
// goes behind the other nodes on theirs.
func (v *directive) addStandbyNode(token caddyfile.Token) ([]caddyfile.Token, error) {
	node := token.Text
	if v.first != nil && !strings.Contains(node, "://") && v.first.Scheme != "" {
		token.Text = v.first.Scheme + "://" + node
	}
	before := v.name
	if len(v.nodes) > 0 {
		before = v.nodes[len(v.nodes)-1]
	}
	complete, err := v.addNode(token)
	if err != nil && v.known != nil {
		if _, found := v.known.Find(node); found == nil {
			err = fmt.Errorf("standby: '%s' is a node of another cluster already: write it once", node)
		}
	}
	for i := range complete {
		text := complete[i].Text
		complete[i] = before.Clone()
		complete[i].Line += before.NumLineBreaks()
		complete[i].Text = text
	}
	return complete, err
}

// find returns the upstreams that an option names. With a dynamic source any may be
// one.
func (v *directive) find(option, node string) ([]string, error) {
	known := v.known
	if known == nil {
		known = address.NewIndex(nil)
	}
	found, err := known.Find(node)
	unknown := address.UnknownError{}
	switch {
	case err == nil:
		return found, nil
	case !errors.As(err, &unknown):
		return nil, fmt.Errorf("%s: %w", option, err)
	case v.isGiven("dynamic"):
		return []string{unknown.Node}, nil
	}
	return nil, fmt.Errorf("%s: '%s' is not one of the nodes: write it behind tigergraph as well", option, node)
}

// at returns a dispenser that stands at the option that names a node, for errors that
// name its line.
func (v *directive) at(option, node string) *caddyfile.Dispenser {
	segments := v.given[option]
	at := segments[len(segments)-1]
	for _, segment := range segments {
		if slices.ContainsFunc(segment[1:], func(token caddyfile.Token) bool { return token.Text == node }) {
			at = segment
		}
	}
	d := caddyfile.NewDispenser(at)
	d.Next()
	return d
}

// dispense makes a directive of arguments and the lines of a block.
func (v *directive) dispense(arguments, block []caddyfile.Token) *caddyfile.Dispenser {
	line := append([]caddyfile.Token{v.name}, arguments...)
	return caddyfile.NewDispenser(withBlock(line, v.opening, block))
}

// proxy parses the proxy and fills in what the user left open.
func (v *directive) proxy(h httpcaddyfile.Helper, policy *Policy) (*reverseproxy.Handler, error) {
	proxy := new(reverseproxy.Handler)
	if err := proxy.UnmarshalCaddyfile(v.dispense(v.nodes, v.subdirectives)); err != nil {
		return nil, v.explain(err)
	}
	if err := proxy.FinalizeUnmarshalCaddyfile(h); err != nil {
		return nil, err
	}
	if proxy.DynamicUpstreamsRaw != nil {
		flat, err := lookup.Flatten(proxy.DynamicUpstreamsRaw)
		if err != nil {
			return nil, err
		}
		sources := &Upstreams{SourcesRaw: flat}
		for _, standby := range policy.Standby {
			sources.Nodes = append(sources.Nodes, standby.Nodes...)
		}
		proxy.DynamicUpstreamsRaw = caddyconfig.JSONModuleObject(sources, "source", "tigergraph", nil)
	}
	v.completeLoadBalancing(proxy)
	return proxy, v.completeTransport(proxy)
}

// explain says what may be written instead of a word that nobody knows.
func (v *directive) explain(err error) error {
	for name, segments := range v.given {
		if strings.HasPrefix(err.Error(), "unrecognized subdirective "+name+",") {
			d := caddyfile.NewDispenser(segments[0])
			d.Next()
			return d.Errf("unrecognized option '%s': %s", name, options.Hint(name))
		}
	}
	return err
}

func (v *directive) isGiven(name string) bool { return v.given[name] != nil }
