package asyncquery

import (
	"context"
	"encoding/json"
	"hash/maphash"
	"io"
	"net/url"
	"slices"
	"sync"
	"time"

	"github.com/caddy-tigergraph/caddy-tigergraph/internal/service"
)

// An id that nobody remembers, of a query that another edge or an earlier process
// submitted, is looked for at all nodes. The bounds of that:
const (
	// searchTimeout is how long a node may take to say whether it knows a query.
	searchTimeout = 2 * time.Second
	// searchAgain is how long nobody looks for a query again.
	searchAgain = 2 * time.Second
	// mostSearches is how many searches there are at a time.
	mostSearches = 100
	// mostSearched is how many queries are known to have been looked for in vain.
	mostSearched = 1 << 13
	// mostShare is how much of either one client may have, as one part of so many: who
	// asks for what nobody knows, while a node is silent, keeps nobody else from asking.
	mostShare = 2
	// tidyAgain is how long to wait before old searches are cleared out again.
	tidyAgain = 100 * time.Millisecond
	// mostTarget is how long what is sent with a search may be. The node's nginx takes
	// no header field that is longer.
	mostTarget = 8 << 10
	// mostAnswer is how much of a node's answer is read.
	mostAnswer = 64 << 10
)

// Searches keeps searches for unknown queries within bounds, however many clients
// ask. The zero value is ready to use. Searches are known by a keyed hash of what is
// looked for: clients choose how long that is, and credentials are a part of it.
type Searches struct {
	begin   sync.Once
	seed    maphash.Seed
	mu      sync.Mutex
	running map[uint64]chan struct{}
	ended   map[uint64]ended
	shares  map[uint64]share // by client
	tidied  time.Time
}

// ended is a search that is over.
type ended struct {
	at     time.Time
	client uint64
}

// share is how many of the searches are one client's.
type share struct{ running, ended int }

// Do looks for a query by calling search, unless that has been done within the last
// two seconds, or too many searches are going on, or too many of this client's. If
// somebody else is at it, Do waits for them. It reports whether a search has ended
// since it was called.
func (s *Searches) Do(client uint64, id string, search func()) bool {
	s.begin.Do(func() {
		s.seed = maphash.MakeSeed()
		s.running, s.ended, s.shares = make(map[uint64]chan struct{}), make(map[uint64]ended), make(map[uint64]share)
	})
	key := maphash.String(s.seed, id)
	s.mu.Lock()
	if running := s.running[key]; running != nil {
		s.mu.Unlock()
		<-running
		return true
	}
	if !s.mayBegin(client, key, time.Now()) {
		s.mu.Unlock()
		return false
	}
	done := make(chan struct{})
	s.running[key] = done
	s.count(client, 1, 0)
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		delete(s.running, key)
		s.forget(key) // of the search before, whoever's that was
		s.ended[key] = ended{time.Now(), client}
		s.count(client, -1, 1)
		close(done)
	}()
	search()
	return true
}

// mayBegin reports whether a search may begin. The caller holds mu.
func (s *Searches) mayBegin(client, key uint64, now time.Time) bool {
	if last, known := s.ended[key]; known && now.Sub(last.at) < searchAgain {
		return false
	}
	if len(s.running) >= mostSearches || s.shares[client].running >= mostSearches/mostShare {
		return false
	}
	if !s.isFull(client) {
		return true
	}
	if now.Sub(s.tidied) < tidyAgain {
		return false
	}
	s.tidied = now
	for old, last := range s.ended {
		if now.Sub(last.at) >= searchAgain {
			s.forget(old)
		}
	}
	return !s.isFull(client)
}

// isFull reports whether as many searches are over as may be. The caller holds mu.
func (s *Searches) isFull(client uint64) bool {
	return len(s.ended) >= mostSearched || s.shares[client].ended >= mostSearched/mostShare
}

// forget forgets a search that is over. The caller holds mu.
func (s *Searches) forget(key uint64) {
	if last, known := s.ended[key]; known {
		delete(s.ended, key)
		s.count(last.client, 0, -1)
	}
}

// count changes a client's share. The caller holds mu.
func (s *Searches) count(client uint64, running, ended int) {
	of := s.shares[client]
	of.running, of.ended = of.running+running, of.ended+ended
	if of == (share{}) {
		delete(s.shares, client)
		return
	}
	s.shares[client] = of
}

// Unknown returns the ids of queries that a request asks for, if it asks for any by
// id: one, or more, up to a few. "all" is no id, nor is what is longer than any.
func Unknown(query string) (found []string) {
	for id := range ids(query) {
		if id == "" || id == "all" || len(id) > longestID || slices.Contains(found, id) {
			continue
		}
		if found = append(found, id); len(found) == mostIDs {
			break
		}
	}
	return found
}

// mostIDs is how many ids of one request are looked for.
const mostIDs = 4

// First asks every one of so many at once whether it knows something, and returns the
// first that does, -1 if none does.
func First(ctx context.Context, count int, knows func(ctx context.Context, i int) bool) int {
	ctx, cancel := context.WithTimeout(ctx, searchTimeout)
	defer cancel()
	answers := make(chan int, count)
	for i := range count {
		go func() {
			if !knows(ctx, i) {
				i = -1
			}
			answers <- i
		}()
	}
	for range count {
		if i := <-answers; i >= 0 {
			return i
		}
	}
	return -1
}

// SearchTarget returns the path and the query by which a node is asked whether it
// knows an asynchronous query. The graph is named if the request names one.
func SearchTarget(path, query, id string) string {
	target := "/restpp/query_status?requestid=" + url.QueryEscape(id)
	if graph, _ := service.GraphAndQuery(path, query); graph != "" {
		target += "&graph_name=" + url.QueryEscape(graph)
	}
	return target
}

// MaySearch reports whether a node would take in a search that is sent with these
// credentials.
func MaySearch(target, authorization string) bool {
	return len(target)+len(authorization) <= mostTarget
}

// Knows reports whether a node's answer to a search says that it knows a query: its
// results name it.
func Knows(answer io.Reader, id string) bool {
	var said struct {
		Results []struct {
			RequestID  string `json:"requestid"`
			RequestID2 string `json:"request_id"`
		} `json:"results"`
		Unknown []string `json:"unknown_requestid"`
	}
	err := json.NewDecoder(io.LimitReader(answer, mostAnswer)).Decode(&said)
	if err != nil || id == "" || slices.Contains(said.Unknown, id) {
		return false
	}
	for _, result := range said.Results {
		if result.RequestID == id || result.RequestID2 == id {
			return true
		}
	}
	return false
}
