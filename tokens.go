package tigergraph

import (
	"time"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/affinity"
)

// readyCookies makes the cookies' tokens if their key has to come from storage.
func (p *Policy) readyCookies() error {
	if p.cookie == nil || p.roster.Load().tokens != nil {
		return nil
	}
	key, err := p.app.key.load(p.app.ctx)
	if err != nil {
		return err
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
	epoch := affinity.Epoch(now, p.cookie.lifetime)
	if current := p.roster.Load(); current.tokens == nil || current.tokens.Epoch() != epoch {
		renewed := *current
		renewed.issue(p, epoch)
		p.roster.Store(&renewed)
	}
	return affinity.EpochEnd(epoch, p.cookie.lifetime).Sub(now)
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
	r.cookies = make([]cookieLines, len(r.members))
	for i, m := range r.members {
		if m != nil {
			r.cookies[i] = p.cookie.lines(r.tokens.Current(i))
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
