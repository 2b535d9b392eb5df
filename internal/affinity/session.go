package affinity

import (
	"hash/maphash"
	"iter"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jellydator/ttlcache/v3"
)

// Sessions knows which nodes GSQL sessions were begun on. Of a session's id a keyed
// hash is remembered and nothing else: what stands beside the id in a client's
// header are credentials.
type Sessions struct {
	seed maphash.Seed
	// nodes are addresses by the hash: several where clusters have given one id.
	nodes *ttlcache.Cache[uint64, []string]
	used  atomic.Bool
	// changing is held while an id gets another node: two may give it at once.
	changing sync.Mutex
}

// mostNodesOfSession is how many nodes one id may have.
const mostNodesOfSession = 4

// NewSessions returns a memory for so many sessions, each of which is kept for so
// long after its last use.
func NewSessions(keep time.Duration, most uint64) *Sessions {
	return &Sessions{seed: maphash.MakeSeed(), nodes: ttlcache.New(
		ttlcache.WithTTL[uint64, []string](keep),
		ttlcache.WithCapacity[uint64, []string](most),
	)}
}

// Remember notes on which node a session was begun. What is empty is no id.
func (s *Sessions) Remember(id, address string) {
	if id == "" {
		return
	}
	s.changing.Lock()
	defer s.changing.Unlock()
	key := maphash.String(s.seed, id)
	addresses := []string{address}
	if item := s.nodes.Get(key); item != nil {
		if item.Value()[0] == address {
			return
		}
		for _, other := range item.Value() {
			if other != address && len(addresses) < mostNodesOfSession {
				addresses = append(addresses, other)
			}
		}
	}
	s.nodes.Set(key, addresses, ttlcache.DefaultTTL)
	s.used.Store(true)
}

// Nodes returns the addresses of the nodes that a session with this id was begun on,
// the latest first.
func (s *Sessions) Nodes(id string) iter.Seq[string] {
	return func(yield func(string) bool) {
		if id == "" || !s.used.Load() { // as long as there are none, they cost no lock
			return
		}
		item := s.nodes.Get(maphash.String(s.seed, id))
		if item == nil {
			return
		}
		for _, address := range item.Value() {
			if !yield(address) {
				return
			}
		}
	}
}

// Len returns how many sessions are remembered.
func (s *Sessions) Len() int { return s.nodes.Len() }

// Tidy frees the memory of sessions that nobody uses any more.
func (s *Sessions) Tidy() { s.nodes.DeleteExpired() }

// SessionID returns the id of the GSQL session in the raw JSON that the client and
// the server send each other in a header, "" if there is none.
func SessionID(json string) string {
	const key = `"sessionId"`
	before, rest, found := strings.Cut(json, key)
	if !found || !strings.Contains(before, "{") {
		return ""
	}
	rest, found = strings.CutPrefix(strings.TrimLeft(rest, " \t"), ":")
	if !found {
		return ""
	}
	rest = strings.TrimLeft(rest, " \t")
	if quoted, found := strings.CutPrefix(rest, `"`); found {
		id, _, closed := strings.Cut(quoted, `"`)
		if !closed || strings.Contains(id, `\`) {
			return ""
		}
		return id
	}
	end := strings.IndexFunc(rest, func(c rune) bool { return c < '0' || c > '9' })
	if end < 0 {
		end = len(rest)
	}
	return rest[:end]
}
