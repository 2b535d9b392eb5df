package tigergraph

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/affinity"
	"github.com/caddy-tigergraph/caddy-tigergraph/internal/environment"
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

// What a cookie is without settings.
const (
	defaultCookieName     = "TigerGraphNode"
	defaultCookieLifetime = 24 * time.Hour // as long as TigerGraph's own session
)

// cookieSettings is a Cookie with its defaults.
type cookieSettings struct {
	name     string
	lifetime time.Duration
	// persistent is whether browsers keep the cookie when they are closed, for as
	// long as its value is valid.
	persistent bool
	plain      http.Cookie // over plain HTTP, without a value
	secure     http.Cookie // over TLS
}

// cookieLines are the values of Set-Cookie that pin a client to a node.
type cookieLines struct{ plain, secure string }

func (c cookieLines) line(secure bool) string {
	if secure {
		return c.secure
	}
	return c.plain
}

// lines returns the values of Set-Cookie that carry a token.
func (s *cookieSettings) lines(token string) cookieLines {
	plain, secure := s.plain, s.secure
	plain.Value, secure.Value = token, token
	return cookieLines{plain: plain.String(), secure: secure.String()}
}

// lasting adds to a line of Set-Cookie how long its value is valid: to the end of
// the epoch after the one that it was made in.
func (s *cookieSettings) lasting(line string, epoch int64, now time.Time) string {
	if !s.persistent {
		return line
	}
	age := affinity.MaxAge(epoch, s.lifetime, now)
	return strings.Replace(line, "; HttpOnly", "; Max-Age="+strconv.FormatInt(age, 10)+"; HttpOnly", 1)
}

// stale returns lines of Set-Cookie that end the cookies of our name which other
// settings have made, for an answer to this request. The proxy may have rewritten its
// host; the browser knows the first one.
func (s *cookieSettings) stale(r *http.Request, secure bool) (lines []string) {
	today, host := s.plain, r.Host
	if secure {
		today = s.secure
	}
	if replacer, ok := r.Context().Value(caddy.ReplacerCtxKey).(*caddy.Replacer); ok {
		if first, found := replacer.GetString("http.request.host"); found {
			host = first
		}
	}
	return affinity.Variants(today, host, originalPath(r))
}

// originalPath returns the path of a request as the browser knows it: the site may have
// rewritten it.
func originalPath(r *http.Request) string {
	if original, ok := r.Context().Value(caddyhttp.OriginalRequestCtxKey).(http.Request); ok && original.URL != nil {
		return original.URL.EscapedPath()
	}
	return r.URL.EscapedPath()
}

// covers reports whether a browser would send the cookie with this request.
func (s *cookieSettings) covers(r *http.Request) bool {
	if s.plain.Path == "/" {
		return true
	}
	rest, below := strings.CutPrefix(originalPath(r), s.plain.Path)
	return below && (rest == "" || rest[0] == '/' || strings.HasSuffix(s.plain.Path, "/"))
}

// settings fills in the defaults. The keys are nil where one has to be
// generated.
func (c Cookie) settings() (*cookieSettings, [][]byte, error) {
	if err := c.check(); err != nil {
		return nil, nil, err
	}
	cookie := http.Cookie{Name: defaultCookieName, Path: "/", Domain: c.Domain, HttpOnly: true}
	if c.Name != "" {
		cookie.Name = c.Name
	}
	if c.Path != "" {
		cookie.Path = c.Path
	}
	lifetime := defaultCookieLifetime
	if c.Lifetime != 0 {
		lifetime = time.Duration(c.Lifetime)
	}
	settings := &cookieSettings{name: cookie.Name, lifetime: lifetime, persistent: c.Persistent, plain: cookie, secure: cookie}
	settings.secure.Secure = true
	settings.plain.SameSite, settings.secure.SameSite = http.SameSiteLaxMode, http.SameSiteNoneMode
	switch c.SameSite {
	case "lax":
		settings.secure.SameSite = http.SameSiteLaxMode
	case "strict":
		settings.plain.SameSite, settings.secure.SameSite = http.SameSiteStrictMode, http.SameSiteStrictMode
	}
	keys, err := expandSecrets(c.Secrets)
	return settings, keys, err
}

// check refuses what browsers or the lifetime's arithmetic would not bear.
func (c Cookie) check() error {
	if err := checkCookieName(c.Name); err != nil {
		return err
	}
	if err := checkCookieAttribute("domain", c.Domain, http.Cookie{Name: "n", Domain: c.Domain}); err != nil {
		return err
	}
	if err := checkCookieAttribute("path", c.Path, http.Cookie{Name: "n", Path: c.Path}); err != nil {
		return err
	}
	if c.Path != "" && !strings.HasPrefix(c.Path, "/") {
		return fmt.Errorf("path must begin with a slash, not '%s'", c.Path)
	}
	if strings.HasPrefix(c.Name, "__Host-") && (c.Domain != "" || c.Path != "" && c.Path != "/") {
		return fmt.Errorf("a cookie named '%s' must have the path '/' and no domain", c.Name)
	}
	if c.Lifetime != 0 {
		if err := checkLifetime(time.Duration(c.Lifetime)); err != nil {
			return err
		}
	}
	if slices.Contains(c.Secrets, "") {
		return errEmptySecret
	}
	return checkSameSite(c.SameSite)
}

var errEmptySecret = errors.New("secret must not be empty")

func checkCookieName(name string) error {
	if name == "" {
		return nil
	}
	if err := (&http.Cookie{Name: name}).Valid(); err != nil {
		return fmt.Errorf("'%s' cannot be the name of a cookie", name)
	}
	return nil
}

func checkCookieAttribute(option, value string, cookie http.Cookie) error {
	if err := cookie.Valid(); err != nil {
		return fmt.Errorf("%s '%s' is not valid in a cookie", option, value)
	}
	return nil
}

func checkLifetime(lifetime time.Duration) error {
	if lifetime < time.Second {
		return fmt.Errorf("lifetime must be at least 1s, not %s", lifetime)
	}
	return nil
}

func checkSameSite(value string) error {
	switch value {
	case "", "lax", "strict", "none":
		return nil
	}
	return fmt.Errorf("same_site must be 'lax', 'strict' or 'none', not '%s'", value)
}

// expandSecrets expands the placeholders of secrets. The errors name a secret by
// its number: they must not show one.
func expandSecrets(secrets []string) ([][]byte, error) {
	var keys [][]byte
	replacer := caddy.NewReplacer()
	for i, secret := range secrets {
		expanded, err := replacer.ReplaceOrErr(secret, true, true)
		if err != nil && isPlaceholder(secret) {
			return nil, fmt.Errorf("secret %d: %w", i+1, err)
		}
		if err != nil { // whose text would show a part of the secret
			return nil, fmt.Errorf("secret %d holds a placeholder that is unknown or empty", i+1)
		}
		if expanded == "" {
			return nil, fmt.Errorf("secret %d: %w", i+1, errEmptySecret)
		}
		if environment.IsPlaceholder(expanded) {
			return nil, fmt.Errorf("secret %d has a value that is a placeholder itself, which nothing expands: anybody could know it", i+1)
		}
		keys = append(keys, []byte(expanded))
	}
	return keys, nil
}

// isPlaceholder reports whether a secret is one placeholder and nothing else.
func isPlaceholder(secret string) bool {
	return strings.HasPrefix(secret, "{") && strings.IndexByte(secret, '}') == len(secret)-1
}
