package tigergraph

import (
	"time"

	"go.uber.org/zap"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/affinity"
	"github.com/caddy-tigergraph/caddy-tigergraph/internal/cookiekey"
)

// readyCookies makes the cookies' tokens if their key has to come from storage.
func (p *Policy) readyCookies() error {
	if p.cookie == nil || p.roster.Load().tokens != nil {
		return nil
	}
	key, kept, err := p.app.key.Load(p.app.ctx, &p.app.fleet.Keys)
	if err != nil {
		return err
	}
	if kept != nil {
		p.app.logger.Warn("the cookie key in Caddy's storage cannot be read or kept; the known one stays in force until Caddy is restarted",
			zap.String("file", cookiekey.Path), zap.Error(kept))
	}
	p.mu.Lock()
	p.keys = [][]byte{key}
	p.mu.Unlock()
	p.renewTokens(time.Now())
	return nil
}

// renewTokens makes the tokens of the present epoch unless they are there, and
// returns how long they will do.
func (p *Policy) renewTokens(now time.Time) time.Duration {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.keys == nil {
		return longestRefresh
	}
	epoch := affinity.Epoch(now, p.cookie.Lifetime)
	if current := p.roster.Load(); current.tokens == nil || current.tokens.Epoch() != epoch {
		renewed := *current
		renewed.issue(p, epoch)
		p.roster.Store(&renewed)
	}
	return affinity.EpochEnd(epoch, p.cookie.Lifetime).Sub(now)
}

// issue makes the tokens and cookies of an epoch.
func (r *roster) issue(p *Policy, epoch int64) {
	addresses := make([]string, len(r.members))
	for i, m := range r.members {
		if m != nil {
			addresses[i] = m.Address
		}
	}
	r.tokens = affinity.NewTokens(p.keys, epoch, addresses)
	r.cookies = make([]affinity.Lines, len(r.members))
	for i, m := range r.members {
		if m != nil {
			r.cookies[i] = p.cookie.Lines(r.tokens.Current(i))
		}
	}
}

// tokens returns the valid tokens. The server may get a request before the app
// has started and read their key; the request waits for that.
func (c *call) tokens() *affinity.Tokens {
	if c.roster.tokens == nil {
		if err := c.policy.readyCookies(); err != nil {
			return nil // the app's start fails with the same error
		}
		c.roster, c.aligned = c.policy.roster.Load(), false
	}
	return c.roster.tokens
}
