package tigergraph

import (
	"context"
	"net/http"
	"net/url"
	"runtime/debug"

	"go.uber.org/zap"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/asyncquery"
)

// searchQuery looks at all nodes for an asynchronous query that a request asks for by
// an id that nobody remembers: of another edge, or of an earlier process. It returns
// the node that knows it, nil if none does.
func (c *call) searchQuery() *member {
	if c.policy.host == nil || c.policy.host.Transport == nil {
		return nil
	}
	searches := &c.policy.app.memories.searches
	// Who may not see a query is told that there is none; that is nobody else's answer.
	authorization := c.request.Header.Get("Authorization")
	for _, id := range asyncquery.Unknown(c.request.URL.RawQuery) {
		if searches.Do(id+"\x00"+authorization, func() { c.search(id, authorization) }) {
			if m := c.rememberedHolder(); m != nil {
				return m
			}
		}
	}
	return nil
}

// search asks every node of the policy at once whether it knows a query, and remembers
// the first that does. It ends when that one has answered, or all have.
func (c *call) search(id, authorization string) {
	target, err := url.ParseRequestURI(asyncquery.SearchTarget(c.request.URL.Path, c.request.URL.RawQuery, id))
	if err != nil {
		return
	}
	// The answer serves others, so it is asked for although this client may leave.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(c.request.Context()), asyncquery.SearchTimeout)
	defer cancel()
	c.align()
	asked := 0
	answers := make(chan *member, len(c.roster.members))
	for _, m := range c.roster.members {
		if m == nil {
			continue
		}
		asked++
		go func() {
			knows := false
			defer func() {
				if panicked := recover(); panicked != nil {
					c.policy.logger.Error("search for an asynchronous query panicked",
						zap.String("node", m.address), zap.Any("error", panicked), zap.ByteString("stack", debug.Stack()))
				}
				if !knows {
					answers <- nil
				}
			}()
			if knows = c.policy.knowsQuery(ctx, m, target, authorization, id); knows {
				answers <- m
			}
		}()
	}
	for range asked {
		if m := <-answers; m != nil {
			c.policy.app.memories.queries.Remember(id, m.address)
			return
		}
	}
}

// knowsQuery asks one node. Of the client's request it gets the credentials and the
// graph, and nothing else.
func (p *Policy) knowsQuery(ctx context.Context, m *member, target *url.URL, authorization, id string) bool {
	node, err := dialInfo(m.dial)
	if err != nil {
		return false
	}
	header := http.Header{"Accept-Encoding": {"identity"}}
	if authorization != "" {
		header.Set("Authorization", authorization)
	}
	asker := Services{header: header}
	request, err := asker.request(ctx, p.host.Transport, node, target)
	if err != nil {
		return false
	}
	response, err := p.host.Transport.RoundTrip(request)
	if err != nil {
		return false
	}
	defer func() { _ = response.Body.Close() }()
	return response.StatusCode == http.StatusOK && asyncquery.Knows(response.Body, id)
}
