package tigergraph

import (
	"net/http"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/affinity"
	"github.com/caddy-tigergraph/caddy-tigergraph/internal/balance"
	"github.com/caddy-tigergraph/caddy-tigergraph/internal/service"
)

// pins are what a request's cookies of our name say.
type pins struct {
	// place is the pool's index of the first node that a valid one names and that
	// can serve; else of the first that is named; None if none is.
	place   int
	current bool // that cookie need not be replaced
	// several is whether there was more than one cookie, valid or not: a browser
	// keeps those apart that differ in domain or path.
	several bool
	// others are the nodes that further valid ones name.
	others []*member
}

// pinned is the node that a valid cookie names, in the roster that said so: in the next
// one its place may be another's, or nobody's.
type pinned struct {
	member  *member
	current bool
}

// cutCookies removes our cookies from the request, for the node must not see them,
// and returns what they say.
func (c *call) cutCookies() pins {
	found := pins{place: balance.None}
	values := c.request.Header["Cookie"]
	if len(values) == 0 {
		return found
	}
	var buffer [4]pinned
	count, valid := 0, buffer[:0]
	tokens := c.tokens()
	left := affinity.CutCookie(values, c.policy.cookie.Name, func(value string) {
		count++
		if tokens == nil || len(valid) == cap(valid) {
			return
		}
		pin, known := tokens.Lookup(value)
		if !known {
			// A dynamic pool may hold nodes that no request has met yet; after a
			// reload these are all.
			c.align()
			if c.roster.tokens == tokens {
				return
			}
			tokens = c.tokens()
			if pin, known = tokens.Lookup(value); !known {
				return
			}
		}
		valid = append(valid, pinned{c.roster.members[pin.Node], pin.Current})
	})
	found.several = count > 1
	for _, pin := range valid {
		place := c.position(pin.member)
		if place == balance.None { // it was removed from the pool
			continue
		}
		serves := !found.several || c.standing(place, nil).Serves()
		if found.place == balance.None || serves {
			found.place, found.current = place, pin.current
		}
		if serves {
			break
		}
	}
	for _, pin := range valid {
		if found.place != balance.None && pin.member != c.roster.byPool[found.place] {
			found.others = append(found.others, pin.member)
		}
	}
	if left == nil {
		delete(c.request.Header, "Cookie")
	} else {
		c.request.Header["Cookie"] = left
	}
	return found
}

// setCookie lets the answer pin a browser to a node. A browser that sent several
// cookies loses those that today's settings do not make.
func (c *call) setCookie(m *member, secure, pinned, several bool) {
	p := c.policy
	if p.cookie == nil || c.service != service.GUI || c.writer == nil || c.tokens() == nil {
		return
	}
	// Outside the path of the cookie, a browser cannot show the one that it may have,
	// and would lose it for another. What it has besides may be a session.
	if !several && (pinned || len(c.request.Header["Cookie"]) > 0) && !p.covers(c.request) {
		return
	}
	line := p.cookie.Lasting(c.roster.cookies[m.index].Line(secure), c.roster.tokens.Epoch(), time.Now())
	header := c.writer.Header()
	values := header["Set-Cookie"]
	if values == nil && !several {
		header["Set-Cookie"] = []string{line}
		return
	}
	values = affinity.ReplaceCookie(values, p.cookie.Name, "")
	if several {
		values = append(values, p.staleCookies(c.request, secure)...)
	}
	header["Set-Cookie"] = append(values, line)
}

// takeBackCookie removes the cookie that an earlier attempt left.
func (c *call) takeBackCookie() {
	if c.policy.cookie != nil && c.writer != nil {
		takeBackCookie(c.writer.Header(), c.policy)
	}
}

// takeBackCookie removes a policy's cookie from a response.
func takeBackCookie(header http.Header, p *Policy) {
	if values := affinity.ReplaceCookie(header["Set-Cookie"], p.cookie.Name, ""); len(values) > 0 {
		header["Set-Cookie"] = values
	} else {
		delete(header, "Set-Cookie")
	}
}

// covers reports whether a browser would send the policy's cookie with this request.
func (p *Policy) covers(r *http.Request) bool {
	return p.cookie.Plain.Path == "/" || p.cookie.Covers(originalPath(r))
}

// staleCookies returns lines of Set-Cookie that end the cookies of the policy's name which
// other settings have made, for an answer to this request. The proxy may have rewritten
// its host; the browser knows the first one.
func (p *Policy) staleCookies(r *http.Request, secure bool) (lines []string) {
	host := r.Host
	if replacer, ok := r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer); ok {
		if first, found := replacer.GetString("http.request.host"); found {
			host = first
		}
	}
	return p.cookie.Stale(host, originalPath(r), secure)
}

// originalPath returns the path of a request as the browser knows it: the site may have
// rewritten it.
func originalPath(r *http.Request) string {
	if original, ok := r.Context().Value(caddyhttp.OriginalRequestCtxKey).(http.Request); ok && original.URL != nil {
		return original.URL.EscapedPath()
	}
	return r.URL.EscapedPath()
}
