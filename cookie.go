package tigergraph

import (
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/affinity"
	"github.com/caddy-tigergraph/caddy-tigergraph/internal/settings"
)

// Cookie configures the cookie that pins a browser to its node. It is always
// HttpOnly, and Secure if the client came over TLS, to Caddy or to a trusted
// proxy in front of it.
type Cookie struct {
	// The cookie's name. Default: `TigerGraphNode`, or
	// `TigerGraphNode_<cluster>` where the cluster has a name of its own. A name that begins with
	// `__Host-` or `__Secure-` works over TLS only.
	Name string `json:"name,omitempty"`

	// The keys that make the cookie's value opaque and unforgeable. Cookies are
	// made with the first; those of the others are still honoured and replaced,
	// so that keys can be rotated without losing a session. Placeholders such as
	// `{env.COOKIE_KEY}` and `{file./run/secrets/cookie_key}` are expanded.
	// Default: a key that is generated once and kept in Caddy's storage, which
	// edges that share a storage share. A storage that loses it gets it back when
	// the configuration is reloaded; to have another made, remove
	// `tigergraph/cookie.key` there and restart Caddy.
	Secrets []string `json:"secrets,omitempty"`

	// How long a cookie's value is valid: for what is left of this time, counted
	// from 1970 in whole multiples, and for one more. A value in use is renewed.
	// Another lifetime makes the values that are there invalid, as another name
	// does: browsers are placed anew. At least 1s. Default: 24h.
	Lifetime caddy.Duration `json:"lifetime,omitempty"`

	// Whether the browser keeps the cookie when it is closed, for as long as its
	// value is valid: one to two lifetimes, but for no longer than the browser keeps
	// any cookie (400 days, most of them). Default: false, which makes it a session
	// cookie.
	Persistent bool `json:"persistent,omitempty"`

	// The cookie's domain. Default: none, so that only this host gets it.
	Domain string `json:"domain,omitempty"`

	// The cookie's path. Requests outside it come without the cookie: they are those
	// of a browser without a node, and their answers set one only where the request
	// had no cookie at all. Default: `/`.
	Path string `json:"path,omitempty"`

	// The cookie's SameSite attribute: `lax`, `strict` or `none`. Default: `none`
	// over TLS, for a single sign-on returns to TigerGraph by a cross-site POST,
	// and `lax` over plain HTTP. `none` over plain HTTP is sent as `lax`, because
	// browsers drop such a cookie.
	SameSite string `json:"same_site,omitempty"`
}

// plain returns what the cookie is set to, as plain values.
func (c *Cookie) plain() *settings.Cookie {
	return &settings.Cookie{
		Name: c.Name, Secrets: c.Secrets, Lifetime: time.Duration(c.Lifetime), Persistent: c.Persistent,
		Domain: c.Domain, Path: c.Path, SameSite: c.SameSite,
	}
}

// form fills in the defaults. The keys are nil where one has to be generated.
func (c *Cookie) form() (form *affinity.Form, keys [][]byte, err error) {
	plain := c.plain()
	if err := plain.Check(); err != nil {
		return nil, nil, err
	}
	replacer := caddy.NewReplacer()
	keys, err = settings.Keys(plain.Secrets, func(secret string) (string, error) { return replacer.ReplaceOrErr(secret, true, true) })
	return plain.Form(), keys, err
}
