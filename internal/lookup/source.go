// Package lookup keeps the last good answers of sources that say which nodes there are:
// one that fails, knows nothing any more or is silent takes no node away.
package lookup

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"
)

const (
	// FirstTimeout is how long requests wait for the first answer of a source.
	FirstTimeout = 3 * time.Second
	// Timeout is how long a source is asked: longer, for resolvers ask a second server
	// after a while.
	Timeout = 10 * time.Second
	// Retry is when a source is asked again that failed, at the latest.
	Retry = 5 * time.Second
	// DefaultRefresh is how long an answer is good where nobody says so, as in Caddy.
	DefaultRefresh = time.Minute
	// staleAfter is how long after its refresh an answer is old for sure: Caddy's sources
	// keep it for so long.
	staleAfter = 50 * time.Millisecond
)

// Answers are what is known of a source, whatever the configuration is.
type Answers struct {
	// Name is what the source is called.
	Name string

	// last are the addresses of the last good answer, nil until there was one.
	last   atomic.Pointer[[]string]
	failed atomic.Bool // the last look-up
	// first is closed when the first look-up is over, or has taken too long.
	first    chan struct{}
	endFirst sync.Once
}

// NewAnswers returns those of a source that nobody has asked yet.
func NewAnswers(name string) *Answers { return &Answers{Name: name, first: make(chan struct{})} }

// endWaiting lets requests wait no longer for the first answer.
func (a *Answers) endWaiting() { a.endFirst.Do(func() { close(a.first) }) }

// Observer is told what comes of asking a source.
type Observer interface {
	// Answered tells of a good answer. It is one again if the last look-up failed.
	Answered(nodes []string, again bool)
	// Failed tells of a look-up that failed. It is the first of several in a row or not,
	// and there is an earlier answer or not.
	Failed(reason error, first, known bool)
	// Panicked tells of a source that panicked, which is a failure as any other.
	Panicked(value any, stack []byte)
}

// Source is a source as one configuration has it.
type Source struct {
	answers  *Answers
	refresh  time.Duration
	ask      func(context.Context) (nodes []string, err error)
	observer Observer
	begun    sync.Once
}

// NewSource returns a source whose answers are kept, and which is asked by a function at
// the rhythm of its refresh.
func NewSource(answers *Answers, refresh time.Duration, ask func(context.Context) ([]string, error), observer Observer) *Source {
	return &Source{answers: answers, refresh: refresh, ask: ask, observer: observer}
}

// Begin has the source asked in the background, until the context of its configuration
// ends. Only the first call counts.
func (s *Source) Begin(configuration context.Context) {
	s.begun.Do(func() {
		time.AfterFunc(FirstTimeout, s.answers.endWaiting)
		go s.keepAsking(configuration)
	})
}

// Last returns the last good answer. Only while nobody knows anything yet, it waits.
func (s *Source) Last(request context.Context) (nodes []string, err error) {
	if nodes := s.answers.last.Load(); nodes != nil {
		return *nodes, nil
	}
	select {
	case <-s.answers.first:
	case <-request.Done():
	}
	if nodes := s.answers.last.Load(); nodes != nil {
		return *nodes, nil
	}
	return nil, fmt.Errorf("the source '%s' has given no nodes yet", s.answers.Name)
}

// Known returns the last good answer, nil if there was none.
func (s *Source) Known() []string {
	if nodes := s.answers.last.Load(); nodes != nil {
		return *nodes
	}
	return nil
}

func (s *Source) keepAsking(configuration context.Context) {
	for {
		wait := s.refresh + staleAfter
		if !s.askOnce(configuration) {
			wait = min(wait, Retry)
		}
		s.answers.endWaiting()
		select {
		case <-configuration.Done():
			return
		case <-time.After(wait):
		}
	}
}

// askOnce asks the source, and reports whether it has given nodes.
func (s *Source) askOnce(configuration context.Context) (has bool) {
	defer func() {
		if panicked := recover(); panicked != nil { // in the observer
			has = false
			defer func() { _ = recover() }()
			s.observer.Panicked(panicked, debug.Stack())
		}
	}()
	ctx, cancel := context.WithTimeout(configuration, Timeout)
	defer cancel()
	nodes, err := s.nodes(ctx)
	if configuration.Err() != nil {
		return true // the configuration has ended, and with it the look-up
	}
	if err == nil && len(nodes) == 0 {
		err = errors.New("the answer has no nodes")
	}
	if err != nil {
		s.observer.Failed(err, !s.answers.failed.Swap(true), s.answers.last.Load() != nil)
		return false
	}
	s.answers.last.Store(&nodes)
	s.observer.Answered(nodes, s.answers.failed.Swap(false))
	return true
}

// nodes asks the source. If it panics, that is a failure as any other: it is asked
// again.
func (s *Source) nodes(ctx context.Context) (nodes []string, err error) {
	defer func() {
		if panicked := recover(); panicked != nil {
			s.observer.Panicked(panicked, debug.Stack())
			nodes, err = nil, errors.New("the source panicked")
		}
	}()
	return s.ask(ctx)
}
