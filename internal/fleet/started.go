package fleet

import (
	"slices"
	"sync"
)

// Started are values that have started and have not ended, the newest last.
type Started[T any] struct {
	mu     sync.Mutex
	values []*T
}

// Add adds a value, which is the newest from now on.
func (s *Started[T]) Add(value *T) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.values = append(s.values, value)
}

// Remove removes a value.
func (s *Started[T]) Remove(value *T) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.values = slices.DeleteFunc(s.values, func(started *T) bool { return started == value })
}

// Newest returns the value that started last, nil if there is none.
func (s *Started[T]) Newest() *T {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.values) == 0 {
		return nil
	}
	return s.values[len(s.values)-1]
}
