package settings

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/affinity"
)

// What a cookie is without settings.
const (
	defaultCookieName     = "TigerGraphNode"
	defaultCookieLifetime = 24 * time.Hour // as long as TigerGraph's own session
)

// Cookie is what a cookie is set to, as plain values.
type Cookie struct {
	Name                   string
	Secrets                []string
	Lifetime               time.Duration
	Persistent             bool
	Domain, Path, SameSite string
}

// Form returns the cookie without its value, with the defaults filled in.
func (c *Cookie) Form() *affinity.Form {
	cookie := http.Cookie{Name: cmp.Or(c.Name, defaultCookieName), Path: cmp.Or(c.Path, "/"), Domain: c.Domain, HttpOnly: true}
	form := &affinity.Form{Name: cookie.Name, Lifetime: cmp.Or(c.Lifetime, defaultCookieLifetime), Persistent: c.Persistent, Plain: cookie, Secure: cookie}
	form.Secure.Secure = true
	form.Plain.SameSite, form.Secure.SameSite = http.SameSiteLaxMode, http.SameSiteNoneMode
	switch c.SameSite {
	case "lax":
		form.Secure.SameSite = http.SameSiteLaxMode
	case "strict":
		form.Plain.SameSite, form.Secure.SameSite = http.SameSiteStrictMode, http.SameSiteStrictMode
	}
	return form
}

// Check refuses what browsers or the lifetime's arithmetic would not bear.
func (c *Cookie) Check() error {
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
		if err := CheckLifetime(c.Lifetime); err != nil {
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

// CheckLifetime refuses a lifetime that is too short for whole multiples of it.
func CheckLifetime(lifetime time.Duration) error {
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

// Keys returns the keys that secrets are, whose placeholders a function expands. The
// errors name a secret by its number: they must not show one.
func Keys(secrets []string, expand func(string) (string, error)) (keys [][]byte, err error) {
	for i, secret := range secrets {
		expanded, err := expand(secret)
		if err != nil && isOnePlaceholder(secret) {
			return nil, fmt.Errorf("secret %d: %w", i+1, err)
		}
		if err != nil { // whose text would show a part of the secret
			return nil, fmt.Errorf("secret %d holds a placeholder that is unknown or empty", i+1)
		}
		if expanded == "" {
			return nil, fmt.Errorf("secret %d: %w", i+1, errEmptySecret)
		}
		if LooksUnexpanded(expanded) {
			return nil, fmt.Errorf("secret %d has a value that is a placeholder itself, which nothing expands: anybody could know it", i+1)
		}
		keys = append(keys, []byte(expanded))
	}
	return keys, nil
}

// isOnePlaceholder reports whether a secret is one placeholder and nothing else.
func isOnePlaceholder(secret string) bool {
	return strings.HasPrefix(secret, "{") && strings.IndexByte(secret, '}') == len(secret)-1
}
