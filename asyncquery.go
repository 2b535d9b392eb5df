package tigergraph

import (
	"context"
	"net/http"
	"net/url"
	"runtime/debug"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/asyncquery"
	"github.com/caddy-tigergraph/caddy-tigergraph/internal/service"
)

// queryHolder returns the node that alone knows the asynchronous query a request
// is about, nil if it is about none that any node knows.
func (c *call) queryHolder() *member {
	if c.service != service.RESTPP || !asyncquery.IsFollowUp(c.request.URL.Path) || c.policy.app == nil {
		return nil
	}
	if m := c.rememberedHolder(); m != nil {
		return m
	}
	return c.searchQuery()
}

// rememberedHolder returns the node that is remembered for a query.
func (c *call) rememberedHolder() *member {
	for address := range c.policy.app.fleet.Queries.Nodes(c.request.URL.RawQuery) {
		if m := c.memberAt(address); m != nil {
			return m
		}
	}
	return nil
}

// searchQuery looks at all nodes for an asynchronous query that a request asks for by
// an id that nobody remembers: of another edge, or of an earlier process. It returns
// the node that knows it, nil if none does.
func (c *call) searchQuery() *member {
	if c.policy.host == nil || c.policy.host.Transport == nil {
		return nil
	}
	// A client that may not see a query is told that there is none, so the answer holds
	// only for requests with the same credentials.
	authorization := c.request.Header.Get("Authorization")
	// Searches are limited by the client's address, whatever the affinity: a client can
	// make up its header or cookie.
	address, _ := c.vars[caddyhttp.ClientIPVarKey].(string)
	client := c.policy.prefixes.Key(address)
	c.align()
	for _, id := range asyncquery.Unknown(c.request.URL.RawQuery) {
		s := search{
			policy: c.policy, members: c.searched(), id: id, authorization: authorization,
			target: asyncquery.SearchTarget(c.request.URL.Path, c.request.URL.RawQuery, id),
		}
		if !asyncquery.MaySearch(s.target, authorization) {
			continue
		}
		// The answer serves others, so it is asked for although this client may leave; and
		// a trace of the client's request would take the questions for that.
		if c.policy.app.fleet.Searches.Do(client, id+"\x00"+authorization, func() { s.run(context.Background()) }) {
			if m := c.rememberedHolder(); m != nil {
				return m
			}
		}
	}
	return nil
}

// searched returns the nodes that may get the client's credentials: those in the pool,
// for one that has left a dynamic pool may be somebody else by now, whose cluster is the
// active one or keeps its sessions.
func (c *call) searched() (members []*member) {
	for _, m := range c.roster.byPool {
		if m.cluster == c.roster.active || m.cluster == c.roster.kept {
			members = append(members, m)
		}
	}
	return members
}

// search is a search for an asynchronous query.
type search struct {
	policy                    *Policy
	members                   []*member
	id, authorization, target string
}

// run asks every node at once whether it knows the query, and remembers the first that
// does. It ends when that one has answered, or all have.
func (s *search) run(ctx context.Context) {
	target, err := url.ParseRequestURI(s.target)
	if err != nil {
		return
	}
	knows := func(ctx context.Context, i int) bool { return s.ask(ctx, s.members[i], target) }
	if i := asyncquery.First(ctx, len(s.members), knows); i >= 0 {
		s.policy.app.fleet.Queries.Remember(s.id, s.members[i].Address)
	}
}

// ask reports whether a node knows the query.
func (s *search) ask(ctx context.Context, m *member, target *url.URL) bool {
	defer func() {
		if panicked := recover(); panicked != nil {
			s.policy.logger.Error("search for an asynchronous query panicked",
				zap.String("node", m.Address), zap.Any("error", panicked), zap.ByteString("stack", debug.Stack()))
		}
	}()
	return s.policy.knowsQuery(ctx, m, target, s.authorization, s.id)
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
