package tigergraph

import (
	"net/http"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/asyncquery"
	"github.com/caddy-tigergraph/caddy-tigergraph/internal/response"
)

// responseWriter adjusts the header of a response right before it goes out.
type responseWriter struct {
	caddyhttp.ResponseWriterWrapper
	request     *http.Request
	wroteHeader bool
	// submission is the answer to the submission of an asynchronous query, until
	// its id is known.
	submission *asyncquery.Response
	// before is what the site had set on the response, and final what an
	// informational one must not take away from it.
	before response.Before
	final  http.Header
}
