package balance

// Reason is why a node was chosen.
type Reason uint8

// The reasons. Those up to Spread are the usual ones, whose placeholders the root package
// makes beforehand: add others behind it.
const (
	// Cookie: the client's cookie names the node.
	Cookie Reason = iota
	// ClientIP: rendezvous hashing of the client's address names it.
	ClientIP
	// Header: rendezvous hashing of a header's value names it.
	Header
	// Spread: it had the fewest requests in flight for its weight.
	Spread
	// Session: the node knows the client's GSQL session.
	Session
	// RequestID: the node alone knows the asynchronous query that is asked about.
	RequestID
	// Moved: the client was moved there when its home could not be used.
	Moved
	// Fallback: the fallback policy chose it.
	Fallback
	// Failover: the client's own node, or one that was tried, could not be used.
	Failover
	// Standby: the active cluster could not serve what a standby may.
	Standby
	// FailOpen: no node of the service was better.
	FailOpen

	// Reasons is their number, for tables indexed by Reason.
	Reasons
)

var reasonNames = [Reasons]string{
	Cookie:    "cookie",
	ClientIP:  "client_ip",
	Header:    "header",
	Spread:    "spread",
	Session:   "session",
	RequestID: "request_id",
	Moved:     "moved",
	Fallback:  "fallback",
	Failover:  "failover",
	Standby:   "standby",
	FailOpen:  "fail_open",
}

// String returns the reason as logs and metrics have it.
func (r Reason) String() string { return reasonNames[r] }
