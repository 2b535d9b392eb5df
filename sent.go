package tigergraph

import "net/http"

// sentKey is the placeholder that keeps a request as a proxy sends it, where that has
// settings of its own for the method or the path (`method`, `rewrite`).
const sentKey = "tigergraph.sent"

// leftKey is the placeholder that keeps a request as it was sent, where a node may have
// got it and must not get it twice.
const leftKey = "tigergraph.left"

// waitKey is the placeholder that keeps the URL by which a proxy could not send a request,
// as where a node's certificate is not the one expected. Another proxy's is another one.
const waitKey = "tigergraph.waiting"

func isWaiting(r *http.Request) bool { return noted(r, waitKey) == r.URL && noted(r, leftKey) == nil }

// asSent returns a request as the last proxy with a policy of ours sent it: what is done
// by it is told by that, not by what the client asked for.
func asSent(r *http.Request) *http.Request {
	if sent, is := noted(r, sentKey).(*http.Request); is {
		return sent
	}
	return r
}
