package tgnode

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"strconv"
	"sync"
	"sync/atomic"
	"time"
)

// Options describe a node. Its zero value is a healthy node of version 4.x.
// All but Name and Address can be changed at run time with [Node.Update].
type Options struct {
	Name    string // default m1, m2, ...
	Address string // default 127.0.0.1:0

	// TLS makes the port speak TLS. Plain HTTP then gets nginx's 400.
	TLS *tls.Config
	// NoRecord keeps requests and executions only as counters, for benchmarks.
	NoRecord bool
	// Journal, if set, is told what every request comes to, before it is answered:
	// an entry when it reaches its service, another when that does the work. It is
	// called concurrently.
	Journal func(Entry)

	// NoGUI and NoGSQL are nodes beyond the third and the fifth, which have no
	// such server: nginx answers 502.
	NoGUI, NoGSQL bool
	// GUIFrom is another node whose GUI this node's nginx uses, as the balancing
	// nginx of newer versions may.
	GUIFrom *Node
	// NoGSQLRoutes is an nginx that has no route for /gsql/v1 and /gsql/scim: 404.
	NoGSQLRoutes bool
	// Streaming is an nginx that lets WebSocket and the GUI's server-sent events
	// through. The documented one drops Upgrade and buffers the GUI's answers.
	Streaming bool
	// RequireAuth makes GSQL and RESTPP answer 401 without Authorization.
	RequireAuth bool

	// Index is the page at /.
	Index []byte
	// Ping is the answer to GET /api/ping; default PingDocumented.
	Ping PingForm
	// SameSite is that of the GUI's cookie; default Strict.
	SameSite string

	// GSQLSessionHeader is the field, in this very case, that carries a new GSQL
	// session: Set-GSQL-Cookie (the default), or Set-Cookie up to 3.6.1.
	GSQLSessionHeader string

	// AsyncKey is the key of the id in the answer to an asynchronous query:
	// requestid (the default) or request_id.
	AsyncKey string
	// SameAsyncIDs makes every node call itself RESTPP_1_1 in these ids.
	SameAsyncIDs bool
	// AsyncExpiry is how long results are kept; default 48h.
	AsyncExpiry time.Duration

	// IdleTimeout and MaxRequests end a kept-alive connection; default 900s, 1000.
	IdleTimeout time.Duration
	MaxRequests int
	// MaxBody is the limit of a request's body; default 200 MB.
	MaxBody int64
}

func (o Options) withDefaults() Options {
	o.SameSite = orDefault(o.SameSite, "Strict")
	o.GSQLSessionHeader = orDefault(o.GSQLSessionHeader, "Set-GSQL-Cookie")
	o.AsyncKey = orDefault(o.AsyncKey, "requestid")
	o.AsyncExpiry = orDefault(o.AsyncExpiry, 48*time.Hour)
	o.IdleTimeout = orDefault(o.IdleTimeout, 900*time.Second)
	o.MaxRequests = orDefault(o.MaxRequests, 1000)
	o.MaxBody = orDefault(o.MaxBody, 200<<20)
	return o
}

func orDefault[T comparable](value, def T) T {
	var zero T
	if value == zero {
		return def
	}
	return value
}

// requestsKept bounds the requests that a node remembers.
const requestsKept = 10_000

// Node is one machine of a cluster.
type Node struct {
	name    string
	number  int // counts from 1
	cluster *Cluster

	options   atomic.Pointer[Options] // never changed in place
	updating  sync.Mutex
	faults    [All + 1]atomic.Pointer[[]*activeFault]
	downUntil [All]atomic.Int64 // restarting services, in Unix nanoseconds
	freezer   freezer
	counts    [All]atomic.Int64
	accepted  atomic.Int64
	on        atomic.Bool // machine is not nil, for handlers, which Stop waits for

	gui    guiServer
	gsql   gsqlServer
	restpp restppServer

	mu       sync.Mutex // guards what follows, and is held while starting and stopping
	addr     string
	machine  *machine // nil while switched off
	reserved func()   // gives up the port that a stopped node holds
	closed   bool

	requestsMu sync.Mutex
	requests   recent[Request]
}

func newNode(c *Cluster, number int, options Options) *Node {
	n := &Node{
		name:     orDefault(options.Name, "m"+strconv.Itoa(number)),
		number:   number,
		cluster:  c,
		addr:     orDefault(options.Address, "127.0.0.1:0"),
		requests: recent[Request]{limit: requestsKept},
	}
	options = options.withDefaults()
	n.options.Store(&options)
	n.gui.clear()
	n.gsql.clear()
	return n
}

// Name returns the node's name.
func (n *Node) Name() string { return n.name }

// Addr returns host:port, which stays the same over Stop and Start.
func (n *Node) Addr() string {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.addr
}

// Update changes the node's options.
func (n *Node) Update(change func(*Options)) {
	n.updating.Lock()
	defer n.updating.Unlock()
	options := *n.options.Load()
	change(&options)
	options = options.withDefaults()
	n.options.Store(&options)
}

// Start switches the machine on. It is a no-op for one that runs.
func (n *Node) Start() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.closed {
		return errors.New("node is closed")
	}
	if n.machine != nil {
		return nil
	}
	listener, err := net.Listen("tcp", n.addr)
	if err != nil {
		return fmt.Errorf("node %s: %w", n.name, err)
	}
	if n.reserved != nil {
		n.reserved()
		n.reserved = nil
	}
	n.addr = listener.Addr().String()
	n.machine = newMachine(n, listener.(*net.TCPListener))
	n.on.Store(true)
	return nil
}

// Stop switches the machine off: the port refuses, open connections are reset,
// and the sessions of its GUI and GSQL servers are gone.
func (n *Node) Stop() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.stop()
	if n.reserved == nil && !n.closed {
		// Nobody else shall be given the port meanwhile. Where this does not
		// work the port may be lost, and Start then says so.
		n.reserved, _ = reservePort(n.addr)
	}
}

func (n *Node) stop() {
	n.thaw()
	n.on.Store(false)
	if n.machine != nil {
		n.machine.shutDown()
		n.machine = nil
	}
	n.gui.clear()
	n.gsql.clear()
}

// Close switches the machine off for good. No goroutine of it is left.
func (n *Node) Close() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.closed = true
	n.stop()
	if n.reserved != nil {
		n.reserved()
		n.reserved = nil
	}
}

// Restart restarts a service, or all of them: its sessions are gone, and
// nginx answers 502 for the time of the outage.
func (n *Node) Restart(service Service, outage time.Duration) {
	until := time.Now().Add(outage).UnixNano()
	for s := GUI; s < All; s++ {
		if service == s || service == All {
			n.downUntil[s].Store(until)
		}
	}
	if service == GUI || service == All {
		n.gui.clear()
	}
	if service == GSQL || service == All {
		n.gsql.clear()
	}
}

// SetFault makes a service fail, or the whole node with All, until ClearFaults.
// It replaces the faults set before for this service; of several the first
// that applies to a request wins, those of All last.
func (n *Node) SetFault(service Service, faults ...Fault) {
	active := make([]*activeFault, len(faults))
	for i, f := range faults {
		active[i] = &activeFault{Fault: f}
	}
	n.faults[service].Store(&active)
}

// ClearFaults makes all services well again.
func (n *Node) ClearFaults() {
	for i := range n.faults {
		n.faults[i].Store(nil)
	}
}

// faultFor returns the fault that this request meets, if any.
func (n *Node) faultFor(service Service, path string, reused bool) *Fault {
	for _, s := range [...]Service{service, All} {
		faults := n.faults[s].Load()
		if faults == nil {
			continue
		}
		for _, f := range *faults {
			if f.applies(path, reused) {
				return &f.Fault
			}
		}
	}
	return nil
}

// serves tells whether the service's process lives.
func (n *Node) serves(service Service) bool {
	if !n.on.Load() || !n.hosts(service) {
		return false
	}
	faults := n.faults[service].Load()
	if faults == nil {
		return true
	}
	for _, f := range *faults {
		if f.Mode == Dead && f.Path == "" && f.Connection == AnyConnection && f.Times == 0 && f.Sequence == "" {
			return false
		}
	}
	return true
}

// hosts tells whether the node has the service and is not restarting it.
func (n *Node) hosts(service Service) bool {
	options := n.options.Load()
	if service == GUI && options.NoGUI || service == GSQL && options.NoGSQL {
		return false
	}
	until := n.downUntil[service].Load()
	return until == 0 || time.Now().UnixNano() >= until
}

// Freeze makes the machine accept connections without reading a byte from new
// or open ones; answers under way are finished. Thaw ends it.
func (n *Node) Freeze() { n.freezer.freeze() }

// Blackhole makes the network drop what is sent to the machine: dialling it
// times out, and open connections are silent. Thaw ends it. Where the system
// has no way to do it the error is errors.ErrUnsupported.
func (n *Node) Blackhole() error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.machine == nil {
		return errors.New("node is switched off")
	}
	n.freezer.freeze()
	if err := n.machine.dropPackets(); err != nil {
		n.thaw()
		return fmt.Errorf("node %s: %w", n.name, err)
	}
	return nil
}

// Thaw ends Freeze and Blackhole.
func (n *Node) Thaw() {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.thaw()
}

func (n *Node) thaw() {
	if n.machine != nil {
		n.machine.receivePackets()
	}
	n.freezer.thaw()
}

// ResetConnections resets all open connections.
func (n *Node) ResetConnections() {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.machine != nil {
		n.machine.resetConnections()
	}
}

// Connections returns the number of open connections.
func (n *Node) Connections() int {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.machine == nil {
		return 0
	}
	return n.machine.open()
}

// Accepted returns how many connections were accepted so far.
func (n *Node) Accepted() int { return int(n.accepted.Load()) }

// Sessions returns the number of GUI sessions that live on the node.
func (n *Node) Sessions() int { return n.gui.count() }

// Count returns how many requests arrived for a service, or with All in total.
func (n *Node) Count(service Service) int {
	if service < All {
		return int(n.counts[service].Load())
	}
	total := 0
	for i := range n.counts {
		total += int(n.counts[i].Load())
	}
	return total
}

// Requests returns what arrived, oldest first; of very many the newest.
func (n *Node) Requests() []Request {
	n.requestsMu.Lock()
	defer n.requestsMu.Unlock()
	return n.requests.all()
}

// ResetRequests forgets the requests and their counts.
func (n *Node) ResetRequests() {
	n.requestsMu.Lock()
	defer n.requestsMu.Unlock()
	n.requests.reset()
	for i := range n.counts {
		n.counts[i].Store(0)
	}
}

// arrived counts and records a request for a service.
func (n *Node) arrived(c *connection, options *Options) {
	n.counts[c.request.service].Add(1)
	if options.NoRecord {
		return
	}
	record := Request{
		Time:       time.Now(),
		Service:    c.request.service,
		Method:     c.request.method,
		Target:     c.request.target,
		Protocol:   c.request.protocol,
		Fields:     append([]Field(nil), c.request.fields...),
		Peer:       c.peer(),
		Connection: c.number,
		Sequence:   c.served,
	}
	n.requestsMu.Lock()
	defer n.requestsMu.Unlock()
	n.requests.add(record)
}
